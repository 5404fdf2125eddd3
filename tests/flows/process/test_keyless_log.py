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


def test_each_problem_of_a_mapping_is_said_once_and_as_in_a_file() -> None:
    model = {"alias": "writer", "model": "m", "api_key": "clear-text-key"}
    with pytest.raises(ParameterTypeError) as raised:
        generate_dataset.validate_parameters(
            {
                "config": {"columns": [COLUMN], "model_configs": [model]},
                "num_records": 0,
                "model_providers": ["block:gateway", {**SERVER, "endpoint": "gateway"}],
            }
        )
    assert str(raised.value).split("\n - ")[1:] == [
        "num_records: Input should be greater than or equal to 1",
        "config.model_configs.writer.api_key: this field does not exist; remove it or correct its "
        "name",
        "model_providers.1.endpoint: endpoint 'gateway' must start with http:// or https://",
    ]
