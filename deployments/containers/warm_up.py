"""Imports what runs import, and generates a small dataset without a model.

The Dockerfile runs this in the finished environment. The build fails if a run would lack something,
and the bytecode of these modules is stored in the image, where runs could not write it.
"""

from __future__ import annotations

import tempfile
from importlib import import_module
from pkgutil import walk_packages

import dd_core.config as dd
from dd_core import DataDesigner

OURS = ("dd_core", "prefect_data_designer")
OTHERS = (
    *("prefect.engine", "prefect.flow_engine", "prefect.runner"),
    *("prefect.cli.flow_run", "prefect.cli.worker", "prefect.workers.process"),
    *("aiohttp", "duckdb", "httpx", "pandas", "pyarrow.dataset", "pyarrow.parquet"),
    *("datasketch", "faker", "scipy.stats"),
)
"""Modules that ours import when they need them, and those of Prefect's commands."""


def load_modules() -> None:
    """Import all modules of this project, and what they import later."""
    for package in OURS:
        for module in walk_packages(import_module(package).__path__, f"{package}."):
            import_module(module.name)
    for name in OTHERS:
        import_module(name)


def generate_rows() -> None:
    """Generate rows with sampled people and numbers, check code, and evaluate quality gates."""
    builder = dd.DataDesignerConfigBuilder()
    for name, kind, params in SAMPLED:
        builder.add_column(name=name, column_type="sampler", sampler_type=kind, params=params)
    builder.add_column(name="who", column_type="expression", expr="{{ person.city }} {{ n }}")
    for language in ("python", "sql:ansi"):
        target = language.partition(":")[0]
        builder.add_column(
            name=f"{target}_check",
            column_type="validation",
            target_columns=[target],
            validator_type="code",
            validator_params={"code_lang": language},
        )
    settings = dd.RunConfig(gates=dd.Gates(min_rows=20))
    with tempfile.TemporaryDirectory() as folder:
        designer = DataDesigner(folder, run_config=settings)
        results = designer.create(builder, num_records=20, dataset_name="warm-up")
        rows = results.load_dataset()
    assert len(rows) == 20, rows


SAMPLED = (
    ("n", "scipy", {"dist_name": "norm", "dist_params": {"loc": 0, "scale": 1}}),
    ("person", "person_from_faker", {}),
    ("python", "category", {"values": ["x = 1", "x ="]}),
    ("sql", "category", {"values": ["SELECT 1", "SELECT FROM"]}),
)

if __name__ == "__main__":
    load_modules()
    generate_rows()
