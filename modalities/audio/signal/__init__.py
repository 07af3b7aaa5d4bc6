"""Sound: features, the way back from them, and files."""
