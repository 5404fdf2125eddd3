"""Validators: the contract is in `validator.py`, each kind has its own module."""
