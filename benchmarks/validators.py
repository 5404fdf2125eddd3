"""Rows per second that validation columns check, in this project and in data-designer.

    python -m benchmarks.validators

The dataset takes code from a seed dataset and validates it in one column with the default batch
size. The time is that of `create`, minus that of the same dataset with an expression column
instead.
"""

from __future__ import annotations

from rich.console import Console
from rich.table import Table

from benchmarks.reference import VERSION, measured

_SCRIPT = """
import json, sys, time
import pandas as pd
import data_designer.config as dd
from data_designer.interface import DataDesigner
from benchmarks.sql_corpus import VALID

language, rows = sys.argv[1], int(sys.argv[2])
lines = [
    "def f{0}(values):", "    total = 0", "    for value in values:", "        if value > {0}:",
    "            total += value", "    return total", "",
]
python = chr(10).join(lines)
sources = [
    python.format(number) if language == "python" else VALID[number % len(VALID)]
    for number in range(rows)
]
model = dd.ModelConfig(alias="m", model="m", provider="nvidia", skip_health_check=True)

def seconds(validated):
    builder = dd.DataDesignerConfigBuilder(model_configs=[model])
    builder.with_seed_dataset(dd.DataFrameSeedSource(df=pd.DataFrame({"code": sources})))
    if validated:
        builder.add_column(
            name="check", column_type="validation", target_columns=["code"],
            validator_type="code", validator_params=dd.CodeValidatorParams(code_lang=language),
        )
    else:
        builder.add_column(name="check", column_type="expression", expr="{{ code }}!")
    began = time.perf_counter()
    results = DataDesigner(artifact_path=f"out-{validated}").create(builder, num_records=rows)
    assert results.count_records() == rows
    return time.perf_counter() - began

seconds(False)
plain = seconds(False)
print(json.dumps({"rows_per_second": rows / max(seconds(True) - plain, 1e-3)}))
"""


def main() -> None:
    """Run the benchmark and print the table."""
    headings = ("language", "this project", f"data-designer {VERSION}", "ratio")
    table = Table(*headings, title="Rows per second")
    for language, rows in (("python", 600), ("sql:ansi", 240)):
        ours, theirs = measured(_SCRIPT, language, str(rows))
        here, there = ours["rows_per_second"], theirs["rows_per_second"]
        table.add_row(language, f"{here:,.0f}", f"{there:,.0f}", f"{here / there:,.1f}")
    Console().print(table)


if __name__ == "__main__":
    main()
