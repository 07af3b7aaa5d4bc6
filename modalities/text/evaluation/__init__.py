"""What the test of a text model measures, and what a person reads."""
