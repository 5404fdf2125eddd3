"""Runs a plan: batches, cells, dispatch and early stop."""
