"""Lets deployments find the flow as `flows.dataset.generate_dataset`."""

import sys

from prefect_data_designer import dataset

sys.modules[__name__] = dataset
