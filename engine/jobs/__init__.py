"""What each command does, and what it leaves behind."""
