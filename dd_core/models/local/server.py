"""The process that serves the embedded model: `python -m dd_core.models.local.server --help`.

It implements the OpenAI API on the loopback interface and prints one JSON line with its URL when it
is ready. With `--die-with-parent`, it exits when its standard input is closed. The operating system
closes it when the parent process ends, even if that was killed.

Answers are reproducible with a fixed `seed` only if the request turns off the prompt cache
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
"""Number of requests that are answered in parallel."""
_CONTEXT_PER_SLOT = 2048


def main() -> None:
    """Serve until the process is stopped, or until standard input ends."""
    parser = argparse.ArgumentParser(description="Serve the embedded model.")
    parser.add_argument("--model-path", required=True)
    parser.add_argument("--model-id", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--die-with-parent", action="store_true")
    options = parser.parse_args()
    # Threads that spin while they wait lose nine tenths of their speed as soon as another process
    # needs a core. The library reads these variables when it is loaded.
    os.environ.setdefault("GOMP_SPINCOUNT", "3000")
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    if options.die_with_parent:
        threading.Thread(target=_exit_at_end_of_input, daemon=True).start()
    server = _serve(options.model_path, options.model_id, options.host, options.port)
    sys.stdout.write(json.dumps({"url": f"{server.listening_address}/v1"}) + "\n")
    sys.stdout.flush()
    threading.Event().wait()


def _exit_at_end_of_input() -> None:
    sys.stdin.buffer.read()
    os._exit(0)  # the server cannot be stopped in any other way


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
    # Use one thread fewer than cores. On two cores, this halves the speed if nothing else runs, but
    # triples it if another process, such as the Prefect server, keeps one core busy.
    threads = max(1, (os.cpu_count() or 1) - 1)
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    return xllamacpp.Server(params)


if __name__ == "__main__":
    main()
