"""Column values as Prefect results."""
