"""Batches as deployment runs on other machines."""
