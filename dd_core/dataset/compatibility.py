"""Names that are accepted so that existing NeMo Data Designer configurations work unchanged.

Accepted without effect:

- `SchedulingMetadata`;
- `ThrottleConfig.ceiling_overshoot`.

Not accepted, with an error that says what to use instead:

- the argument `person_reader` of `DataDesigner`: custom samplers;
- `RunConfig.async_trace` and `RunConfig.write_scheduler_events`, unless they are false: the spans
  of OpenTelemetry. The environment variable `DATA_DESIGNER_ASYNC_TRACE` only causes a warning,
  because it may be meant for another program.

Off by default: the argument `auto_configure_logging` of `DataDesigner`, because a library leaves
logging to the program, and `RunConfig.otel_metrics_port`, because a run opens no port unasked.

Accepted under a second name: the arguments `config_builder` and `model_aliases` of the methods of
`DataDesigner`, which are called `config` and `aliases` here.

Deprecated, with a warning: `translate_deprecated` gives the fields `progress_bar` and `throttle` of
`RunConfig` their present names.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from typing import Any, Literal, ParamSpec, TypeVar

from pydantic import Field

from dd_core.declaration.kind import Declaration
from dd_core.models.admission.limiter import RequestAdmissionTuningConfig

_P = ParamSpec("_P")
_R = TypeVar("_R")


NO_TRACES = (
    "{name} is not supported, because there are no traces of single cells; remove it. Requests are "
    "traced with OpenTelemetry, and metadata.json contains the times of each column"
)
_TRACE_VARIABLE = "DATA_DESIGNER_ASYNC_TRACE"


class ThrottleConfig(Declaration):
    """Deprecated form of `RequestAdmissionTuningConfig`."""

    reduce_factor: float = Field(default=0.75, gt=0, lt=1)
    additive_increase: int = Field(default=1, ge=1)
    success_window: int = Field(default=25, ge=1)
    cooldown_seconds: float = Field(default=2.0, gt=0)
    ceiling_overshoot: float = Field(default=0.1, ge=0)
    rampup_seconds: float = Field(default=0.0, ge=0)

    def to_request_admission_tuning(self) -> RequestAdmissionTuningConfig:
        """The same settings under their present names; `ceiling_overshoot` has no counterpart."""
        return RequestAdmissionTuningConfig(
            multiplicative_decrease_factor=self.reduce_factor,
            additive_increase_step=self.additive_increase,
            successes_until_increase=self.success_window,
            cooldown_seconds=self.cooldown_seconds,
            startup_ramp_seconds=self.rampup_seconds,
        )


def translate_deprecated(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of a `RunConfig` with deprecated names replaced by the present ones."""
    fields = dict(fields)
    # stacklevel=4 points to the caller of `RunConfig`, above this function, the validator and
    # Pydantic.
    if "progress_bar" in fields:
        warnings.warn("progress_bar is now display_tui", DeprecationWarning, stacklevel=4)
        fields.setdefault("display_tui", fields.pop("progress_bar"))
    if "throttle" in fields:
        if fields.get("request_admission") is not None:
            raise ValueError("give either request_admission or throttle (deprecated), not both")
        warnings.warn("throttle is now request_admission", DeprecationWarning, stacklevel=4)
        throttle = ThrottleConfig.model_validate(fields.pop("throttle"))
        fields["request_admission"] = throttle.to_request_admission_tuning()
    return fields


def warn_of_variables() -> None:
    """Warn of environment variables that have an effect only in NeMo Data Designer."""
    if os.environ.get(_TRACE_VARIABLE, "").lower() in ("1", "true", "yes"):
        warnings.warn(NO_TRACES.format(name=_TRACE_VARIABLE), stacklevel=4)


def accept_keyword(**names: str) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Let a function accept a keyword under a second name: `accept_keyword(second="first")`."""

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        @wraps(function)
        def call(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            for second, first in names.items():
                if second in kwargs:
                    if first in kwargs:
                        raise TypeError(f"give either {second} or {first}, not both")
                    kwargs[first] = kwargs.pop(second)
            return function(*args, **kwargs)

        return call

    return decorate


class SchedulingMetadataError(ValueError):
    """`SchedulingMetadata` has invalid values."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid",
        fallback: SchedulingMetadata | None = None,
        diagnostics: dict[str, object] | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.code = code
        self.fallback = fallback
        self.diagnostics = diagnostics or {}


@dataclass(frozen=True)
class SchedulingMetadata:
    """What a generator uses: this machine or a model."""

    kind: Literal["local", "model", "custom_model"] = "local"
    identity: tuple[str, ...] = ("local", "default")
    weight: int = 1
    diagnostics: dict[str, object] = field(default_factory=dict[str, object])

    @classmethod
    def local(cls, resource_name: str = "default", *, weight: int = 1) -> SchedulingMetadata:
        """This machine."""
        return cls("local", ("local", resource_name), weight)

    @classmethod
    def model(
        cls,
        provider_name: str,
        model_id: str,
        generation_kind: str,
        *,
        weight: int,
        diagnostics: dict[str, object] | None = None,
    ) -> SchedulingMetadata:
        """A model of a provider."""
        identity = ("model", provider_name, model_id, generation_kind)
        return cls("model", identity, weight, diagnostics or {})

    @classmethod
    def custom_model(
        cls,
        plugin_namespace: str,
        resource_name: str,
        version: str,
        *,
        weight: int = 1,
        diagnostics: dict[str, object] | None = None,
    ) -> SchedulingMetadata:
        """A model that a plugin calls by itself."""
        identity = ("custom_model", plugin_namespace, resource_name, version)
        return cls("custom_model", identity, weight, diagnostics or {})

    def __post_init__(self) -> None:
        if self.kind not in ("local", "model", "custom_model"):
            raise SchedulingMetadataError(
                f"kind {self.kind!r} is unknown; use 'local', 'model' or 'custom_model'",
                code="invalid_kind",
            )
        if not self.identity or not all(self.identity):
            raise SchedulingMetadataError(
                "identity must be a tuple of non-empty strings", code="invalid_identity"
            )
        parts = 2 if self.kind == "local" else 4
        if self.identity[0] != self.kind or len(self.identity) != parts:
            raise SchedulingMetadataError(
                f"identity must have {parts} parts, of which the first is {self.kind!r}",
                code="invalid_identity",
            )
        if self.weight < 1:
            raise SchedulingMetadataError(
                f"weight must be at least 1, not {self.weight}", code="invalid_weight"
            )
