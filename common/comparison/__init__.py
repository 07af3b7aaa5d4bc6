"""Comparison tables and studies: their specifications, runs, results and rendering."""
