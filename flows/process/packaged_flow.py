"""Flows of this package: how deployments refer to them, and how their results are stored.

Both are workarounds for Prefect 3.8.8:

- By default, a deployment refers to the file of its flow. The process of a run would load this file
  as a script, and with it all modules that it imports from this package a second time under other
  names. Deployments of these flows refer to the module instead. Remove `to_deployment` when Prefect
  imports files of installed packages as modules.
- Prefect takes the JSON of a stored pydantic model for a record of an old version, because it has
  the field `data`, and returns a mapping instead of the model. Remove `RESULTS` when
  `State.result()` returns the model to processes that read the state from the API.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, Self, TypeVar, cast

from prefect import Flow
from prefect.deployments.runner import RunnerDeployment
from prefect.serializers import JSONSerializer, prefect_json_object_encoder
from prefect.types.entrypoint import EntrypointType

_P = ParamSpec("_P")
_R = TypeVar("_R")


def encode_result(value: Any) -> Any:
    """Prefect's JSON of a value, with a field that records of old versions cannot have."""
    encoded: dict[str, Any] = prefect_json_object_encoder(value)
    return encoded | {"metadata": None} if "data" in encoded else encoded


RESULTS = JSONSerializer(object_encoder=f"{encode_result.__module__}.{encode_result.__name__}")
"""Stores the results of flows so that every process reads what the flow returned."""


class PackagedFlow(Flow[_P, _R]):
    """A flow that deployments find by its module."""

    def with_options(self, **options: Any) -> Self:  # pyright: ignore
        """The flow with other options. Prefect's own method returns a plain flow."""
        made: Self = cast("Any", type(self)).__new__(type(self))
        made.__dict__.update(super().with_options(**options).__dict__)
        return made

    def to_deployment(self, name: str, **options: Any) -> RunnerDeployment:  # pyright: ignore
        """A deployment of the flow; `serve` and `deploy` call this method."""
        made: Any = super().to_deployment(name, **_refer_to_module(options))
        return made

    async def ato_deployment(self, name: str, **options: Any) -> RunnerDeployment:  # pyright: ignore
        """A deployment of the flow; `serve` and `deploy` call this method."""
        return await super().ato_deployment(name, **_refer_to_module(options))


def packaged_flow(**options: Any) -> Callable[[Callable[_P, _R]], PackagedFlow[_P, _R]]:
    """Make a `PackagedFlow` of a function, as Prefect's `flow` makes a flow."""
    return lambda function: PackagedFlow(function, **options)


def _refer_to_module(options: dict[str, Any]) -> dict[str, Any]:
    return options | {"entrypoint_type": EntrypointType.MODULE_PATH}
