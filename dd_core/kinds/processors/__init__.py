"""Processors: the contract is in `processor.py`, each kind has its own module."""
