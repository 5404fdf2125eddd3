"""The process of a run: SIGTERM, suspension, liveness, and workarounds for Prefect 3.8.

Every use of a private part of Prefect is in this package. Each module names the version of Prefect
that it was written for, and when it can be removed.
"""
