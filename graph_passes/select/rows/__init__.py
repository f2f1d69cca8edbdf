"""Where the rows of a batch lie in every tensor."""
