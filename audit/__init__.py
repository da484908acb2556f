"""What was captured against what the bucket holds."""
