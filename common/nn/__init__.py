"""Network blocks, and layers that insert a condition."""
