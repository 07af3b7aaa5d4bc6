"""How a run is recorded: its configuration and revision, metrics.csv, and the trackers."""
