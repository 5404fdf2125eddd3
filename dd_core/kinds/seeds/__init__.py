"""Kinds of seed source."""
