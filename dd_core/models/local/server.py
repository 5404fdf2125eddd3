"""The process that serves the embedded model: `python -m dd_core.models.local.server --help`.

It speaks the OpenAI protocol on the loopback interface, prints one JSON line with its address
when it is ready, and with `--die-with-parent` ends when its standard input is closed, which the
operating system does for it even when the parent was killed.

Answers repeat for a fixed `seed` only when the request turns the prompt cache off
(`cache_prompt: false`).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import threading
from typing import Any

SLOTS = 4
"""Requests answered at the same time."""
_CONTEXT_PER_SLOT = 2048


def main() -> None:
    """Serve until standard input ends, or for ever."""
    parser = argparse.ArgumentParser(description="Serve the embedded model.")
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--model-id", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--die-with-parent", action="store_true")
    chosen = parser.parse_args()
    # Threads that spin while they wait lose nine tenths of their speed as soon as another process
    # wants a core. The library reads these when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if chosen.die_with_parent:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    server = _serve(chosen.model_path, chosen.model_id, chosen.host, chosen.port)
    sys.stdout.write(json.dumps({"url": f"{server.listening_address}/v1"}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _exit_at_end_of_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # the server has no way to stop


def _serve(model_path: str, model_id: str, host: str, port: int) -> Any:
    from importlib import import_module

    xllamacpp: Any = import_module("xllamacpp")  # it has no type hints
    params = xllamacpp.CommonParams()
    params.model.path = model_path
    params.model_alias = {model_id}
    params.hostnames = [host]
    params.port = port
    params.n_parallel = SLOTS
    params.n_ctx = SLOTS * _CONTEXT_PER_SLOT
    params.n_gpu_layers = 0
    params.ui = False
    params.verbosity = 0
    params.offline = True
    # One thread fewer than cores: on two cores that is half the speed while nothing else runs,
    # and three times the speed while another process, such as Prefect's server, keeps one busy.
    threads = max(1, (os.cpu_count() or 1) - 1)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
