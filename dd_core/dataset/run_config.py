"""Settings of a run. Except for the seed, they do not change what a cell holds."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import Any

from pydantic import Field, ValidationInfo, field_validator, model_validator

from dd_core.dataset.compatibility import NO_TRACES, translate_deprecated, warn_of_variables
from dd_core.dataset.gates import Gates
from dd_core.declaration.kind import Declaration
from dd_core.models.admission.limiter import (
    DEFAULT_MAX_RETRY_AFTER,
    RequestAdmissionTuningConfig,
)
from dd_core.models.usage import Budget


class JinjaRenderingEngine(StrEnum):
    """What templates may use; see `RunConfig.jinja_rendering_engine`."""

    SECURE = "secure"
    NATIVE = "native"


class RunConfig(Declaration):
    """Settings of a run: batches, parallelism, retries, early stop, budget and gates."""

    seed: int | None = Field(default=None, ge=0)
    """Seed of the run. The same configuration with the same seed gives the same sampled rows;
    default: a random seed, which is drawn when the dataset is created and stored with it."""
    buffer_size: int = Field(default=1000, gt=0, le=1_000_000_000)
    """Rows per batch, and therefore per Parquet file; default: 1000."""
    max_concurrent_row_groups: int = Field(default=3, ge=1)
    """Maximum number of batches that run at the same time; default: 3."""
    wait_for_owner: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """Maximum wait in seconds if another process is generating the dataset; default: 0, which
    refuses the run immediately. When the other process ends, the run generates what is missing."""
    batch_silence: float = Field(default=90.0, gt=0)
    """Heartbeat timeout in seconds after which a remote batch is considered lost and rescheduled;
    default: 90. The process of a batch sends a heartbeat every ten seconds."""
    batch_tries: int = Field(default=3, ge=1)
    """Number of failed attempts at a remote batch after which the run fails; default: 3. An attempt
    that only stops sending heartbeats does not count as failed; the run fails after three times as
    many of these attempts."""
    max_in_flight_tasks: int = Field(default=1024, ge=1)
    """Maximum number of cells in progress at the same time, across all models; default: 1024."""
    non_inference_max_parallel_workers: int = Field(default=4, ge=1)
    """Threads for work that sends no requests, such as samplers, seeds, expressions and validators;
    default: 4."""
    disable_early_shutdown: bool = False
    """Never stop early, regardless of failures; default: no."""
    shutdown_error_rate: float = Field(default=0.5, ge=0, le=1)
    """Maximum share of a column's cells that may fail permanently before the run stops, from 0 to
    1; default: 0.5."""
    shutdown_error_window: int = Field(default=10, ge=1)
    """Number of finished cells of a column before its error rate is checked; default: 10."""
    max_request_retries: int = Field(default=3, ge=0)
    """Maximum number of retries of a request after a failure of the server or the connection;
    default: 3. A 429 is not a failure: the request waits until the server accepts it."""
    max_retry_after: float = Field(default=DEFAULT_MAX_RETRY_AFTER, gt=0)
    """Longest wait in seconds that a server may request with a 429; default: 21600 (six hours). The
    run waits for as long as a server requests, and stops at once if it requests more than this. It
    can be resumed later."""
    budget: Budget | None = None
    """Dollars, tokens or requests at which the run stops; default: no limit."""
    gates: Gates | None = None
    """Quality gates for the finished dataset; default: none. If a gate fails, the run fails and the
    rows are kept."""
    keep_versions: int | None = Field(default=None, ge=1)
    """Number of accepted versions to keep; default: all. Older versions are removed when a version
    becomes the latest."""
    max_conversation_restarts: int = Field(default=5, ge=0)
    """Maximum number of new conversations after responses that cannot be parsed; default: 5."""
    max_conversation_correction_steps: int = Field(default=0, ge=0)
    """Maximum number of corrections that are requested in a conversation before it is restarted;
    default: 0."""
    cache_days: float | None = Field(default=None, gt=0)
    """Days to keep column values in Prefect's result storage; default: forever. A run applies this
    to its own columns when it completes. Without Prefect, this has no effect."""
    preserve_dropped_columns: bool = True
    """Whether to write dropped columns to separate files next to the dataset; default: yes."""
    jinja_rendering_engine: JinjaRenderingEngine = JinjaRenderingEngine.SECURE
    """What templates may use: `secure` (default) restricts them, `native` allows all of Jinja's
    filters and blocks."""
    request_admission: RequestAdmissionTuningConfig | None = None
    """How the number of parallel requests adapts to the server; default: additive increase,
    multiplicative decrease (AIMD) with default settings."""
    progress_interval: float = Field(default=5.0, gt=0)
    """Seconds between progress lines; default: 5. The library logs them at level INFO unless
    `display_tui` is set."""
    display_tui: bool = False
    """Whether the library shows the progress as bars on a terminal or in a notebook, and elsewhere
    as lines on stderr; default: no. `ddflows` always does."""
    async_trace: bool = False
    """Must be false: there are no traces of single cells. Requests are traced with
    OpenTelemetry."""
    write_scheduler_events: bool = False
    """Must be false: there are no scheduler events."""
    otel_metrics_port: int | None = Field(default=None, ge=1, le=65535)
    """Port on which the metrics of a run are served for Prometheus, such as 9464; default: none.
    Requires the extra `prometheus`."""

    @field_validator("async_trace", "write_scheduler_events")
    @classmethod
    def _has_no_counterpart(cls, wanted: bool, info: ValidationInfo) -> bool:
        if wanted:
            raise ValueError(NO_TRACES.format(name=info.field_name))
        return wanted

    @model_validator(mode="before")
    @classmethod
    def _translate(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        warn_of_variables()
        return translate_deprecated(given)  # pyright: ignore[reportUnknownArgumentType]

    @property
    def progress_bar(self) -> bool:
        """The earlier name of `display_tui`."""
        warnings.warn("progress_bar is now display_tui", DeprecationWarning, stacklevel=2)
        return self.display_tui

    @property
    def effective_shutdown_error_rate(self) -> float:
        """The error rate at which a run stops early: 1.0 if it never does."""
        return 1.0 if self.disable_early_shutdown else self.shutdown_error_rate
