"""The whole system as plain processes, with a sample clip in place of a camera."""
