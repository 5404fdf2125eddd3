"""Valid inputs of every kind, and a seeded mutator that breaks them."""

from __future__ import annotations

import copy
import json
import random
from typing import Any

import yaml

Raw = dict[str, Any]


def _sampler(name: str, kind: str, **params: Any) -> Raw:
    return {"name": name, "column_type": "sampler", "sampler_type": kind, "params": params}


def _llm(name: str, kind: str, prompt: str, **fields: Any) -> Raw:
    return {
        "name": name,
        "column_type": kind,
        "model_alias": "m",
        "prompt": prompt,
        **fields,
    }


CONFIG: Raw = {
    "model_configs": [
        {
            "alias": "m",
            "model": "tiny",
            "provider": "openai",
            "base_url": "http://model.test/v1",
            "inference_parameters": {
                "max_parallel_requests": 4,
                "timeout": 5,
                "temperature": {
                    "distribution_type": "uniform",
                    "params": {"low": 0.1, "high": 0.9},
                },
                "extra_body": {"seed": 1},
            },
            "price": {"input": 1.0, "output": 2.0},
        },
        {
            "alias": "e",
            "model": "embed",
            "provider": "openai",
            "endpoints": [{"base_url": "http://one.test/v1"}, {"base_url": "http://two.test/v1"}],
            "inference_parameters": {"encoding_format": "float"},
        },
    ],
    "constraints": [
        {
            "constraint_type": "scalar_inequality",
            "target_column": "age",
            "operator": "gt",
            "rhs": 20,
        },
        {
            "constraint_type": "column_inequality",
            "target_column": "age",
            "operator": "lt",
            "rhs": "limit",
        },
    ],
    "columns": [
        _sampler("topic", "category", values=["tea", "rain"], weights=[1, 2]),
        _sampler("sub", "subcategory", category="topic", values={"tea": ["a"], "rain": ["b"]}),
        _sampler("age", "uniform", low=18, high=60, decimal_places=1),
        _sampler("limit", "gaussian", mean=70, stddev=2),
        _sampler("flag", "bernoulli", p=0.4),
        _sampler("trials", "binomial", n=5, p=0.3),
        _sampler("count", "poisson", mean=3),
        _sampler("gamma", "scipy", dist_name="gamma", dist_params={"a": 2.0}),
        _sampler("id", "uuid", prefix="u-", short_form=True),
        _sampler("day", "datetime", start="2024-01-01", end="2024-12-31", unit="D"),
        _sampler("later", "timedelta", dt_min=1, dt_max=5, reference_column_name="day", unit="D"),
        _sampler("who", "person_from_faker", locale="en_US", age_range=[20, 40]),
        {
            **_sampler("mixed", "category", values=["x"]),
            "conditional_params": {
                "topic == 'tea'": {"sampler_type": "category", "values": ["y", "z"]}
            },
        },
        {"name": "label", "column_type": "expression", "expr": "{{ topic }}!", "dtype": "str"},
        _llm(
            "note",
            "llm-text",
            "A note on {{ topic }}",
            system_prompt="Be short.",
            skip={"when": "{{ age > 50 }}", "value": "old"},
        ),
        _llm("code", "llm-code", "Code for {{ label }}", code_lang="python"),
        _llm(
            "facts",
            "llm-structured",
            "Facts of {{ note }}",
            output_format={
                "type": "object",
                "properties": {"x": {"type": "integer", "minimum": 0}},
                "required": ["x"],
            },
        ),
        _llm(
            "grade",
            "llm-judge",
            "Judge {{ note }}",
            scores=[{"name": "good", "description": "Is it?", "options": {"1": "no", "2": "yes"}}],
        ),
        {
            "name": "checked",
            "column_type": "validation",
            "target_columns": ["code"],
            "validator_type": "code",
            "validator_params": {"code_lang": "python"},
            "batch_size": 5,
        },
    ],
    "processors": [
        {"processor_type": "drop_columns", "name": "less", "column_names": ["flag"]},
        {"processor_type": "filter_rows", "name": "few", "condition": "{{ age > 1 }}"},
        {
            "processor_type": "schema_transform",
            "name": "chat",
            "template": {"messages": [{"role": "user", "content": "{{ note }}"}]},
        },
    ],
}
"""A configuration with most kinds of everything."""

RUN_CONFIG: Raw = {
    "buffer_size": 10,
    "max_concurrent_row_groups": 2,
    "shutdown_error_rate": 0.5,
    "budget": {"requests": 100},
    "gates": {"min_rows": 1, "columns": {"topic": {"max_null_share": 0.5}}},
    "request_admission": {"initial_limit": 2},
    "jinja_rendering_engine": "secure",
    "seed": 3,
}
PROVIDERS: Raw = {
    "providers": [
        {
            "name": "own",
            "endpoint": "http://own.test/v1",
            "api_key": "sk-literal-key",
            "extra_headers": {"x-one": "two"},
            "extra_body": {"a": 1},
        }
    ]
}

_DEEP: Any = 1
for _ in range(120):
    _DEEP = [_DEEP]

