"""The exceptions that this package raises, in one tree.

`retryable` says whether the same operation may succeed later. Schedulers and Prefect tasks read it
instead of keeping their own lists. `fatal` says whether the whole run must stop. The class decides
both, except that one refusal of a model that has answered before does not stop the run (see
`dd_core/models/admission/stop_evidence.py`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass

from dd_core.redaction.registry import mask_secrets


class DataDesignerError(Exception):
    """Base class of all errors that this package raises."""

    retryable: bool = False
    fatal: bool = False
    """Whether everything else would fail in the same way, so that the run should stop."""
    prompt: str | None = None
    """The prompt that was sent to a model, if known."""
    answer: str | None = None
    """The last answer of the model, if there was one."""
    attempts: int = 1
    """Number of attempts that were made."""

    def __init__(self, *args: object) -> None:
        super().__init__(*(mask_secrets(arg) if isinstance(arg, str) else arg for arg in args))


def describe_error(error: BaseException) -> str:
    """Return the class and the text of an error; only the class if `str(error)` fails."""
    try:
        return mask_secrets(f"{type(error).__name__}: {error}")
    except Exception:  # errors of users' code have texts of their own
        return type(error).__name__


class DataDesignerWorkflowError(DataDesignerError):
    """A stage of a workflow has failed, or has no rows to load."""


class DataDesignerGenerationError(DataDesignerError):
    """A dataset cannot be generated: the run could not start, could not go on, or made no rows.

    What `preview` and `create` raise is of this class, except `DataDesignerProfilingError`, and
    `ArtifactStorageError` if the dataset cannot be opened.
    """


@contextmanager
def convert_errors(kind: type[DataDesignerError], message: str) -> Generator[None]:
    """Raise exceptions that are not of this package as `kind`, with the exception as the cause.

    `message` says what failed; the class and the text of the exception are added to it.
    """
    try:
        yield
    except DataDesignerError:
        raise
    except Exception as error:
        raise kind(f"{message}: {_summarize(error)}") from error


def _summarize(error: Exception) -> str:
    """An error in one line; errors of Pydantic without the values, which may be keys."""
    from pydantic import ValidationError

    if not isinstance(error, ValidationError):
        return describe_error(error)
    found = error.errors(include_url=False, include_input=False, include_context=False)
    return "; ".join(f"{'.'.join(map(str, each['loc']))}: {each['msg']}" for each in found)


@dataclass(frozen=True)
class Problem:
    """One problem of a configuration: where it is, what is wrong, and how to fix it."""

    where: str
    """Dotted path in the configuration, for example `columns.review.prompt`."""
    message: str
    """What is wrong and how to fix it, in one or two sentences."""
    level: str = "error"
    """`error` prevents the run; `warning` is only reported."""

    def __str__(self) -> str:
        text = f"{self.where}: {self.message}"
        # A name with half of a surrogate pair could not be printed.
        return mask_secrets(text.encode(errors="backslashreplace").decode())


class InvalidConfigError(DataDesignerGenerationError):
    """The configuration cannot run. `problems` lists all problems, not only the first."""

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


class InvalidFilePathError(DataDesignerError):
    """A path does not lead to a file."""


class InvalidFileFormatError(DataDesignerError):
    """A file does not have the expected format, or there is no such format."""


class MissingConfigError(InvalidConfigError, InvalidFilePathError, FileNotFoundError):
    """The file that should contain the configuration does not exist."""


class UnreadableConfigError(InvalidConfigError, InvalidFileFormatError):
    """The file with the configuration is neither YAML nor JSON."""


class BuilderConfigurationError(DataDesignerError):
    """A builder method received something that it cannot add."""


class BuilderSerializationError(DataDesignerError):
    """The builder holds something that cannot be written to a file."""


class InvalidColumnTypeError(DataDesignerError):
    """`add_column` received an object that is not a column configuration."""


class DataDesignerEarlyShutdownError(DataDesignerGenerationError):
    """Too many cells failed, so the run stopped before any row was finished."""


class BudgetExhaustedError(DataDesignerEarlyShutdownError):
    """The run has used up its budget. It can be resumed with a higher one."""


class GatesFailedError(DataDesignerGenerationError):
    """A dataset was generated and kept, but did not pass its quality gates."""


class DataDesignerProfilingError(DataDesignerError):
    """An existing dataset could not be profiled."""


class AnalysisReportError(DataDesignerError, ValueError):
    """A report has no such section, or cannot be written in the format of the path."""


class BatchReplacedError(DataDesignerGenerationError):
    """Another process has taken over the batch that this process was generating."""


class BatchRefusedError(DataDesignerGenerationError):
    """This machine cannot generate a batch, although another one may be able to."""


class BatchCancelledError(DataDesignerGenerationError):
    """Somebody has cancelled batches of a dataset. Its other batches are finished and kept."""


class BatchLostError(DataDesignerGenerationError):
    """A remote batch could not be finished within the allowed number of attempts."""


class ColumnIncompleteError(DataDesignerGenerationError):
    """Some cells of a column failed with errors that a retry may resolve."""

    retryable = True


class ArtifactStorageError(DataDesignerError):
    """A dataset's folder or object storage cannot be used. The message says why, and what to do.

    Errors of disks, of object storage and of credentials are raised as this class.
    """


class UnknownFormatError(ArtifactStorageError, InvalidFileFormatError):
    """A dataset cannot be exported in a format."""


class DatasetInUseError(ArtifactStorageError):
    """Another process generates the dataset. The message says which."""


class StorageFailedError(ArtifactStorageError, DataDesignerGenerationError):
    """The storage stopped a run that was generating rows. The message says what is kept."""


class DatasetDamagedError(ArtifactStorageError):
    """A file of a dataset is missing, damaged, duplicated or from elsewhere.

    The message names the file and the command that repairs the dataset.
    """


class SeedDatasetError(DataDesignerGenerationError):
    """The seed dataset cannot be read, or does not contain what was selected."""


class UserTemplateError(DataDesignerGenerationError, ValueError):
    """A user's template is not allowed, or failed to render."""


