"""Sound: log-mel features, vocoders that invert them, and sound files."""
