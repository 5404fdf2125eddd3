"""The shell commands in the README and the docs work in their order, from an empty server."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from tests.conftest import ServerFactory
from tests.serving import find_free_port

ROOT = Path(__file__).parent.parent
PAGES = [
    "README",
    "docs/first-dataset",
    "docs/deploying",
    "docs/many-machines",
    "docs/nightly",
    "docs/limits",
    "docs/ui",
    "docs/cache",
    "docs/results",
    "docs/storage",
    "docs/recipes",  # changes the folder
]
"""Pages in the order in which somebody would follow them, in the same folder.

`docs/containers.md` needs Docker; `tests/test_containers.py` checks that its commands exist."""

NOT_RUN = (
    "make demo",  # sets up the environment that this test runs in
    "pip install",
    "PREFECT_MESSAGING_BROKER",  # settings of a server that uses Redis
)
REPLACED = [
    (r"^ddflows local install.*", ""),  # the model is a server that answers at once
    (r"/mnt/shared", "$PWD/shared"),
    (r"-n 1000\b", "-n 4"),
    (r"-n 20\b", "-n 4"),
    (r"num_records=50", "num_records=4"),
    (r"\b4200\b", "$PORT"),
    (r"^(prefect server start)", r"\1 --port $PORT > server.log 2>&1 & await_server"),
    (r"^(prefect worker start [^#\n]*).*", r"\1 &"),
    (r"^(\s*prefect deployment run .*)", r"\1 --watch --watch-interval 1"),
    (r"^ddflows push .*", ""),  # needs an account
    (r"^(prefect work-pool create) (.*)", r"\1 --overwrite \2"),  # two pages create the same pool
    (r'(save."dataset-alerts".+)', r"\1 > id"),
    (r"<the id>", "$(cat id)"),
    (r"--from 2026-11-01 --to 2026-11-07", "--from 2026-11-01 --to 2026-11-02"),
    (r"2026-11-01 2026-11-02 2026-11-03", "2026-11-01"),
]
OWN_FILES = {"run.yaml": "gates: {min_rows: 4}"}
"""Files whose content would be too much for a test."""
BEGIN = """set -euo pipefail
await_server() { until curl -sf "http://127.0.0.1:$PORT/api/health" > health; do sleep 0.2; done; }
"""


def _files(page: str) -> dict[str, str]:
    """Files that a page tells its reader to create: the name stands in the file or before it."""
    return {
        name: text
        for before, text in re.findall(r"([^\n]*)\n+```yaml\n(.*?)```", page, re.DOTALL)
        for name in re.findall(r"`([a-z-]+\.yaml)`:?$", before) + re.findall(r"\A# (\S+)\n", text)
    }


def _commands(page: str) -> str:
    blocks = re.findall(r"```sh\n(.*?)```", page, re.DOTALL)
    text = "\n".join(block for block in blocks if not any(word in block for word in NOT_RUN))
    for pattern, replacement in REPLACED:
        text = re.sub(pattern, replacement, text, flags=re.MULTILINE)
    return text


def _prepare(folder: Path, url: str) -> None:
    """A folder with what a clone of the project holds, and a home whose models answer at once."""
    shutil.copytree(ROOT / "deployments", folder / "deployments")
    prefect = (ROOT / "prefect.yaml").read_text()
    prefect = re.sub("(num_records|min_rows): .*", r"\1: 4", prefect)
    prefect = re.sub("(max_duplicate_share|max_drift): [0-9.]+", r"\1: 1", prefect)  # of 4 rows
    (folder / "prefect.yaml").write_text(prefect)
    home = folder / "home"
    home.mkdir()
    provider = {"name": "local", "endpoint": url, "provider_type": "openai"}
    for path in (home / "model_providers.yaml", folder / "providers.yaml"):
        path.write_text(yaml.safe_dump({"providers": [provider]}))


@pytest.mark.slow
@pytest.mark.timeout(3600)  # dozens of processes that load Prefect
def test_the_commands_of_the_docs_work_in_their_order(
    tmp_path: Path, bench_server: ServerFactory
) -> None:
    server = bench_server()
    _prepare(tmp_path, server.url)
    script, given = [BEGIN], {}
    for name in PAGES:
        page = (ROOT / f"{name}.md").read_text()
        given |= _files(page)
        script.append(f"echo '== {name}'\n{_commands(page)}")
    for name, text in (given | OWN_FILES).items():
        (tmp_path / name).write_text(text.replace("http://localhost:8000/v1", server.url))
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")
    } | {
        "DATA_DESIGNER_HOME": str(tmp_path / "home"),
        "DO_NOT_TRACK": "1",
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PORT": str(find_free_port()),
        "PREFECT_HOME": str(tmp_path / "home"),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_WORKER_QUERY_SECONDS": "1",
        "PYTHONPATH": str(ROOT),
    }
    with (tmp_path / "output.txt").open("w") as output:
        shell = subprocess.Popen(
            ["bash", "-xc", "\n".join(script)],
            cwd=tmp_path, env=environment, stdout=output, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = shell.wait()
        finally:  # the server and the workers are in the session of the shell
            with suppress(ProcessLookupError):
                os.killpg(shell.pid, signal.SIGKILL)
    printed = (tmp_path / "output.txt").read_text()
    assert code == 0, printed[-5000:]
