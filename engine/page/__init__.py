"""The page that runs explaining files in a browser: its files, its runtime, its server."""
