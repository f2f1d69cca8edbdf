"""What is put on record: results as typed things, with their JSON, their rows and their keys."""
