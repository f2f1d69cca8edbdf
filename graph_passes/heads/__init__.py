"""What heads share: asking for a score, other points than the input, loops."""
