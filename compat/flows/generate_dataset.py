"""Lets `from flows import generate_dataset` import the flow from the installed package."""

import sys

from prefect_data_designer import generate_dataset

sys.modules[__name__] = generate_dataset  # type: ignore[assignment]
