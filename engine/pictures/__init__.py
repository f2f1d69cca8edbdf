"""Pictures of attributions: overlay, scale, panel, letters."""