ODD: list[Any] = [
    None,
    True,
    False,
    0,
    -1,
    1,
    10**30,
    -(10**30),
    2**63,
    1e308,
    float("inf"),
    float("nan"),
    0.5,
    "",
    " ",
    "x",
    "\0",
    "{{",
    "{{ topic",
    "{{ topic.a.b }}",
    "{% for x in y %}",
    "{{ missing }}",
    "http://",
    "http://[",
    "http://user:password@host.test/v1",
    "http://host.test:99999/v1",
    "://",
    "../../x",
    "/",
    "caf\u00e9 \u202e\u2603",
    "a" * 300,
    "topic",
    "1e999",
    "2024-13-45",
    "[[[[",
    "(" * 200,
    [],
    [None],
    [[]],
    {},
    {"": None},
    {"x": {"y": []}},
    {"type": "object", "properties": {"a": {"type": "integer", "maximum": 10**30}}},
    {"$ref": "#/nowhere"},
    {"$ref": "http://model.test/schema.json"},
    {"type": 5},
    _DEEP,
]
"""Values that something may stumble over."""


def _list_places(value: Any, found: list[tuple[Any, Any]]) -> list[tuple[Any, Any]]:
    """Every container in a value, with each key or index of it."""
    items: Any = ()
    if isinstance(value, dict):
        items = [*value.items()]
    elif isinstance(value, list):
        items = [*enumerate(value)]
    for key, member in items:
        found.append((value, key))
        _list_places(member, found)
    return found


def mutate(content: Raw, rng: random.Random) -> Any:
    """A copy of some content in which one to three things are wrong."""
    made: Any = copy.deepcopy(content)
    for _ in range(rng.choice([1, 1, 1, 2, 3])):
        places = _list_places(made, [])
        if not places:
            return rng.choice(ODD)
        container, key = rng.choice(places)
        match rng.randrange(8):
            case 0:
                del container[key]
            case 1 if isinstance(container, dict):
                container[rng.choice(["", "extra", "name", "$ref", "\0", "1", "type"])] = (
                    rng.choice(ODD)
                )
            case 2:
                other, its_key = rng.choice(places)
                container[key] = copy.deepcopy(other[its_key])
            case 3 if isinstance(container, list):
                container.append(copy.deepcopy(rng.choice([*container, None])))
            case 4:
                container[key] = [container[key]]
            case 5 if isinstance(container[key], str):
                container[key] = _mutate_text(container[key], rng)
            case _:
                container[key] = copy.deepcopy(rng.choice(ODD))
    return made


def _mutate_text(text: str, rng: random.Random) -> str:
    position = rng.randrange(len(text) + 1)
    noise = rng.choice(["{{", "}}", "\0", "'", '"', "\\", "\n", "%", "\u2028", " | x", "*", ""])
    return text[:position] + noise + text[position + rng.randrange(3) :]


def write_mutated(content: Raw, rng: random.Random) -> tuple[str, bytes]:
    """The suffix and the bytes of a file with mutated content, which may be damaged as well."""
    made = mutate(content, rng)
    suffix = rng.choice([".json", ".yaml"])
    text = json.dumps(made) if suffix == ".json" else yaml.safe_dump(made)
    data = bytearray(text.encode())
    match rng.randrange(12):
        case 0:
            data = data[: rng.randrange(len(data) + 1)]
        case 1:
            for _ in range(3):
                data[rng.randrange(len(data))] = rng.randrange(256)
        case 2:
            data = bytearray(rng.choice(["utf-16", "utf-32", "latin-1", "cp037"]), "ascii")
            data = bytearray(text.encode(data.decode(), "replace"))
        case 3:
            at = rng.randrange(len(data) + 1)
            data[at:at] = rng.choice([b"[" * 5000, b"{a: " * 5000, b"\xff\xfe", b"&a [*a]", b"\0"])
        case _:
            pass
    return suffix, bytes(data)


def make_arguments(rng: random.Random, config: str, folder: str) -> list[str]:
    """Arguments of the command line, most of them wrong in some way."""
    files = [config, folder, f"{folder}/none.yaml", "/dev/null", "", "columns: 5", "x" * 300]
    numbers = ["0", "-1", "1", "2", str(10**30), "1e3", "", "x", "0x10", "\u0661"]
    names = ["data", "", "..", "a/b", "x" * 300, "\u2603", "-", "con"]
    outputs = [f"{folder}/o.exe", f"{folder}/no/o.csv", folder, "o", "", "/dev/full"]
    command = rng.choice(
        ["preview", "validate", "estimate", "report", "export", "push", "previw", "", "run"]
    )
    arguments = [command, rng.choice([config, config, *files])]
    options: list[list[str]] = [
        ["-n", rng.choice(numbers)],
        ["--seed", rng.choice(numbers)],
        ["-o", rng.choice(outputs)],
        ["-d", rng.choice(names)],
        ["-c", rng.choice(files)],
        ["--providers", rng.choice(files)],
        ["--probe-rows", rng.choice(numbers)],
        ["--version", rng.choice(names)],
        ["--resume", rng.choice(["always", "x"])],
        ["--unknown"],
        ["--help"],
        ["--trust"],
        [rng.choice(files)],
        ["--", rng.choice(names)],
    ]
    for option in rng.sample(options, rng.randrange(4)):
        arguments += option
    # A run would start a Prefect server, so it is always refused.
    return [*arguments, "--unknown"] if command == "run" else arguments
