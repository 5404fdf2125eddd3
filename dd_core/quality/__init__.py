"""Measures a dataset: profile, report, gates and drift."""
