"""What validation and test measure."""
