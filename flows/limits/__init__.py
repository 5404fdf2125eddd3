"""One shared request limit per model alias, for all runs of a Prefect workspace."""
