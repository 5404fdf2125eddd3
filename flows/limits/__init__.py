"""One request limit per model alias, shared by all runs of a workspace."""
