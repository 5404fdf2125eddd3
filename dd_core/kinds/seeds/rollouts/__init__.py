"""Readers for the session files of coding agents, one module per format."""
