"""Kinds of processor."""
