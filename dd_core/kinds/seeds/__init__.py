"""Seed sources: the contract is in `seed.py`, each kind has its own module."""
