"""Readers of what coding agents leave behind: one module for each format, `trace.py` for all."""
