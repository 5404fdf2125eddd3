"""Kinds of validator."""
