"""Kinds of sampler."""
