"""Reports: what was found as one HTML page that needs nothing else."""
