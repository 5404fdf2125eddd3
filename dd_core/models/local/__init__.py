"""The embedded model and the process that serves it."""
