"""Kinds of column."""
