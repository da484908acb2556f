"""Says at the edge what was captured, what was stored, and whether the link is up."""
