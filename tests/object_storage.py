"""A local S3 server for tests, in a separate process."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager

from s3fs import S3FileSystem

ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": "us-east-1",
}


@contextmanager
def s3_server() -> Iterator[str]:
    """Run a server with the bucket `datasets`; yields its URL for AWS_ENDPOINT_URL."""
    S3FileSystem.clear_instance_cache()  # a cached one would use the server of an earlier test
    server, address = _start()
    with server:
        try:
            yield address
        finally:
            server.terminate()


def _start() -> tuple[subprocess.Popen[bytes], str]:
    """Start a server; retries on another port if somebody else takes the first one."""
    for _ in range(5):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        server = subprocess.Popen(command, **quiet)
        if _make_bucket(f"http://127.0.0.1:{port}", server):
            return server, f"http://127.0.0.1:{port}"
    raise AssertionError("the S3 server does not start")


def _make_bucket(address: str, server: subprocess.Popen[bytes]) -> bool:
    deadline = time.monotonic() + 120
    request = urllib.request.Request(f"{address}/datasets", method="PUT")
    while server.poll() is None and time.monotonic() < deadline:
        try:
            urllib.request.urlopen(request, timeout=10).close()
        except OSError:
            time.sleep(0.1)
        else:
            return server.poll() is None  # otherwise another process has answered
    server.kill()
    server.wait()
    return False
