"""Parameters that Prefect refuses are not written to logs with their keys."""

import logging

import pytest
from prefect.exceptions import ParameterTypeError

from flows import generate_dataset

COLUMN = {
    "name": "a",
    "column_type": "sampler",
    "sampler_type": "category",
    "params": {"values": ["x"]},
}
SERVER = {"name": "p", "endpoint": "http://localhost:1/v1", "api_key": "clear-text-key"}


def test_invalid_parameters_are_not_logged_with_keys(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("prefect.flows")
    logger.addHandler(caplog.handler)
    try:
        with pytest.raises(ParameterTypeError, match="num_records: Input should be greater"):
            generate_dataset.with_options(name="other").validate_parameters(
                {"config": {"columns": [COLUMN]}, "num_records": 0, "model_providers": [SERVER]}
            )
        assert "clear-text-key" not in caplog.text
        logger.error("Another record")
        assert "Another record" in caplog.text
    finally:
        logger.removeHandler(caplog.handler)
