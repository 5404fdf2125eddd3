"""One error with one sentence for everything that a disk or object storage refuses."""

from __future__ import annotations

import errno
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from functools import wraps
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from dd_core.errors import ArtifactStorageError
from dd_core.redaction.redactor import Redactor
from dd_core.redaction.rules import Secrets
from dd_core.storage.location import Location

_P = ParamSpec("_P")
_T = TypeVar("_T")

_LIBRARIES = frozenset(
    [
        *("adlfs", "aiobotocore", "aiohttp", "azure", "boto3", "botocore", "fsspec", "gcsfs"),
        *("google", "paramiko", "requests", "s3fs", "upath", "urllib3"),
    ]
)
"""Packages of file systems. Some of their exceptions are not `OSError`."""
_LONGEST_TEXT = 300

_FULL = "No space left on the device, or no inodes; free some there, then run again"
_FORBIDDEN = "permission denied; check the permissions and credentials"
_NOT_A_FOLDER = "a file is where a folder is needed; move it, or choose another path"
_SENTENCES = {
    errno.ENOSPC: _FULL,
    errno.EDQUOT: "the disk quota is used up; free some space there, then run again",
    errno.EFBIG: "the file would exceed the largest allowed size; raise the limit (`ulimit -f`)",
    errno.EMFILE: "this process has too many open files; raise the limit (`ulimit -n`)",
    errno.ENFILE: "this machine has too many open files; close some of them",
    errno.EACCES: _FORBIDDEN,
    errno.EPERM: _FORBIDDEN,
    errno.EROFS: "the file system is read-only; choose another path",
    errno.ENOTDIR: _NOT_A_FOLDER,
    errno.EEXIST: _NOT_A_FOLDER,
    errno.EISDIR: "a folder is where a file is needed; move it, or choose another path",
    errno.ENAMETOOLONG: "the name is too long; choose a shorter one",
    errno.ENOENT: "it does not exist; check the path",
    errno.EIO: "the disk reports an input/output error; check it",
    errno.ELOOP: "its links lead in a circle; choose another path",
}


class _Stored(Protocol):
    """An object that stands for a folder in a storage."""

    path: Location


@contextmanager
def report_storage_errors(place: Location | str) -> Generator[None]:
    """Raise `ArtifactStorageError` for what the storage of `place` refuses in the block."""
    try:
        yield
    except Exception as error:
        if (failure := translate_storage_error(place, error)) is None:
            raise
        raise failure from error


_S = TypeVar("_S", bound=_Stored)


def report_own_storage_errors(
    method: Callable[Concatenate[_S, _P], _T],
) -> Callable[Concatenate[_S, _P], _T]:
    """Decorate a method, so that what the storage of its object refuses has one class."""

    @wraps(method)
    def guarded(self: _S, *args: _P.args, **kwargs: _P.kwargs) -> _T:
        with report_storage_errors(self.path):
            return method(self, *args, **kwargs)

    return guarded


def translate_storage_error(
    place: Location | str, error: BaseException
) -> ArtifactStorageError | None:
    """Return the error of a storage as ours; None if it is ours, or not an error of a storage."""
    root = type(error).__module__.split(".")[0]
    if isinstance(error, ArtifactStorageError) or not (
        isinstance(error, OSError) or root in _LIBRARIES
    ):
        return None
    where = getattr(error, "filename", None) or place
    return ArtifactStorageError(f"{where} cannot be used: {_explain(error, place)}")


def describe_storage_error(place: Location | str, error: BaseException) -> str:
    """Say in one sentence, without the place, what a storage refused and how to fix it."""
    return str(error) if isinstance(error, ArtifactStorageError) else _explain(error, place)


def _explain(error: BaseException, place: Location | str) -> str:
    number = getattr(error, "errno", None)
    if isinstance(number, int) and number in _SENTENCES:
        return _SENTENCES[number]
    text = _mask(" ".join(str(error).split()), place)[:_LONGEST_TEXT].rstrip(" .;")
    text = text or type(error).__name__
    if isinstance(error, PermissionError) or "Credential" in type(error).__name__:
        return f"{text}; check the permissions and credentials"
    if isinstance(error, FileNotFoundError):
        return f"{text}; check the path"
    return f"{text}; check that the storage can be reached and written to"


def _mask(text: str, place: Location | str) -> str:
    """Hide the options of a file system, which may be keys."""
    found = Secrets()
    for value in _texts(getattr(place, "storage_options", {})):
        found.add_secret(value)
    return Redactor(found).mask(text)


def _texts(options: Any) -> Iterator[str]:
    if isinstance(options, str):
        yield options
    elif isinstance(options, Mapping):
        for value in options.values():  # pyright: ignore[reportUnknownVariableType]
            yield from _texts(value)
