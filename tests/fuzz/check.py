"""What must hold for every input: no foreign exception, no hang, nothing spent if it is refused."""

from __future__ import annotations

import random
import signal
import traceback
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import orjson
from click.testing import CliRunner
from pydantic import ValidationError

import dd_core.config as dd
from dd_core import DataDesigner
from dd_core.errors import DataDesignerError, InvalidConfigError
from flows.cli.main import cli
from tests.fuzz.inputs import (
    CONFIG,
    PROVIDERS,
    RUN_CONFIG,
    make_arguments,
    mutate,
    write_mutated,
)
from tests.scripted import ScriptedModel, answer_schema

MOST_CPU_SECONDS = 5.0


class HangError(BaseException):
    """An input took too much time. Not an `Exception`, so that nothing handles it."""


@contextmanager
def limit_time(seconds: float = MOST_CPU_SECONDS) -> Generator[None]:
    """Raise `HangError` after this much CPU time, or twelve times as much of the clock's."""

    def expire(*_: object) -> None:
        raise HangError(f"more than {seconds:g} s")

    signals = {signal.ITIMER_PROF: signal.SIGPROF, signal.ITIMER_REAL: signal.SIGALRM}
    before = {number: signal.signal(number, expire) for number in signals.values()}
    signal.setitimer(signal.ITIMER_PROF, seconds)
    signal.setitimer(signal.ITIMER_REAL, 12 * seconds)
    try:
        yield
    finally:
        for timer, number in signals.items():
            signal.setitimer(timer, 0)
            signal.signal(number, before[number])


def answer(body: dict[str, Any]) -> Any:
    """An answer that suits every column of the configuration."""
    form: Any = body.get("response_format") or {}
    schema = form.get("json_schema", {}).get("schema")
    return answer_schema(schema) if schema else "```python\nx = 1\n```"


def check_config(rng: random.Random, folder: Path) -> str:
    """A mutated configuration as a mapping or a file, in a preview of two rows."""
    source: Any
    if rng.random() < 0.5:
        source = mutate(CONFIG, rng)
    else:
        suffix, content = write_mutated(CONFIG, rng)
        source = folder / f"config{suffix}"
        source.write_bytes(content)
    model = ScriptedModel(answer)
    designer = DataDesigner(folder, model_providers=[], transport=model)
    try:
        designer.preview(source, num_records=2)
    except InvalidConfigError as error:
        assert not model.requests, f"{len(model.requests)} requests for a refused input"
        return _require_sentence(error)
    except DataDesignerError as error:
        return _require_sentence(error)
    return "accepted"


def check_settings(rng: random.Random, folder: Path) -> str:
    """Mutated run settings and providers, as files of the command line."""
    config = _write(folder / "sound.json", orjson.dumps(CONFIG))
    suffix, content = write_mutated(RUN_CONFIG, rng)
    settings = _write(folder / f"settings{suffix}", content)
    suffix, content = write_mutated(PROVIDERS, rng)
    providers = _write(folder / f"providers{suffix}", content)
    option = rng.choice([["-c", settings], ["--providers", providers]])
    said = _run_cli(["preview", config, "-n", "0", *option])
    assert "sk-literal-key" not in said
    return said


def check_arguments(rng: random.Random, folder: Path) -> str:
    """Arguments of the command line, for a configuration that needs no model."""
    content = orjson.dumps({"columns": CONFIG["columns"][:3]})
    return _run_cli(make_arguments(rng, _write(folder / "plain.json", content), str(folder)))


def check_metadata(rng: random.Random, folder: Path) -> str:
    """A mutated `metadata.json` or `builder_config.json` of a finished dataset."""
    dataset = folder / "made"
    designer = DataDesigner(folder, model_providers=[], run_config=dd.RunConfig(seed=1))
    config = {"columns": CONFIG["columns"][:3]}
    if not dataset.exists():
        designer.create(config, num_records=3, dataset_name="made")
    name = rng.choice(["metadata.json", "metadata.json", "builder_config.json"])
    sound = (dataset / name).read_bytes()
    copy = (dataset / "metadata.copy.json").read_bytes()
    _, content = write_mutated(orjson.loads(sound), rng)
    try:
        (dataset / name).write_bytes(content)
        if name == "metadata.json" and rng.random() < 0.5:
            (dataset / "metadata.copy.json").write_bytes(content)
        results = designer.open("made")
        results.count_records()
        results.load_dataset()
        results.load_analysis()
        results.export(folder / "rows.csv")
        designer.create(config, num_records=3, dataset_name="made", resume="always")
    except DataDesignerError as error:
        return _require_sentence(error)
    finally:
        (dataset / name).write_bytes(sound)
        (dataset / "metadata.copy.json").write_bytes(copy)
    return "accepted"


CHECKS: dict[str, tuple[Callable[[random.Random, Path], str], int]] = {
    "config": (check_config, 12),
    "settings": (check_settings, 3),
    "arguments": (check_arguments, 3),
    "metadata": (check_metadata, 2),
}
"""The checks, and how many of twenty inputs each one gets."""


def check(name: str, seed: int, folder: Path) -> str:
    """Check one input; returns what became of it, or raises what must not happen."""
    with limit_time():
        return CHECKS[name][0](random.Random(f"{name} {seed}"), folder)


def explain(error: BaseException) -> str:
    """A failure in a form that groups equal ones: the exception, and where it came from."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [frame for frame in frames if "/tests/" not in frame.filename] or frames
    last = ours[-1]
    where = f"{Path(last.filename).name}:{last.lineno} {last.name}"
    return f"{type(error).__name__} at {where}: {str(error)[:300]}"


def _write(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def _run_cli(arguments: list[str]) -> str:
    done = CliRunner().invoke(cli, arguments)
    error = done.exception
    if error is not None and not isinstance(error, SystemExit):
        raise error
    assert done.exit_code in (0, 1, 2), done.exit_code
    assert "Traceback" not in done.output
    assert "unexpected error" not in done.output, f"{arguments}: {done.output[:400]}"
    return done.output[:200]


def _require_sentence(error: DataDesignerError) -> str:
    text = str(error)
    assert text.strip(), type(error).__name__
    assert "Traceback" not in text
    assert "cannot be checked: " not in text, f"a check failed: {text[:300]}"
    assert not isinstance(error, ValidationError)
    return text[:200]
