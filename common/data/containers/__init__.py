"""Media in containers: shards of WebDataset, and data sets that `datasets` has saved to disk."""
