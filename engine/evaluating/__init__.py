"""How faithful methods are on a model: what is measured of each input, and what that says."""
