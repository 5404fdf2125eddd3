"""The `ddflows` command line. Its modules start without Prefect and import it when needed."""
