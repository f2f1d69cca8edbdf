"""What is refused before anything runs, and what nobody said and is assumed."""
