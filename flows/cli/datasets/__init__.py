"""Commands that show, check and publish rows."""
