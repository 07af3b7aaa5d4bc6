"""What the test of a tabular model measures, baselines, and the benchmark."""
