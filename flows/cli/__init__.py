"""The `ddflows` command."""
