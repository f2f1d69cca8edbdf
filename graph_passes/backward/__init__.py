"""The backward walk, and what makes it cheap."""
