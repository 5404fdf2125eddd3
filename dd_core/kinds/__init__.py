"""Columns, samplers, seed sources, validators and processors: one file per kind."""
