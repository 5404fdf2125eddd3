"""The artifacts of a run in Prefect's UI: progress, preview, summary, profile and gates."""
