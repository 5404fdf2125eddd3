"""Lets `from flows import generate_batch` import the flow from the installed package."""

import sys

from prefect_data_designer import generate_batch

sys.modules[__name__] = generate_batch  # type: ignore[assignment]
