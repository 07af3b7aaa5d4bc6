"""What the test of an audio model measures, and what a person sees and hears."""
