"""Column values as Prefect results, which later runs reuse."""
