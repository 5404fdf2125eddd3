"""The boundary of the command line: whatever goes wrong inside ends in a sentence and an exit code.

The traceback is shown with `ddflows --debug`.
"""

from __future__ import annotations

import contextlib
import os
import sys
import traceback
from typing import Any, TextIO

import click

from dd_core.redaction.registry import mask_secrets

_INTERRUPTED = 130
"""Exit code of a command that Ctrl+C ended, by convention 128 plus the number of the signal."""


class BoundaryGroup(click.Group):
    """A group of commands whose exceptions become messages."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; raises only what Click turns into a message and an exit code."""
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort, BrokenPipeError):
            raise
        except Exception as error:
            if ctx.params.get("debug"):
                click.echo(mask_secrets(traceback.format_exc()), err=True)
            raise click.ClickException(describe(error)) from None


def run_command_line(group: click.Group, name: str, arguments: list[str] | None = None) -> None:
    """Run a group as the program `name` and exit with its code.

    `arguments` are those of the process by default.
    """
    for stream in (sys.stdout, sys.stderr):
        # A terminal may not be able to show a letter, and an argument may not be valid text.
        with contextlib.suppress(AttributeError, ValueError, OSError):
            stream.reconfigure(errors="backslashreplace")  # pyright: ignore
    try:
        code = _run(group, name, arguments)
    except KeyboardInterrupt:
        code = _say("Interrupted.", _INTERRUPTED)
    sys.exit(_flush(code))


def describe(error: BaseException) -> str:
    """An exception as one message without a traceback and without keys."""
    return mask_secrets(_describe(error))


def _describe(error: BaseException) -> str:
    from pydantic import ValidationError

    from dd_core.dataset.files import find_config_problems
    from dd_core.errors import DataDesignerError, describe_error

    if isinstance(error, DataDesignerError | FileNotFoundError):
        return str(error)
    if isinstance(error, ValidationError):
        return "; ".join(str(problem) for problem in find_config_problems(error, {}))
    if isinstance(error, OSError) and error.strerror:
        place = "" if error.filename is None else f"{error.filename!r}: "
        return f"{place}{error.strerror}"
    if (problem := _describe_server_failure(error)) is not None:
        return problem
    return (
        f"an unexpected error occurred: {describe_error(error)}. Run `ddflows --debug` with the "
        "same command to see where"
    )


def _describe_server_failure(error: BaseException) -> str | None:
    """What is wrong with the connection to Prefect's server; None if it is something else."""
    import httpx
    from prefect.settings import PREFECT_API_URL

    from dd_core.redaction.rules import mask_address

    api = PREFECT_API_URL.value() or ""
    server = f"Prefect's server at {mask_address(api)}"
    unreachable = f"{server} cannot be reached; check that it is running, and PREFECT_API_URL"
    if isinstance(error, RuntimeError) and str(error).startswith("Failed to reach API at"):
        return unreachable  # Prefect's own error before a flow starts
    if not isinstance(error, httpx.TransportError | httpx.HTTPStatusError):
        return None
    with contextlib.suppress(RuntimeError):  # an error without a request
        if not api or not str(error.request.url).startswith(api.rstrip("/")):
            return None
        if isinstance(error, httpx.TransportError):
            return unreachable
        if error.response.status_code in (httpx.codes.UNAUTHORIZED, httpx.codes.FORBIDDEN):
            return f"{server} denies access; check PREFECT_API_KEY or PREFECT_API_AUTH_STRING"
    return None


def _run(group: click.Group, name: str, arguments: list[str] | None) -> int:
    """The exit code of the program."""
    try:
        result = group.main(arguments, prog_name=name, standalone_mode=False)
    except click.ClickException as error:
        with contextlib.suppress(OSError):
            error.show()
        return error.exit_code
    except click.Abort:
        return _say("Aborted.", _INTERRUPTED)
    except BrokenPipeError:
        return 1
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else int(error.code is not None)
    except Exception as error:  # the group itself failed, for example to print its help
        return _say(f"Error: {describe(error)}", 1)
    return result if isinstance(result, int) else 0


def _say(message: str, code: int) -> int:
    with contextlib.suppress(OSError):
        click.echo(message, err=True)
    return code


def _flush(code: int) -> int:
    """Write what is still buffered. What cannot be written must not raise when Python exits."""
    streams: list[TextIO | None] = [sys.stdout, sys.stderr]
    for stream in streams:
        try:
            if stream is not None:  # None if the program was started without it
                stream.flush()
        except (OSError, ValueError) as error:
            with contextlib.suppress(OSError, ValueError, AttributeError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())  # pyright: ignore
            if not isinstance(error, BrokenPipeError):
                _say(f"Error: the output cannot be written: {error}", code)
            code = code or 1
    return code
