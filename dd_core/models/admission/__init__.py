"""When a request may start."""
