"""Configurations from addresses: what they may not do, and how much of them is read."""

from __future__ import annotations

import gzip
import json
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError
from dd_core.dataset import source
from dd_core.declaration.trust import observe_uses
from tests.scripted import ScriptedModel

Raw = dict[str, Any]
Respond = Callable[[BaseHTTPRequestHandler], None]

UUID: Raw = {"name": "i", "column_type": "sampler", "sampler_type": "uuid", "params": {}}
MODEL: Raw = {"alias": "m", "model": "tiny", "provider": "openai", "base_url": "http://m.test/v1"}


class Site:
    """A server whose paths answer with configurations or in ways of their own."""

    def __init__(self) -> None:
        self.answers: dict[str, Respond] = {}
        answers = self.answers

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                try:
                    answers[self.path](self)
                except OSError:  # the client has left
                    self.close_connection = True

            def log_message(self, *args: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def serve(self, path: str, respond: Respond) -> str:
        """Add a path; returns its URL."""
        self.answers[path] = respond
        return f"http://127.0.0.1:{self.server.server_port}{path}"

    def serve_config(self, config: Raw) -> str:
        return self.serve(
            "/config.json", lambda handler: send(handler, json.dumps(config).encode())
        )


def send(handler: BaseHTTPRequestHandler, body: bytes, status: int = 200, **headers: str) -> None:
    handler.send_response(status)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.send_header("content-length", str(len(body)))
    handler.end_headers()
    handler.wfile.write(body)


@pytest.fixture
def site() -> Iterator[Site]:
    made = Site()
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The name of a module of the current folder that notes that it ran."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    (tmp_path / "found_nearby.py").write_text(
        "from pathlib import Path\n"
        "import dd_core.config as dd\n"
        "Path('ran').touch()\n"
        "@dd.custom_column_generator()\n"
        "def make(row):\n"
        "    return {**row, 'c': 1}\n"
    )
    yield "found_nearby"
    sys.modules.pop("found_nearby", None)


def custom(module: str) -> Raw:
    column = {"name": "c", "column_type": "custom", "generator_function": f"{module}:make"}
    return {"columns": [UUID, column]}


def test_an_address_imports_nothing_unless_it_is_trusted(
    site: Site, module: str, tmp_path: Path
) -> None:
    url = site.serve_config(custom(module))
    with pytest.raises(InvalidConfigError) as caught:
        DataDesigner().validate(url)
    assert [problem.where for problem in caught.value.problems] == [
        "columns.c.generator_function",
        "config",
    ]
    assert "imports and runs 'found_nearby:make'" in str(caught.value)
    assert "--trust" in str(caught.value)
    assert not (tmp_path / "ran").exists()
    assert module not in sys.modules
    DataDesigner(trust_config=True).validate(url)
    assert (tmp_path / "ran").exists()


