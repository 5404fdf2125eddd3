"""A flow whose parameters Prefect stores and logs without keys.

Prefect stores the parameters of a run before it calls the flow, so the flow cannot refuse them in
time. The flow itself still receives them unchanged. Prefect also logs all parameters when one of
them is invalid.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping
from contextvars import ContextVar
from pathlib import PurePath
from typing import Any, ParamSpec, Self, TypeVar, cast

from prefect.exceptions import ParameterTypeError
from pydantic import TypeAdapter, ValidationError

from dd_core.config import (
    BuilderConfig,
    DataDesignerConfig,
    DataDesignerConfigBuilder,
    LocalStdioMCPProvider,
    MCPProvider,
    ModelProvider,
    WorkflowBuilder,
    WorkflowConfig,
)
from dd_core.dataset.files import find_config_problems
from dd_core.redaction.rules import (
    BLOCK_PREFIX,
    WRITTEN_MASK,
    mask_address,
    mask_arguments,
    mask_fields,
)

from .packaged_flow import PackagedFlow

_DECLARATIONS: dict[str, Any] = {"config": DataDesignerConfig, "workflow": WorkflowConfig}
"""The parameters that declare what is generated."""
_SERVERS = {
    "model_providers": ModelProvider,
    "mcp_providers": MCPProvider | LocalStdioMCPProvider,
}
"""The parameters that are lists of servers."""
_BULLET = "\n - "
"""What precedes each problem in Prefect's message."""
_VALIDATING: ContextVar[bool] = ContextVar("validating", default=False)
"""Whether this context validates parameters that may contain keys."""
_P = ParamSpec("_P")
_R = TypeVar("_R")


# The error that follows names every invalid field, so nothing is lost with the record.
logging.getLogger("prefect.flows").addFilter(lambda record: not _VALIDATING.get())


class KeylessFlow(PackagedFlow[_P, _R]):
    """A flow with `config`, servers and addresses among its parameters."""

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as the flow receives them, or an error that names the invalid ones."""
        parameters = {name: _convert(value) for name, value in parameters.items()}
        token = _VALIDATING.set(True)
        try:
            return super().validate_parameters(parameters)
        except ParameterTypeError as error:
            raise ParameterTypeError(_explain(str(error), parameters)) from None
        finally:
            _VALIDATING.reset(token)

    def serialize_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """The parameters as Prefect stores them."""
        return super().serialize_parameters(
            {name: _mask_parameter(name, _convert(value)) for name, value in parameters.items()}
        )

    def with_options(self, **options: Any) -> Self:  # pyright: ignore
        """The flow with other options; hooks for cancellation are added to those that it has.

        Prefect's own method replaces the hooks that stop batches.
        """
        if (hooks := options.get("on_cancellation")) is not None:
            options["on_cancellation"] = [*self.on_cancellation_hooks, *hooks]
        return super().with_options(**options)


def keyless_flow(**options: Any) -> Callable[[Callable[_P, _R]], KeylessFlow[_P, _R]]:
    """Make a `KeylessFlow` of a function, as Prefect's `flow` makes a flow."""
    return lambda function: KeylessFlow(function, **options)


def _convert(value: Any) -> Any:
    """What `DataDesigner` accepts from Python, as what Prefect can store and show in a form."""
    if isinstance(value, PurePath):
        return str(value)
    if isinstance(value, DataDesignerConfigBuilder | WorkflowBuilder):
        return value.build()
    if isinstance(value, BuilderConfig):
        return value.data_designer
    if isinstance(value, Mapping) and "data_designer" in value:  # the content of a file
        return cast("Mapping[str, Any]", value)["data_designer"]
    return cast("Any", value)


def _explain(message: str, parameters: Mapping[str, Any]) -> str:
    """Prefect's message, with the problems of declarations as a configuration file shows them.

    A mapping may also be the text that the parameter accepts instead, so Prefect would complain
    that it is not text.
    """
    lines = message.split(_BULLET)
    for place, kind, declaration in _list_declarations(parameters):
        try:
            TypeAdapter(kind).validate_python(declaration)
        except ValidationError as error:
            problems = find_config_problems(error, declaration)
            lines = [line for line in lines if not line.startswith(f"{place}.")]
            lines += [f"{place}.{problem}" for problem in problems]
    return _BULLET.join(lines)


def _list_declarations(
    parameters: Mapping[str, Any],
) -> Iterator[tuple[str, Any, Mapping[str, Any]]]:
    """The place, the kind and the content of each mapping that declares something."""
    for name, kind in _DECLARATIONS.items():
        if isinstance(declared := parameters.get(name), Mapping):
            yield name, kind, declared
    for name, kind in _SERVERS.items():
        given: Any = parameters.get(name)
        servers = cast("list[Any]", given) if isinstance(given, list | tuple) else []
        for index, server in enumerate(servers):
            if isinstance(server, Mapping):
                yield f"{name}.{index}", kind, server


def _mask_parameter(name: str, value: Any) -> Any:
    if isinstance(value, str):
        return mask_address(value) if "://" in value else value
    if name in _DECLARATIONS:
        return _mask_declaration(_DECLARATIONS[name], value)
    if name in _SERVERS and isinstance(value, list | tuple):
        kinds: Any = _SERVERS[name]
        return [_mask_server(kinds, each) for each in cast("list[Any]", value)]
    return value


def _mask_server(kind: Any, value: Any) -> Any:
    """A server without its keys. Text that does not refer to a block may be a key."""
    if isinstance(value, str):
        return value if value.startswith(BLOCK_PREFIX) else WRITTEN_MASK
    return _mask_declaration(kind, value)


def _mask_declaration(kind: Any, value: Any) -> Any:
    """A mapping as a declaration, which masks its keys when it is written."""
    if not isinstance(value, Mapping):
        return value
    fields = cast("Mapping[str, Any]", value)
    try:
        return TypeAdapter(kind).validate_python(fields)
    except ValidationError:  # the run will fail, and its parameters are only shown
        shown: dict[str, Any] = mask_fields(fields)
        if isinstance(shown.get("args"), list):
            shown["args"] = mask_arguments(map(str, shown["args"]))
        return shown
