"""Samplers: the contract is in `sampler.py`, each kind has its own module."""
