"""Workflows: what they declare, and the plan of all their stages."""
