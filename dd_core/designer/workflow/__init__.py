"""Runs workflows: the rows of each stage flow into the next ones while they are generated."""
