"""Examples in memory, their splits and their batches."""
