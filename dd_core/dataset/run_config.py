"""How a run is carried out. Nothing here, except the seed, changes what a cell holds."""

from __future__ import annotations

import warnings
from enum import StrEnum
from typing import Any

from pydantic import Field, model_validator

from dd_core.dataset.compatibility import ThrottleConfig
from dd_core.dataset.gates import Gates
from dd_core.declaration.kind import Declaration
from dd_core.models.admission.limiter import RequestAdmissionTuningConfig
from dd_core.models.usage import Budget


class JinjaRenderingEngine(StrEnum):
    """How templates are rendered."""

    SECURE = "secure"
    NATIVE = "native"


class RunConfig(Declaration):
    """Settings of a run: batches, parallelism, retries, early shutdown."""

    seed: int | None = Field(default=None, ge=0)
    """Same config and same seed give the same sampled rows. Without one, a dataset draws a seed
    when it is created and keeps it."""
    buffer_size: int = Field(default=1000, gt=0)
    """Records per batch, which is also records per Parquet file."""
    max_concurrent_row_groups: int = Field(default=3, ge=1)
    """Batches at work at the same time."""
    batch_silence: float = Field(default=90.0, gt=0)
    """Seconds without a sign of life after which a batch at work on another machine is taken for
    lost and started again. Its process gives one every ten seconds."""
    batch_tries: int = Field(default=3, ge=1)
    """How many attempts at a batch may fail on other machines before the run gives up. An attempt
    that only falls silent is not counted as a failure; the run gives up after three times as many
    of those."""
    max_in_flight_tasks: int = Field(default=1024, ge=1)
    """Cells at work at the same time, over all models."""
    non_inference_max_parallel_workers: int = Field(default=4, ge=1)
    """Threads for work that asks no model: samplers, seeds, expressions, validators."""
    disable_early_shutdown: bool = False
    """Go on however many cells fail."""
    shutdown_error_rate: float = Field(default=0.5, ge=0, le=1)
    """Stop when more than this share of a column's cells failed for good."""
    shutdown_error_window: int = Field(default=10, ge=1)
    """Cells of a column that must be finished before its error rate counts."""
    max_request_retries: int = Field(default=3, ge=0)
    """Further requests for one answer after failures of the server or the connection. A 429 is no
    failure: such a request waits until the server takes it."""
    budget: Budget | None = None
    """Requests, tokens or dollars at which to stop; no limit, if not given."""
    gates: Gates | None = None
    """What the finished dataset must be like. If it is not, the run fails and the rows are kept."""
    keep_versions: int | None = Field(default=None, ge=1)
    """When a version becomes the latest, remove those older than the newest this many accepted
    ones; all are kept, if not given."""
    max_conversation_restarts: int = Field(default=5, ge=0)
    """New conversations after answers that cannot be parsed."""
    max_conversation_correction_steps: int = Field(default=0, ge=0)
    """Corrections asked for within a conversation before it is restarted."""
    cache_days: float | None = Field(default=None, gt=0)
    """Days that column values stay in Prefect's result storage, applied at the end of each complete
    run to the columns that it has; for ever, if not given. The library keeps no such values."""
    preserve_dropped_columns: bool = True
    """Write dropped columns to files of their own beside the dataset."""
    jinja_rendering_engine: JinjaRenderingEngine = JinjaRenderingEngine.SECURE
    """`secure` restricts what templates may do; `native` allows all of Jinja's filters."""
    request_admission: RequestAdmissionTuningConfig | None = None
    """How parallel requests follow what the server can take."""
    progress_interval: float = Field(default=5.0, gt=0)
    """Seconds between progress lines where there is no terminal."""
    display_tui: bool = False
    """Show progress bars on a terminal."""
    async_trace: bool = False
    """Accepted for compatibility."""
    write_scheduler_events: bool = False
    """Accepted for compatibility."""
    otel_metrics_port: int | None = Field(default=9464, ge=1, le=65535)
    """Accepted for compatibility."""

    @model_validator(mode="before")
    @classmethod
    def _deprecated_names(cls, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        fields: dict[str, Any] = dict(given)  # pyright: ignore[reportUnknownArgumentType]
        if "progress_bar" in fields:
            warnings.warn("progress_bar is now display_tui", DeprecationWarning, stacklevel=3)
            fields.setdefault("display_tui", fields.pop("progress_bar"))
        if "throttle" in fields:
            if fields.get("request_admission") is not None:
                raise ValueError("give either request_admission or throttle (deprecated), not both")
            warnings.warn("throttle is now request_admission", DeprecationWarning, stacklevel=3)
            throttle = ThrottleConfig.model_validate(fields.pop("throttle"))
            fields["request_admission"] = throttle.translated()
        if fields.get("disable_early_shutdown") is True:
            fields["shutdown_error_rate"] = 1.0
        return fields
