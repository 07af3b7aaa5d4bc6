"""Blocks of networks, and how a condition enters them."""
