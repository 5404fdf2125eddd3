"""The example with tools in `deployments/`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from mcp.server.fastmcp.exceptions import ToolError
from prefect.utilities.schema_tools.validation import validate

import dd_core.config as dd
from dd_core import DataDesigner
from deployments.stock_server import describe_stock, query_stock
from flows import generate_dataset
from flows.cli.options import read_servers
from tests.dd_core.models.tools.test_turns import calling
from tests.scripted import ScriptedModel, model

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deployments"


def test_a_model_may_ask_the_stock_but_nothing_else() -> None:
    assert "price: DECIMAL" in describe_stock()
    assert query_stock("SELECT price FROM stock WHERE product = 'kettle'") == "price\n39.90"
    assert len(query_stock("SELECT 1 FROM stock a, stock b").splitlines()) == 21
    for sql in (
        "DROP TABLE stock",
        "SELECT 1; SELECT 2",
        "SELECT * FROM read_csv('/etc/passwd')",
        "COPY stock TO '/tmp/stock.csv'",
        "SET enable_external_access = true",
        "SELECT nothing FROM stock",
        "",
    ):
        with pytest.raises(ToolError):
            query_stock(sql)
    assert "watering can" in query_stock("SELECT product FROM stock")


def _answer(body: dict[str, Any]) -> Any:
    last = body["messages"][-1]
    if last["role"] == "user":
        return calling(("describe_stock", {}), ("query_stock", {"sql": "SELECT no FROM stock"}))
    if "failed" in last["content"]:  # corrects its query, as models do
        return calling(("query_stock", {"sql": "SELECT sum(quantity) AS total FROM stock"}))
    return f"There are {last['content'].split()[-1]} things."


def test_the_rows_are_generated_with_tools(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    config = dd.load_config(str(FOLDER / "stock_questions.yaml"))
    config = config.model_copy(update={"model_configs": [model("tiny")]})
    [server] = read_servers("deployments/stock_tools.yaml")["mcp_providers"]
    script = ScriptedModel(_answer)
    designer = DataDesigner(
        transport=script, mcp_providers=[server.model_copy(update={"command": sys.executable})]
    )
    results = designer.preview(config, num_records=3)
    assert [*results.dataset["answer"]] == ["There are 223 things."] * 3
    used = results.usage["tiny"]["answer"]
    assert (used["tool/query_stock/calls"], used["tool/query_stock/errors"]) == (6, 3)
    assert used["tool/describe_stock/calls"] == 3
    schemas = [tool["function"]["name"] for tool in script.requests[0]["tools"]]
    assert schemas == ["describe_stock", "query_stock"]


def test_the_deployment_has_valid_parameters() -> None:
    project = yaml.safe_load((ROOT / "prefect.yaml").read_text())
    [given] = [each for each in project["deployments"] if each["name"] == "with-tools"]
    schema: Any = generate_dataset.parameters.model_dump_for_openapi()
    assert validate(json.loads(json.dumps(given["parameters"])), schema) == []
    [server] = read_servers(str(FOLDER / "stock_tools.yaml"))["mcp_providers"]
    assert [server.model_dump(exclude_unset=True)] == given["parameters"]["mcp_providers"]
