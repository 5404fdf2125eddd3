"""Lets deployments find the flow as `flows.batch.generate_batch`."""

import sys

from prefect_data_designer import batch

sys.modules[__name__] = batch
