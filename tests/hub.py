"""A local Hugging Face Hub with the parts of its API that the project uses."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote, urlsplit

from tests.serving import serving

COMMIT = "a" * 40


class Hub:
    """Repositories as mappings from path to content, and the requests received."""

    def __init__(self) -> None:
        self.repositories: dict[str, dict[str, bytes]] = {}
        self.private: dict[str, bool] = {}
        self.token: str | None = None
        self.asked: list[tuple[str, str, str | None]] = []
        """Method, path and Authorization header of each request."""
        self.url = ""


@contextmanager
def running_hub() -> Iterator[Hub]:
    """Run a hub for the duration of the block."""
    hub = Hub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(hub))
    with serving(server) as hub.url:
        yield hub


def _handler(hub: Hub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_request(self, code: Any = "-", size: Any = "-") -> None:
            pass

        def do_GET(self) -> None:
            self._answer()

        def do_HEAD(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            self._answer()

        def _answer(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            path = unquote(urlsplit(self.path).path)
            hub.asked.append((self.command, path, self.headers.get("Authorization")))
            if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
                self._send(401, {"error": "Invalid credentials"})
            elif path.startswith("/api/"):
                self._api(path.removeprefix("/api/"), body)
            else:
                self._file(path)

        def _api(self, path: str, body: bytes) -> None:
            parts = path.split("/")
            if path == "repos/create":
                asked = json.loads(body)
                name = (
                    f"{asked['organization']}/{asked['name']}"
                    if asked.get("organization")
                    else asked["name"]
                )
                hub.repositories.setdefault(name, {})
                private = "private" if asked.get("private") else None
                hub.private[name] = (asked.get("visibility") or private) == "private"
                self._send(200, {"url": f"{hub.url}/datasets/{name}"})
                return
            if path == "validate-yaml":
                self._send(200, {"errors": [], "warnings": []})
                return
            name, rest = "/".join(parts[1:3]), parts[3:]
            files = hub.repositories.get(name)
            if parts[0] != "datasets" or files is None:
                self._send(404, {"error": "Repository not found"}, {"X-Error-Code": "RepoNotFound"})
            elif not rest or rest[0] == "revision":
                listed = [{"rfilename": path} for path in files]
                self._send(
                    200,
                    {
                        "id": name,
                        "sha": COMMIT,
                        "private": hub.private.get(name, False),
                        "siblings": listed,
                    },
                )
            elif rest[0] == "tree":
                self._send(200, _tree(files, "/".join(rest[2:])))
            elif rest[0] == "paths-info":
                wanted = json.loads(body)["paths"]
                self._send(200, [_entry(path, files[path]) for path in wanted if path in files])
            elif rest[0] == "preupload":
                wanted = [each["path"] for each in json.loads(body)["files"]]
                self._send(
                    200,
                    {
                        "files": [
                            {"path": path, "uploadMode": "regular", "shouldIgnore": False}
                            for path in wanted
                        ]
                    },
                )
            elif rest[0] == "commit":
                for line in body.splitlines():
                    item = json.loads(line)
                    if item["key"] == "file":
                        files[item["value"]["path"]] = base64.b64decode(item["value"]["content"])
                    elif item["key"] == "deletedFile":
                        del files[item["value"]["path"]]
                url = f"{hub.url}/datasets/{name}/commit/{COMMIT}"
                self._send(200, {"commitUrl": url, "commitOid": COMMIT, "success": True})
            else:
                self._send(404, {"error": path})

        def _file(self, path: str) -> None:
            parts = path.split("/")  # /datasets/<user>/<repository>/resolve/<revision>/<file>
            files = hub.repositories.get("/".join(parts[2:4]), {})
            content = files.get("/".join(parts[6:]))
            if content is None:
                self._send(404, {"error": "Entry not found"}, {"X-Error-Code": "EntryNotFound"})
                return
            self._send(200, content, {"ETag": _hash(content), "X-Repo-Commit": COMMIT})

        def _send(self, status: int, body: Any, headers: dict[str, str] | None = None) -> None:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            self.send_response(status)
            for key, value in (headers or {}).items():
                self.send_header(key, value)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(content)

    return Handler


def _tree(files: dict[str, bytes], folder: str) -> list[dict[str, Any]]:
    below = {path: content for path, content in files.items() if path.startswith(folder)}
    folders = sorted({path.rsplit("/", 1)[0] for path in below if "/" in path})
    listed: list[dict[str, Any]] = [
        {"type": "directory", "path": path, "oid": _hash(path.encode()), "size": 0}
        for path in folders
        if path != folder
    ]
    return listed + [_entry(path, content) for path, content in below.items()]


def _entry(path: str, content: bytes) -> dict[str, Any]:
    return {"type": "file", "path": path, "oid": _hash(content), "size": len(content)}


def _hash(content: bytes) -> str:
    return hashlib.sha1(content).hexdigest()
