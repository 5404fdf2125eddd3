"""Small configurations for tests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

import dd_core.config as dd
from dd_core.kinds.columns.column import Binding
from dd_core.models.conversation import ConversationLimits


def binding(seed: int = 0, **fields: Any) -> Binding:
    """A `Binding` with the defaults of a run; `fields` replace some of them."""
    defaults: dict[str, Any] = {
        "rendering": "secure",
        "conversation": ConversationLimits(),
        "max_calls": 1024,
        "threads": 4,
    }
    return Binding(seed=seed, **{**defaults, **fields})


def model(url: str, alias: str = "m", *, parallel: int = 8, **fields: Any) -> dd.ModelConfig:
    """A model on a test server; its name there is its alias."""
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=parallel)
    given = {"provider": "openai", "base_url": url, "inference_parameters": parameters}
    return dd.ModelConfig(alias=alias, model=alias, **{**given, **fields})


def topics(*models: dd.ModelConfig) -> dd.DataDesignerConfigBuilder:
    """A builder with two sampler columns: `id`, unique, and `topic`."""
    builder = dd.DataDesignerConfigBuilder([*models])
    builder.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    builder.add_column(
        name="topic",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["tea", "rain", "trains", "chess"]},
    )
    return builder


def chain(url: str, length: int, alias: str = "m", **fields: Any) -> dd.DataDesignerConfigBuilder:
    """A builder with LLM columns `c0`, `c1`, ... where each column needs the one before."""
    builder = topics(model(url, alias, **fields))
    before = "id"
    for number in range(length):
        builder.add_column(
            name=f"c{number}",
            column_type="llm-text",
            model_alias=alias,
            prompt=f"Go on ({number}): {{{{ {before} }}}}",
        )
        before = f"c{number}"
    return builder


def rewrite_as_earlier(dataset: Path, path: Path, table: Any) -> None:
    """Replace a part as a version wrote it that recorded neither files nor checksums."""
    known = json.loads(pq.read_schema(path).metadata[b"dd.rows"])
    old = {name: known[name] for name in ("start", "stop", "complete", "dropped")}
    facts = {b"dd.rows": json.dumps(old).encode()}
    pq.write_table(table.replace_schema_metadata(facts), path)
    metadata = json.loads((dataset / "metadata.json").read_text())
    kept = {name: it for name, it in metadata.items() if name not in ("files", "is_settled")}
    (dataset / "metadata.json").write_text(json.dumps(kept))
