"""What all commands have in common: help, exit codes, and a place in the documentation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from flows.cli.main import cli

PAGE = Path(__file__).parents[3] / "docs" / "command-line.md"


def find_commands(
    group: click.Group, path: tuple[str, ...] = ()
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    for name, command in group.commands.items():
        yield (*path, name), command
        if isinstance(command, click.Group):
            yield from find_commands(command, (*path, name))


COMMANDS = [*find_commands(cli)]
IDS = [" ".join(path) for path, _ in COMMANDS]


def call(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(cli, [*arguments])
    return result.exit_code, result.output


@pytest.mark.parametrize(("path", "command"), COMMANDS, ids=IDS)
def test_every_command_has_help_and_refuses_unknown_options(
    path: tuple[str, ...], command: click.Command
) -> None:
    assert [call(*path, option) for option in ("-h", "--help")] == [call(*path, "-h")] * 2
    code, text = call(*path, "-h")
    assert (code, text.startswith("Usage: ")) == (0, True)
    code, text = call(*path, "--no-such-option")
    assert (code, "No such option" in text) == (2, True)
    summary = (command.help or "").strip().partition("\n\n")[0]
    assert summary.endswith(".")
    assert "\n" not in summary, "the list of commands shows one line"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert (parameter.help or "").rstrip().endswith("."), parameter.name


def test_every_command_is_documented() -> None:
    page = PAGE.read_text()
    assert [name for name in cli.commands if f"`{name}`" not in page] == []
