"""Columns: the contract is in `column.py`, each kind has its own module."""
