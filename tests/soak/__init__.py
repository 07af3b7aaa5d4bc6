"""Runs of hours: what is looked for rather than asserted."""
