"""Recipes: configurations to start from. Each is a folder below `catalogue`."""
