"""Every error this package raises on purpose, in one tree.

`retryable` says whether trying the same thing again later can help; schedulers and Prefect tasks
ask the class instead of keeping lists of their own. `fatal` says whether to stop the whole run.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class DataDesignerError(Exception):
    """Root of the tree."""

    retryable: ClassVar[bool] = False
    fatal: ClassVar[bool] = False
    """Whether everything else will fail in the same way, so that the run had better stop."""
    prompt: str | None = None
    """What a model was asked, where that is known."""
    answer: str | None = None
    """What it answered last."""
    attempts: int = 1
    """How often it was asked."""


@dataclass(frozen=True)
class Problem:
    """One thing wrong with a configuration: where it is, what it is, how to mend it."""

    where: str
    """Dotted place in the config, for example `columns.review.prompt`."""
    message: str
    """What is wrong and what to do about it, in one sentence or two."""
    level: str = "error"
    """`error` stops the run; `warning` is only reported."""

    def __str__(self) -> str:
        return f"{self.where}: {self.message}"


class InvalidConfigError(DataDesignerError):
    """The configuration cannot run; `problems` lists everything found, not only the first."""

    def __init__(self, problems: Iterable[Problem] | str) -> None:
        self.problems = [Problem("config", problems)] if isinstance(problems, str) else [*problems]
        count = len(self.problems)
        heading = (
            "The configuration has a problem"
            if count == 1
            else f"The configuration has {count} problems"
        )
        super().__init__(heading + ":\n" + "\n".join(f"  - {problem}" for problem in self.problems))

    def __reduce__(self) -> tuple[type[InvalidConfigError], tuple[list[Problem]]]:
        return type(self), (self.problems,)


class BuilderConfigurationError(DataDesignerError):
    """A builder method was called with something it cannot add."""


class BuilderSerializationError(DataDesignerError):
    """The builder holds something that no file can express."""


class InvalidColumnTypeError(DataDesignerError):
    """`add_column` was given an object that is no column configuration."""


class DataDesignerGenerationError(DataDesignerError):
    """The run produced no usable rows, or could not go on."""


class DataDesignerEarlyShutdownError(DataDesignerGenerationError):
    """Too many cells failed, so the run stopped before any row was finished."""


class BudgetExhaustedError(DataDesignerEarlyShutdownError):
    """The run has used what its budget allows; raising the budget lets it go on."""


class GatesFailedError(DataDesignerGenerationError):
    """A dataset was generated and is kept, but did not pass its gates."""


class DataDesignerProfilingError(DataDesignerError):
    """A dataset that is there could not be profiled."""


class BatchReplacedError(DataDesignerGenerationError):
    """Another process has taken over the batch that this one was at work on."""


class BatchLostError(DataDesignerGenerationError):
    """A batch that was generated elsewhere could not be finished by several tries."""


class ColumnIncompleteError(DataDesignerGenerationError):
    """Some cells of a column failed in a way that a later try may mend."""

    retryable = True


class ArtifactStorageError(DataDesignerError):
    """The dataset directory cannot be used as asked."""


class SeedDatasetError(DataDesignerError):
    """The seed dataset cannot be read or does not hold what was selected."""


class UserTemplateError(DataDesignerError, ValueError):
    """A template of the user's is not allowed, or failed while rendering."""


class SamplerError(DataDesignerError):
    """A sampler cannot draw what was asked of it."""


class MediaError(DataDesignerError):
    """A cell does not hold the image, audio or video that a model is to be shown, or gave."""


class ResponseParseError(DataDesignerError):
    """A model's answer does not have the asked-for form; the text tells it what to correct."""


class CustomColumnGenerationError(DataDesignerError):
    """A function of the user's failed, or did not give what its column declares."""


class ValidationColumnError(DataDesignerError):
    """A validator failed, or did not give verdicts of the declared form."""


class PluginError(DataDesignerError, ImportError):
    """A file or module with the user's own kinds cannot be imported."""


class LocalModelError(DataDesignerError):
    """The embedded local model is not installed or did not start."""


class UnknownProviderError(DataDesignerError):
    """A model names a provider that is not registered."""


class SecretResolutionError(DataDesignerError):
    """An API key could not be found where the configuration says it is."""


class ModelError(DataDesignerError):
    """Anything that went wrong between a prompt and its parsed answer."""


class ModelRateLimitError(ModelError):
    """The server answered 429; `retry_after` is its wish in seconds, if it gave one."""

    retryable = True

    def __init__(self, message: str, retry_after: float | None = None) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class ModelTimeoutError(ModelError):
    """The server did not answer within the request's timeout."""

    retryable = True


class ModelInternalServerError(ModelError):
    """The server answered with a 5xx status."""

    retryable = True


class ModelAPIConnectionError(ModelError):
    """The connection failed or broke off, or the answer's body was malformed."""

    retryable = True


class ModelQuotaExceededError(ModelError):
    """The account behind the key has no credit or quota left."""

    fatal = True


class ModelAuthenticationError(ModelError):
    """The server refused the key (401)."""

    fatal = True


class ModelPermissionDeniedError(ModelError):
    """The key may not use this model (403)."""

    fatal = True


class ModelNotFoundError(ModelError):
    """The server does not know this model or route (404)."""

    fatal = True


class ModelContextWindowExceededError(ModelError):
    """The prompt does not fit the model's context."""


class ModelBadRequestError(ModelError):
    """The server refused the request as malformed or unsupported (other 4xx)."""


class ImageGenerationError(ModelError):
    """The model answered without an image, or with one that is damaged."""


class ModelUnsupportedCapabilityError(ModelError):
    """The provider cannot do what the column asks for."""

    fatal = True


class ModelGenerationValidationFailureError(ModelError):
    """No answer had the asked-for form within the allowed corrections and restarts."""
