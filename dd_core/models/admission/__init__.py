"""Admission control: decides when a request may start."""
