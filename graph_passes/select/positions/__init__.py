"""Which place of the input each element of a tensor stands for."""
