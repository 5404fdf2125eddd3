"""A dataset from a server that mixes odd answers with the usual ones.

    python -m benchmarks.odd_answers

More than forty kinds of odd answers and faults occur with a probability of 1% each (see
`benchmarks/odd_replies.py`). In one row out of a hundred, one cell never gets a usable answer. The
server knows the right value of each cell. It checks that the prompts contain the right values of
the columns before, and the program compares every stored value with the one that was sent. The exit
code is 0 if every row is either right or listed with a reason, and the number of requests is within
the limit. Texts that `on_truncated: retry` keeps after two answers that were cut off are counted
separately.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import pyarrow.parquet as pq
from aiohttp import web
from rich.console import Console
from rich.table import Table

import dd_core.config as dd
from benchmarks.odd_replies import CUT_OFF, KINDS, UNUSABLE, Cell, Reply, pick
from dd_core import DataDesigner
from dd_core.designer.results import DatasetCreationResults

_COLUMNS = ("text", "structured", "code", "judge")
_INPUTS = {"structured": "text", "code": "structured", "judge": "code"}
_SHARE = 0.01
_CURSED_ROWS = 0.01
_MAX_RATIO = 1.15
_CELL = re.compile(r"\[(\w+) of ([0-9a-f]{32})\]")
_SCHEMA = {
    "type": "object",
    "properties": {
        "title": {"type": "string"},
        "number": {"type": "integer", "maximum": 2**31},
        "tags": {"type": "array", "items": {"type": "string"}},
    },
    "required": ["title", "number", "tags"],
}


@dataclass
class Sent:
    """What the server sent for a cell."""

    attempts: int = 0
    unusable: int = 0
    cut_off: int = 0
    """Answers of which a limit of tokens cut off the end."""
    values: list[Any] = field(default_factory=list[Any])


class OddServer:
    """The server, in a thread: `with OddServer() as server: server.url`."""

    def __init__(self) -> None:
        self.sent: dict[Cell, Sent] = {}
        self.kinds: Counter[str] = Counter()
        self.wrong_prompts: list[str] = []
        self.other_requests = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._runner, port = asyncio.run_coroutine_threadsafe(self._start(), self._loop).result()
        self.url = f"http://127.0.0.1:{port}/v1"
        return self

    def __exit__(self, *exc: object) -> None:
        asyncio.run_coroutine_threadsafe(self._runner.cleanup(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _start(self) -> tuple[web.AppRunner, int]:
        app = web.Application(client_max_size=2**24)
        app.router.add_post("/v1/chat/completions", self._answer)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=1, handler_cancellation=True)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        return runner, runner.addresses[0][1]

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        # A correction follows the prompt and the answer that it is about.
        prompt = (await request.json())["messages"][0]["content"]
        found = _CELL.search(prompt)
        if found is None:  # the test of the model before the run
            self.other_requests += 1
            return web.json_response({"choices": [{"message": {"content": "Hello"}}]})
        cell = Cell(found[1], found[2])
        self._check(cell, prompt)
        kind, reply = self._reply(cell)
        self.kinds[kind] += 1
        await asyncio.sleep(reply.delay or 0.01)
        if not reply.is_cut_off:
            return web.Response(body=reply.body, status=reply.status, headers=dict(reply.headers))
        response = web.StreamResponse(headers={"content-length": str(2 * len(reply.body))})
        await response.prepare(request)
        await response.write(reply.body)
        if request.transport is not None:
            request.transport.abort()
        return response

    def _reply(self, cell: Cell) -> tuple[str, Reply]:
        sent = self.sent.setdefault(cell, Sent())
        sent.attempts += 1
        cursed = find_cursed(cell.row)
        if cursed is not None and cursed[0] == cell.column:
            kind = cursed[1]
            reply = UNUSABLE[kind](cell)
            assert reply is not None
        else:
            kind, reply = pick(cell, sent.attempts, _SHARE)
        sent.cut_off += kind in CUT_OFF
        if reply.value is None:
            sent.unusable += 1
        else:
            sent.values.append(reply.value)
        return kind, reply

    def _check(self, cell: Cell, prompt: str) -> None:
        """Check that the prompt contains the value that was sent for the column before."""
        before = _INPUTS.get(cell.column)
        if before is None:
            return
        sent = self.sent.get(Cell(before, cell.row))
        if sent and may_be_half(Cell(before, cell.row), sent):
            return
        value = sent.values[0] if sent and sent.values else None
        wanted = value["title"] if isinstance(value, dict) else value
        if wanted is None or f"<<{wanted}>>" not in prompt:
            self.wrong_prompts.append(prompt)


def may_be_half(cell: Cell, sent: Sent) -> bool:
    """Whether `on_truncated` keeps half of a text: after a second answer that was cut off."""
    return cell.column == "text" and not sent.values and sent.cut_off > 1


def find_cursed(row: str) -> tuple[str, str] | None:
    """Return the column of a row that never gets a usable answer, and the kind of its answers."""
    chance = int(row[-8:], 16)
    if chance / 2**32 >= _CURSED_ROWS:
        return None
    kinds = [kind for kind in UNUSABLE if kind not in CUT_OFF]
    return _COLUMNS[chance % len(_COLUMNS)], kinds[chance // 7 % len(kinds)]


def declare_dataset(url: str) -> dd.DataDesignerConfig:
    """Four LLM columns, each of which reads the one before."""
    parameters = dd.ChatCompletionInferenceParams(max_parallel_requests=64, timeout=3)
    model = dd.ModelConfig(alias="m", model="m", base_url=url, inference_parameters=parameters)
    builder = dd.DataDesignerConfigBuilder([model])
    builder.add_column(name="id", column_type="sampler", sampler_type="uuid", params={})
    score = dd.Score(name="quality", description="Quality", options={1: "a", 2: "b", 3: "c"})
    fields: dict[str, dict[str, Any]] = {
        "text": {"column_type": "llm-text"},
        "structured": {"column_type": "llm-structured", "output_format": _SCHEMA},
        "code": {"column_type": "llm-code", "code_lang": "python"},
        "judge": {"column_type": "llm-judge", "scores": [score]},
    }
    for name in _COLUMNS:
        before = _INPUTS.get(name)
        read = f"{before}.title" if before == "structured" else before
        about = f" about <<{{{{ {read} }}}}>>" if before else ""
        prompt = f"[{name} of {{{{ id | replace('-', '') }}}}] Write it{about}."
        builder.add_column(name=name, model_alias="m", prompt=prompt, **fields[name])
    return builder.build()


@dataclass
class Findings:
    """The dataset compared with what the server sent."""

    right: int = 0
    kept: list[str] = field(default_factory=list[str])
    """Texts that were cut off twice and kept, as `on_truncated` demands."""
    half: list[str] = field(default_factory=list[str])
    wrong: list[str] = field(default_factory=list[str])
    failed: Counter[str] = field(default_factory=Counter[str])
    unlisted: int = 0
    without_reason: int = 0
    should_have_succeeded: int = 0


def compare(results: DatasetCreationResults, server: OddServer, rows: int) -> Findings:
    """Compare every stored value with the first usable answer that the server sent for it."""
    folder, findings = Path(str(results.dataset_path)), Findings()
    stored = pq.read_table(folder / "parquet-files").to_pylist()
    for row in stored:
        problems = [_compare_cell(server, row, name) for name in _COLUMNS]
        findings.kept += [each for each in problems if each.startswith("kept")]
        findings.half += [each for each in problems if each.startswith("half")]
        findings.wrong += [each for each in problems if each.startswith("wrong")]
        findings.right += not any(problems)
    failed = folder / "failed-rows"
    listed = pq.read_table(failed).to_pylist() if failed.exists() else []
    for row in listed:
        findings.failed[f"{row['column']}: {row['message'][:160]}"] += 1
        findings.without_reason += not (row["message"] and row["error"] and row["prompt"])
        found = _CELL.search(row["prompt"] or "")
        findings.should_have_succeeded += found is None or find_cursed(found[2]) is None
    numbers = {row["row"] for row in listed}
    ids = {row["id"] for row in stored}
    findings.unlisted = rows - len(ids) - len(numbers)
    return findings


def _compare_cell(server: OddServer, row: dict[str, Any], name: str) -> str:
    """Say what is wrong with a value; empty if it is right."""
    cell, value = Cell(name, row["id"].replace("-", "")), row[name]
    sent = server.sent.get(cell, Sent())
    if sent.values and value == sent.values[0]:
        return ""
    is_half = isinstance(value, str) and value != cell.value and str(cell.value).startswith(value)
    fault = "wrong"
    if is_half:
        fault = "kept" if may_be_half(cell, sent) else "half"
    return f"{fault}: {name} of {row['id']}: {value!r}"


def show(findings: Findings, server: OddServer, seconds: float, usage: Mapping[str, float]) -> bool:
    """Print the findings; returns whether all is as it should be."""
    console, cells = Console(), server.sent.values()
    table = Table(title="Answers that the server gave")
    for heading in ("kind", "answers"):
        table.add_column(heading)
    for kind in ("ordinary", *KINDS):
        table.add_row(kind, str(server.kinds[kind]))
    console.print(table)
    requests = sum(sent.attempts for sent in cells)
    needed = sum(sent.unusable + bool(sent.values) for sent in cells)
    ratio = requests / needed
    console.print(
        f"{findings.right} rows are right, {sum(findings.failed.values())} are listed as failed, "
        f"{findings.unlisted} are missing, {len(findings.wrong)} values are wrong, "
        f"{len(findings.half)} are half without need, {len(findings.kept)} were cut off twice and "
        f"kept, {len(server.wrong_prompts)} prompts are wrong; "
        f"{findings.should_have_succeeded} of the failed rows could have succeeded, "
        f"{findings.without_reason} have no reason.\n"
        f"{requests} requests, {ratio:.4f} x the {needed} that are unavoidable, and "
        f"{server.other_requests} to test the model; {seconds:.0f} s."
    )
    for problem in [*findings.wrong, *findings.half, *findings.kept, *server.wrong_prompts][:20]:
        console.print(problem, markup=False)
    for reason, count in sorted(findings.failed.items()):
        console.print(f"{count} x {reason}", markup=False)
    console.print({name: count for name, count in usage.items() if count})
    faults = (findings.wrong, findings.half, server.wrong_prompts, findings.unlisted)
    return not any(faults) and not findings.without_reason and ratio <= _MAX_RATIO


def main() -> None:
    """Generate the dataset and compare it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--corrections", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, OddServer() as server:
        run_config = dd.RunConfig(
            seed=given.seed, max_conversation_correction_steps=given.corrections
        )
        designer = DataDesigner(folder, run_config=run_config)
        began = time.perf_counter()
        results = designer.create(declare_dataset(server.url), num_records=given.rows)
        seconds = time.perf_counter() - began
        usage = Counter[str]()
        for counts in results.usage["m"].values():
            usage.update(counts)
        is_right = show(compare(results, server, given.rows), server, seconds, usage)
    sys.exit(0 if is_right else 1)


if __name__ == "__main__":
    main()