def test_a_file_may_import(module: str, tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text(json.dumps(custom(module)))
    with observe_uses(trusted=True) as reading:
        assert dd.load_config(tmp_path / "config.json").columns[1].name == "c"
    assert reading.uses == ["imports and runs 'found_nearby:make'"]


def seeded(**fields: Any) -> Raw:
    return {"columns": [UUID], "seed_config": {"source": fields}}


def validated(validator: Raw) -> Raw:
    column = {"name": "v", "column_type": "validation", "target_columns": ["i"], "batch_size": 5}
    return {"columns": [UUID, column | validator]}


@pytest.mark.parametrize(
    ("config", "use"),
    [
        (seeded(seed_type="local", path="/etc/hosts.csv"), "reads '/etc/hosts.csv'"),
        (seeded(seed_type="local", path="s3://bucket/a.csv"), "reads 's3://bucket/a.csv'"),
        (seeded(seed_type="directory", path="/etc"), "reads the folder '/etc'"),
        (seeded(seed_type="file_contents", path="/etc"), "reads the folder '/etc'"),
        (seeded(seed_type="agent_rollout", format="codex"), "conversations of coding agents"),
        (seeded(seed_type="hf", path="datasets/a/b/c.csv", token="HF_TOKEN"), "sends a token"),
        (
            seeded(seed_type="hf", path="datasets/a/b/c.csv", endpoint="http://hub.test"),
            "reads the hub at 'http://hub.test'",
        ),
        (
            {"columns": [UUID], "model_configs": [MODEL | {"api_key_env_var": "AWS_KEY"}]},
            "sends the environment variable 'AWS_KEY' to a server",
        ),
        (
            {
                "columns": [UUID],
                "model_configs": [
                    {**MODEL, "endpoints": [{"api_key_env_var": "AWS_KEY"}]},
                ],
            },
            "sends the environment variable 'AWS_KEY' to a server",
        ),
        (
            {
                "columns": [
                    UUID,
                    {
                        "name": "t",
                        "column_type": "llm-text",
                        "model_alias": "m",
                        "prompt": "x",
                        "multi_modal_context": [{"modality": "image", "column_name": "i"}],
                    },
                ],
                "model_configs": [MODEL],
            },
            "reads image files that column 'i' names",
        ),
        (
            validated(
                {
                    "validator_type": "local_callable",
                    "validator_params": {"validation_function": "os:system"},
                }
            ),
            "imports and runs 'os:system'",
        ),
    ],
    ids=lambda each: each if isinstance(each, str) else "",
)
def test_an_address_uses_nothing_of_this_machine(site: Site, config: Raw, use: str) -> None:
    with pytest.raises(InvalidConfigError) as caught:
        dd.load_config(site.serve_config(config))
    assert f"{use}" in str(caught.value)
    assert "only a trusted configuration may do" in str(caught.value)


def test_an_address_may_describe_a_dataset(site: Site, tmp_path: Path) -> None:
    text = {"name": "t", "column_type": "llm-text", "model_alias": "m", "prompt": "{{ i }}"}
    url = site.serve_config({"columns": [UUID, text], "model_configs": [MODEL]})
    designer = DataDesigner(tmp_path, transport=ScriptedModel("fine"))
    assert designer.preview(url, num_records=1).records()[0]["t"] == "fine"


def test_custom_kinds_need_trust() -> None:
    class NearbyParams(dd.UUIDSamplerParams):
        """A kind that replaces nothing, because it has the tag of its base."""

        family_tag: ClassVar[str] = ""

    with observe_uses(trusted=False), pytest.raises(ValueError, match="NearbyParams'"):
        NearbyParams()
    with (
        observe_uses(trusted=False),
        observe_uses(trusted=True),
        pytest.raises(ValueError, match="NearbyParams'"),
    ):
        NearbyParams()
    assert NearbyParams()


def drip(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "1000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" ")
        time.sleep(0.02)


def continue_forever(handler: BaseHTTPRequestHandler) -> None:
    while True:
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        time.sleep(0.02)


def huge(handler: BaseHTTPRequestHandler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "600000000")
    handler.end_headers()
    while True:
        handler.wfile.write(b" " * 65536)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("respond", "message"),
    [
        (drip, "did not arrive in full within 1 s"),
        (continue_forever, "did not arrive in full within 1 s"),
        (huge, "is larger than 10 MB"),
        (
            lambda each: send(each, gzip.compress(b" " * 30_000_000), content_encoding="gzip"),
            "is larger than 10 MB",
        ),
        (lambda each: send(each, b"", 302, location="/x.yaml"), "redirects more than 5 times"),
        (
            lambda each: send(each, b"", 302, location="file:///etc/passwd"),
            "redirects to 'file://'; only http and https",
        ),
        (lambda each: send(each, b"", 302, location="http://["), "is not valid"),
        (lambda each: send(each, b"", 404), "status 404"),
        (lambda each: send(each, b""), "is empty"),
        (lambda each: send(each, b"[1]"), "must contain a mapping with `columns`, not list"),
        (lambda each: send(each, "columns: 5".encode("utf-16")), "encoded in UTF-16"),
        (lambda each: send(each, bytes(range(256))), "can't decode byte"),
        (lambda each: send(each, b"a: " + b"[" * 5000), "nested too deeply"),
    ],
)
def test_a_download_has_bounds(
    site: Site, respond: Respond, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if "within" in message:
        monkeypatch.setattr(source, "_DEADLINE", 1.0)
    with pytest.raises(InvalidConfigError) as caught:
        dd.load_config(site.serve("/x.yaml", respond))
    assert message in str(caught.value)
    assert len(str(caught.value).splitlines()) == 2, "a heading and one problem"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("s3://bucket/a.yaml", "download it first"),
        ("hf://datasets/a.yaml", "download it first"),
        ("file:///etc/passwd", "download it first"),
        ("http://[", "is not a valid address"),
        ("https://host.test/a.py", "is a Python file, which is only run from a local file"),
        ("https://host.test/a", "must end with one of"),
    ],
)
def test_other_addresses_are_refused(address: str, message: str) -> None:
    with pytest.raises(InvalidConfigError, match=message):
        dd.load_config(address)


@pytest.mark.parametrize("suffix", [".yaml", ".json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is empty|Expecting value"),
        (b"[1]", "must contain a mapping"),
        ('{"columns": []}'.encode("utf-16"), "encoded in UTF-16"),
        (bytes(range(256)), "can't decode byte"),
        (b'{"columns": ' + b"[" * 5000 + b"]" * 5000 + b"}", "nested too deeply"),
        (b"null", "is empty"),
    ],
)
def test_a_strange_file_is_one_problem(
    tmp_path: Path, suffix: str, content: bytes, message: str
) -> None:
    (tmp_path / f"c{suffix}").write_bytes(content)
    with pytest.raises(InvalidConfigError, match=message) as caught:
        dd.load_config(tmp_path / f"c{suffix}")
    assert len(caught.value.problems) == 1


def test_what_is_not_a_file_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InvalidConfigError, match="is a folder"):
        dd.load_config(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"there is no config file .*none.yaml'$"):
        dd.load_config(tmp_path / "none.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(FileNotFoundError, match=f"none.yaml' in the folder '{tmp_path}'"):
        dd.load_config("none.yaml")
    with pytest.raises(InvalidConfigError, match="not int"):
        dd.load_config(5)  # type: ignore[arg-type]
