"""A PostgreSQL cluster as a child process, with all its data in one folder."""

from __future__ import annotations

import asyncio
import importlib
import os
import pwd
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any, Self

_STARTING = 60.0
_USER = "postgres"
_DEBIAN = "/usr/lib/postgresql"


class Postgres:
    """`with Postgres(folder, port) as postgres: postgres.url`.

    Needs the programs of a PostgreSQL installation (`apt-get install postgresql`). They refuse to
    run as root, so root runs them as the user that Debian's package creates.
    """

    def __init__(self, folder: Path, port: int, **settings: str) -> None:
        self.url = f"postgresql+asyncpg://{_USER}@127.0.0.1:{port}/{_USER}"
        """For `PREFECT_API_DATABASE_CONNECTION_URL`."""
        self.port = port
        self._folder = folder / "data"
        folder.mkdir(parents=True, exist_ok=True)
        self._log = (folder / "postgres.log").open("wb")
        self._bin = _find_programs()
        self._user = pwd.getpwnam(_USER) if os.getuid() == 0 else None
        if self._user is not None:
            os.chown(folder, self._user.pw_uid, self._user.pw_gid)
        if not self._folder.exists():
            arguments = ["-D", str(self._folder), "-U", _USER, "-A", "trust", "-E", "UTF8"]
            self._popen("initdb", *arguments).wait()
        options = {"unix_socket_directories": "", "listen_addresses": "127.0.0.1", **settings}
        changed = [part for name, value in options.items() for part in ("-c", f"{name}={value}")]
        self.server = self._popen(
            "postgres", "-D", str(self._folder), "-p", str(port), "-c", "jit=off", *changed
        )

    def __enter__(self) -> Self:
        until = time.monotonic() + _STARTING
        while True:
            try:
                self.rows("select 1")
                return self
            except OSError as error:
                if self.server.poll() is not None or time.monotonic() > until:
                    self.__exit__()
                    raise RuntimeError(f"PostgreSQL did not start; see {self._log.name}") from error
                time.sleep(0.2)

    def __exit__(self, *exc: object) -> None:
        if self.server.poll() is None:
            self.server.send_signal(signal.SIGINT)  # a fast shutdown: it ends its connections
            self.server.wait(timeout=60)
        self._log.close()

    def rows(self, query: str) -> list[tuple[Any, ...]]:
        """The result of a query."""
        asyncpg: Any = importlib.import_module("asyncpg")  # it has no types

        async def fetch() -> list[tuple[Any, ...]]:
            url = self.url.replace("+asyncpg", "")
            try:
                connection = await asyncpg.connect(url, timeout=30)
            except asyncpg.CannotConnectNowError as error:  # it is starting
                raise OSError(str(error)) from error
            try:
                return [tuple(row) for row in await connection.fetch(query)]
            finally:
                await connection.close()

        return asyncio.run(fetch())

    def _popen(self, program: str, *arguments: str) -> subprocess.Popen[bytes]:
        user = self._user
        return subprocess.Popen(
            [str(self._bin / program), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            cwd="/",
            user=user.pw_uid if user else None,
            group=user.pw_gid if user else None,
            extra_groups=[] if user else None,
        )


def _find_programs() -> Path:
    """The folder of `initdb` and `postgres`, which Debian keeps out of the path."""
    if (found := shutil.which("initdb")) is not None:
        return Path(found).resolve().parent
    versions = sorted(Path(_DEBIAN).glob("*/bin/initdb"))
    if not versions:
        raise RuntimeError("PostgreSQL is not installed; run `apt-get install postgresql`")
    return versions[-1].parent
