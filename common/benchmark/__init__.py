"""Measurements of speed: contenders in turn, a hand-written loop of the same modules, and the tables of a page."""
