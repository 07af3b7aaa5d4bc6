"""Comparison tables and studies: what is run, what follows, and how it is shown."""
