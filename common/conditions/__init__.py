"""What a condition can be, how it is embedded, and who reads it back."""
