"""What comes back: the numbers of an explanation, what they are called, and how they look."""
