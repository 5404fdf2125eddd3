"""Loads the configuration of a dataset and finds its problems, or runs a Python file for it."""

from __future__ import annotations

import inspect
import json
import runpy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic import ValidationError

from dd_core.dataset.config import BuilderConfig, DataDesignerConfig
from dd_core.dataset.source import is_address, read_mapping
from dd_core.declaration.kind import Kind
from dd_core.declaration.loading import ensure_loaded
from dd_core.declaration.trust import observe_uses
from dd_core.declaration.yaml_text import load_yaml_file
from dd_core.errors import (
    InvalidConfigError,
    MissingConfigError,
    Problem,
    convert_errors,
)
from dd_core.kinds.columns.column import Column
from dd_core.kinds.scope import UnknownReferenceProblem
from dd_core.models.config import ModelConfig
from dd_core.models.providers import Providers
from dd_core.redaction.rules import mask_fields

ConfigSource = DataDesignerConfig | BuilderConfig | Mapping[str, Any] | str | Path


@dataclass(frozen=True)
class DataDesignerScriptParams:
    """What a configuration script in Python receives."""

    argv: tuple[str, ...] = ()
    """Arguments after `--` on the command line."""


_MOST_MEMBERS = 5_000_000


def load_config(
    source: ConfigSource,
    providers: Providers | None = None,
    managed_assets: Path | None = None,
    *,
    trust: bool = False,
) -> DataDesignerConfig:
    """Load the configuration of a dataset; raises `InvalidConfigError` with all problems.

    `source` is a configuration object, a mapping, the path or http(s) URL of a YAML or JSON file,
    or YAML text. Two forms are accepted: `{data_designer: {...}}`, and the inner mapping alone.
    `providers` and `managed_assets` are used to find further problems of an invalid source.

    A configuration from a URL may only import code, use custom kinds, read files and choose keys if
    `trust` is true. Everything else belongs to the caller, who is always trusted.
    """
    if isinstance(source, DataDesignerConfig):
        return source
    if isinstance(source, BuilderConfig):
        return source.data_designer
    raw = read_mapping(source)
    inner: Any = raw.get("data_designer", raw)
    if not isinstance(inner, Mapping) or not (inner.keys() & {"columns", "seed_config"}):
        raise InvalidConfigError(
            "it has neither `columns` nor `data_designer`; see docs/first-dataset.md for an example"
        )
    content = _to_json_types(inner)  # pyright: ignore[reportUnknownArgumentType]
    ensure_loaded()  # custom kinds are the user's choice, not that of the configuration
    with observe_uses(trusted=trust or not is_address(source)) as reading:
        try:
            return _validate(content, providers or Providers(), managed_assets)
        except InvalidConfigError as error:
            if reading.is_trusted or not reading.uses:
                raise
            raise InvalidConfigError([*error.problems, _explain_trust(str(source))]) from None


def _validate(
    content: dict[str, Any], providers: Providers, managed_assets: Path | None
) -> DataDesignerConfig:
    try:
        with convert_errors(InvalidConfigError, "it cannot be checked"):
            return DataDesignerConfig.model_validate(content)
    except InvalidConfigError as error:
        if not isinstance(error.__cause__, ValidationError):
            raise
        problems = find_config_problems(error.__cause__, content)
        further = _find_further_problems(content, problems, providers, managed_assets)
        raise InvalidConfigError([*problems, *further]) from None


def _explain_trust(source: str) -> Problem:
    return Problem(
        "config",
        f"it comes from {source}, so it is not trusted with this machine's code, files and keys; "
        "read it, and if you trust it, use `--trust` with ddflows, `trust_config` with the flow "
        "or DataDesigner, or `trust` with load_config",
    )


def run_script(path: Path, argv: Sequence[str] = ()) -> DataDesignerConfig:
    """Run a Python file and return the configuration that it builds.

    The file defines `load_config_builder`, which takes either no argument or a
    `DataDesignerScriptParams`, and returns a builder. The file can run any code, so only the
    command line calls this function, with files of its own user.
    """
    if not path.is_file():
        raise MissingConfigError(f"there is no file {str(path)!r}")
    with convert_errors(InvalidConfigError, f"{str(path)!r} failed"):
        return _build_in_script(path, argv)


def _build_in_script(path: Path, argv: Sequence[str]) -> DataDesignerConfig:
    found = runpy.run_path(str(path)).get("load_config_builder")
    if not callable(found):
        raise InvalidConfigError(f"{str(path)!r} defines no function load_config_builder(); add it")
    given = [DataDesignerScriptParams((*argv,))][: len(inspect.signature(found).parameters)]
    built: Any = found(*given)
    if not hasattr(built, "build"):
        raise InvalidConfigError(
            f"load_config_builder() in {str(path)!r} must return a builder, "
            f"not {type(built).__name__}"
        )
    return built.build()


def find_config_problems(error: ValidationError, content: Mapping[str, Any]) -> list[Problem]:
    """Convert Pydantic's errors to problems, with names instead of list positions."""
    return [
        Problem(_format_location(found["loc"], content), _explain(dict(found)))
        for found in error.errors(include_url=False, include_context=False)
    ]


