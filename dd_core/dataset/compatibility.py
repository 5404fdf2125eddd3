"""Declarations of tools that models may call. They are read and written, not run yet."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, Self

from pydantic import Field, SecretStr, field_serializer, model_validator

from dd_core.declaration.kind import Declaration
from dd_core.models.admission.limiter import RequestAdmissionTuningConfig
from dd_core.models.secrets import mask_secret


class ThrottleConfig(Declaration):
    """Deprecated names of `RequestAdmissionTuningConfig`."""

    reduce_factor: float = Field(default=0.75, gt=0, lt=1)
    additive_increase: int = Field(default=1, ge=1)
    success_window: int = Field(default=25, ge=1)
    cooldown_seconds: float = Field(default=2.0, gt=0)
    ceiling_overshoot: float = Field(default=0.1, ge=0)
    rampup_seconds: float = Field(default=0.0, ge=0)

    def translated(self) -> RequestAdmissionTuningConfig:
        """The same under today's names."""
        return RequestAdmissionTuningConfig(
            multiplicative_decrease_factor=self.reduce_factor,
            additive_increase_step=self.additive_increase,
            successes_until_increase=self.success_window,
            cooldown_seconds=self.cooldown_seconds,
            startup_ramp_seconds=self.rampup_seconds,
        )


class MCPProvider(Declaration):
    """A server of tools that is reached over HTTP."""

    provider_type: Literal["sse", "streamable_http"] = "sse"
    """How the server is spoken to."""
    name: str
    """Name that tool configurations use."""
    endpoint: str
    """Address of the server."""
    api_key: SecretStr | None = None
    """Name of the environment variable that holds the bearer token."""

    @field_serializer("api_key")
    def _names_show_and_keys_do_not(self, value: SecretStr | None) -> str | None:
        return mask_secret(value)


class LocalStdioMCPProvider(Declaration):
    """A server of tools that is started as a process."""

    provider_type: Literal["stdio"] = "stdio"
    """How the server is spoken to."""
    name: str
    """Name that tool configurations use."""
    command: str
    """The program."""
    args: list[str] = []
    """Its arguments."""
    env: dict[str, str] = {}
    """Its environment variables."""


class ToolConfig(Declaration):
    """Tools under the alias that columns refer to."""

    tool_alias: str = Field(min_length=1)
    """Name that columns use."""
    providers: list[str]
    """Names of the servers that offer the tools."""
    allow_tools: list[str] | None = None
    """Which tools a model may call; all, if not given."""
    max_tool_call_turns: int = Field(default=5, ge=1)
    """How often a model may call tools in a conversation."""
    timeout_sec: float | None = Field(default=None, gt=0)
    """Seconds that a call may take."""

    @model_validator(mode="after")
    def _tools_are_named_once(self) -> Self:
        names = self.allow_tools or []
        repeated = sorted({name for name in names if names.count(name) > 1})
        if repeated:
            raise ValueError(f"allow_tools names {repeated[0]!r} twice; name it once")
        return self


class SchedulingMetadataError(ValueError):
    """Hints that contradict themselves."""


@dataclass(frozen=True)
class SchedulingMetadata:
    """What a generator keeps busy: this machine or a model."""

    kind: Literal["local", "model", "custom_model"] = "local"
    identity: tuple[str, ...] = ("local", "default")
    weight: int = 1
    diagnostics: dict[str, object] = field(default_factory=dict[str, object])

    def __post_init__(self) -> None:
        if self.kind not in ("local", "model", "custom_model"):
            raise SchedulingMetadataError(f"kind {self.kind!r} is not local, model or custom_model")
        if not self.identity or not all(self.identity):
            raise SchedulingMetadataError("identity must be a tuple of texts that are not empty")
        if self.weight < 1:
            raise SchedulingMetadataError(f"weight must be at least 1, not {self.weight}")
