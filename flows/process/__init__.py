"""A run's process: SIGTERM, suspension, liveness and a busy server."""