def _to_json_types(content: Mapping[str, Any]) -> dict[str, Any]:
    try:
        if _count_members(content, {}) > _MOST_MEMBERS:
            raise ValueError(
                f"it has more than {_MOST_MEMBERS:,} members, counting aliases wherever they occur"
            )
        return json.loads(json.dumps({**content}, default=str))
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidConfigError(f"it cannot be represented as JSON: {error}") from None
    except Exception as error:  # str() of an object of the user's own
        name = type(error).__name__
        raise InvalidConfigError(f"it contains an object without text ({name})") from error


def _count_members(value: Any, known: dict[int, int]) -> int:
    """Count the members at all depths; aliases in YAML can make billions of them in a few lines."""
    if isinstance(value, Mapping):
        parts: list[Any] = [*cast("Mapping[Any, Any]", value).values()]
    elif isinstance(value, list | tuple):
        parts = [*cast("list[Any]", value)]
    else:
        return 1
    place = id(cast("object", value))
    if place not in known:
        known[place] = 0  # an object that contains itself is reported later
        known[place] = 1 + sum(_count_members(part, known) for part in parts)
    return known[place]


def _format_location(location: tuple[int | str, ...], content: Mapping[str, Any]) -> str:
    """A location with names, such as `columns.review.prompt` for `columns.2.llm-text.prompt`."""
    words: list[str] = []
    current: Any = content
    for step in location:
        try:
            current = current[step]
        except (KeyError, IndexError, TypeError):
            if step == location[-1] and not _is_tag(step):
                words.append(str(step))
            continue
        words.append(str(step) if isinstance(step, str) else _name_of(current, step))
    return ".".join(words) or "config"


def _name_of(item: Any, position: int) -> str:
    """The name or alias of a list item; its position if it has neither."""
    named = cast("dict[str, Any]", item) if isinstance(item, dict) else {}
    return str(named.get("name") or named.get("alias") or position)


def _is_tag(step: int | str) -> bool:
    """Whether a step of a location is the tag of a kind, which Pydantic adds to the location."""
    return isinstance(step, str) and any(
        step in family.all_kinds() for family in Kind.__subclasses__()
    )


def _explain(found: dict[str, Any]) -> str:
    message = str(found["msg"]).removeprefix("Value error, ")
    match found["type"]:
        case "extra_forbidden":
            return "this field does not exist; remove it or correct its name"
        case "missing":
            return "is missing; add it"
        case "union_tag_not_found" | "union_tag_invalid":
            return message[0].lower() + message[1:]
        case "value_error":
            return message
        case "string_unicode":
            shown = ascii(found.get("input"))[:60]
            return f"{shown} contains half of a surrogate pair, which cannot be saved; remove it"
        case kind:
            name = next((str(part) for part in reversed(found["loc"]) if part), "")
            shown = repr(mask_fields(found.get("input"), name))
            is_number = kind == "string_type" and isinstance(found.get("input"), bool | int | float)
            hint = "; put it in quotes" if is_number else ""
            return f"{message[0].lower()}{message[1:]}, but it is {shown[:60]}{hint}"


def _find_further_problems(
    content: dict[str, Any],
    known: list[Problem],
    providers: Providers,
    managed_assets: Path | None,
) -> list[Problem]:
    """Problems of the parts that can be read, so that all problems are reported at once."""
    from dd_core.dataset.compile import compile_plan

    readable: list[Any] = []
    taken: list[str] = []
    columns: Any = content.get("columns")
    for position, raw in enumerate(columns if isinstance(columns, list) else ()):  # pyright: ignore
        try:
            Column.read(raw)
            readable.append(raw)
        except Exception:  # reported as a problem already
            taken.append(_name_of(raw, position))
    broken = {problem.where.split(".")[0] for problem in known}
    partial = {name: value for name, value in content.items() if name not in broken}
    partial["columns"] = readable
    try:
        config = DataDesignerConfig.model_validate(partial)
        compile_plan(config, providers, 0, taken=taken, managed_assets=managed_assets)
    except InvalidConfigError as error:
        # With a cause, the check itself failed, because columns that others refer to are missing.
        found = [] if error.__cause__ is not None else error.problems
        return [problem for problem in found if not _is_consequence(problem, broken)]
    except Exception:  # what cannot be checked without the unreadable parts is checked next time
        return []
    return []


def _is_consequence(problem: Problem, broken: set[str]) -> bool:
    """Whether a problem exists only because an unreadable part was left out."""
    about_models = problem.where.endswith(".model_alias") and "model_configs" in broken
    about_seed = isinstance(problem, UnknownReferenceProblem) and "seed_config" in broken
    return problem.where == "columns" or about_models or about_seed


def load_model_configs(source: list[ModelConfig] | str | Path) -> list[ModelConfig]:
    """Load models from a YAML or JSON file with a `model_configs` list, or return a given list."""
    if isinstance(source, list):
        return source
    path = Path(source).expanduser()
    if not path.is_file():
        raise FileNotFoundError(f"there is no model config file {str(source)!r}")
    loaded: Any = load_yaml_file(path)
    if not isinstance(loaded, dict) or not isinstance(loaded.get("model_configs"), list):  # pyright: ignore[reportUnknownMemberType]
        raise InvalidConfigError(f"{str(path)!r} has no top-level list `model_configs`; add it")
    with convert_errors(InvalidConfigError, f"{str(path)!r} is not valid"):
        return [ModelConfig.model_validate(item) for item in loaded["model_configs"]]  # pyright: ignore[reportUnknownVariableType]