class SamplerError(DataDesignerGenerationError):
    """A sampler cannot draw the requested values."""


class MediaError(DataDesignerGenerationError):
    """A cell lacks a usable image, audio or video, either as model input or as model output."""


class ResponseParseError(DataDesignerGenerationError):
    """A model's answer does not have the required form. The message says what to correct."""


class CustomColumnGenerationError(DataDesignerGenerationError):
    """A user's function failed, or did not return what its column declares."""


class ValidationColumnError(DataDesignerGenerationError):
    """A validator failed, or did not return verdicts of the declared form."""


class RepeatExhaustedError(DataDesignerGenerationError):
    """A row is not done after all rounds of a repetition."""


class RowsExhaustedError(DataDesignerGenerationError):
    """Fewer rows than requested were accepted among the rows that may be generated."""


class ValueNotStorableError(DataDesignerGenerationError):
    """A generator returned a value that a dataset cannot contain. The message says why."""


class PluginError(DataDesignerError, ImportError):
    """A file or module with custom kinds cannot be imported."""


class LocalModelError(DataDesignerGenerationError):
    """The embedded model is not installed or did not start."""


class UnknownProviderError(DataDesignerGenerationError):
    """A model names a provider that is not registered."""


class SecretResolutionError(DataDesignerGenerationError):
    """An API key was not found where the configuration says it is."""


class MCPError(DataDesignerGenerationError):
    """Tools cannot be used."""


class MCPConfigurationError(MCPError, ValueError):
    """The configuration of tools does not match the tool servers."""

    fatal = True


class DuplicateToolNameError(MCPConfigurationError):
    """Several servers behind one tool alias offer tools of the same name."""


class MCPClientUnavailableError(MCPError):
    """The package that connects to tool servers is not installed."""

    fatal = True


class MCPToolError(MCPError):
    """A tool server cannot be reached, or did not list its tools."""

    retryable = True


class ModelError(DataDesignerGenerationError):
    """A request to a model failed, or its answer could not be used."""

    status: int | None = None
    """The status of the server's answer, or the one that an error inside a 200 stands for."""
    is_certain: bool = True
    """Whether the status or a code says what is wrong, not only the words of the server."""
    retry_after: float | None = None
    """The wait in seconds that the server asks for, with a status of 429 or 5xx."""


class ModelRateLimitError(ModelError):
    """The server answered 429."""

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
    """The connection failed or broke, or the body of the answer was malformed."""

    retryable = True


class ModelQuotaExceededError(ModelError):
    """The account of the API key has no credit or quota left."""

    fatal = True


class ModelAuthenticationError(ModelError):
    """The server rejected the API key (401)."""

    fatal = True


class ModelPermissionDeniedError(ModelError):
    """The API key may not use this model (403)."""

    fatal = True


class ModelNotFoundError(ModelError):
    """The server does not know this model or route (404)."""

    fatal = True


class ModelRedirectError(ModelError):
    """The server redirects to another address. Redirects are not followed with an API key."""

    fatal = True


class ModelWaitTooLongError(ModelError):
    """The server asks for a longer wait than `RunConfig.max_retry_after` allows."""

    fatal = True


class ModelContextWindowExceededError(ModelError):
    """The prompt does not fit into the model's context window."""


class ModelBadRequestError(ModelError):
    """The server rejected the request as malformed or unsupported (other 4xx)."""

    names_schema: bool = False
    """Whether the server says that it does not accept the JSON schema of the request."""


class ModelContentFilteredError(ModelBadRequestError):
    """The content filter or moderation of the provider refused the prompt of one row."""


class ImageGenerationError(ModelError):
    """The model answered without an image, or with a damaged one."""


class ModelUnsupportedCapabilityError(ModelError):
    """The provider does not support what the column needs."""

    fatal = True


class ModelGenerationValidationFailureError(ModelError):
    """No answer had the required form within the allowed corrections and restarts."""


class ToolTurnLimitError(ModelGenerationValidationFailureError):
    """The model kept calling tools after the limit of turns."""
