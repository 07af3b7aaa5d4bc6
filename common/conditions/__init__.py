"""Conditions: their attributes, their embeddings, and classifiers that predict them."""
