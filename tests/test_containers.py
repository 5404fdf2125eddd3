"""The files in `deployments/containers` fit the project and each other."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from prefect.cli._app import _app as prefect_app
from prefect.utilities.templating import apply_values, find_placeholders

from dd_core.redaction.rules import is_random, is_secret_name
from flows.cli.main import cli

ROOT = Path(__file__).parent.parent
FOLDER = ROOT / "deployments" / "containers"
DOCKERFILE = (FOLDER / "Dockerfile").read_text()
COMPOSE = yaml.safe_load((FOLDER / "compose.yaml").read_text())
POOL = json.loads((FOLDER / "kubernetes-pool.json").read_text())
PAGE = (ROOT / "docs" / "containers.md").read_text()


def _instructions() -> list[str]:
    """The instructions of the Dockerfile, without comments, each on one line."""
    lines = [line for line in DOCKERFILE.splitlines() if not line.lstrip().startswith("#")]
    return re.sub(r"\\\n\s*", "", "\n".join(lines)).split("\n")


def _stage(name: str) -> list[str]:
    """The instructions of a stage."""
    found, current = [], ""
    for line in _instructions():
        if named := re.match(r"FROM \S+ AS (\S+)", line):
            current = named[1]
        elif current == name and line:
            found.append(line)
    return found


def _texts(value: Any) -> list[tuple[str, str]]:
    """All texts in nested values, each with the name that it stands under."""
    if isinstance(value, dict):
        return [pair for name, each in value.items() for pair in _name(name, each)]
    if isinstance(value, list):
        return [pair for each in value for pair in _texts(each)]
    return [("", value)] if isinstance(value, str) else []


def _name(name: str, value: Any) -> list[tuple[str, str]]:
    return [(inner or name, text) for inner, text in _texts(value)]


def _job() -> dict[str, Any]:
    """The Job that the pool's defaults produce."""
    properties = POOL["variables"]["properties"]
    defaults = {name: it["default"] for name, it in properties.items() if "default" in it}
    return apply_values(POOL["job_configuration"], defaults)["job_manifest"]


def test_the_image_copies_what_exists_and_what_the_build_may_see() -> None:
    allowed = [
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    ]
    copied = [
        path
        for line in _instructions()
        if line.startswith("COPY ") and "--from" not in line
        for path in line.split()[1:-1]
    ]
    assert {"dd_core", "flows", "compat", "pyproject.toml", "requirements"} <= {*copied}
    for path in copied:
        assert (ROOT / path).exists(), path
        assert any(Path(path).match(pattern) for pattern in allowed), path
    for pattern in allowed:
        assert [*ROOT.glob(pattern)], pattern


def test_the_image_installs_locked_versions_only() -> None:
    installs = [
        command
        for line in _instructions()
        for command in line.removeprefix("RUN ").split("&&")
        if re.search(r"\bpip(?: --python \S+)? install\b", command)
    ]
    assert len(installs) >= 4
    for command in installs:
        is_pinned = re.search(r"install pip==[\d.]+\s*$", command)
        is_hashed = "--require-hashes" in command and "requirements/" in command
        is_constrained = "--constraint requirements/constraints.txt" in command
        assert is_pinned or is_hashed or is_constrained, command


@pytest.mark.parametrize("extras", ["", "hub,sqlfluff"])
def test_the_image_installs_the_dependencies_of_the_project(extras: str) -> None:
    command = [sys.executable, str(FOLDER / "list_requirements.py"), extras]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    names = {re.split(r"[<>=~!\[ ;]", line)[0] for line in done.stdout.splitlines()}
    assert {"prefect", "pyarrow", "duckdb"} <= names
    assert ({"huggingface-hub", "sqlfluff"} <= names) is bool(extras)
    locked = (ROOT / "requirements" / "constraints.txt").read_text()
    assert [name for name in names if not re.search(rf"(?m)^{name}==", locked)] == []


def test_the_final_stage_is_small_and_runs_without_privileges() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\S+)$", DOCKERFILE, re.MULTILINE)
    assert stages[-1] == ("runtime", "worker"), "the last stage is the one that is built"
    runtime = _stage("runtime")
    users = [line.split()[1] for line in runtime if line.startswith("USER ")]
    assert users == ["1000:0"]
    assert all(line.startswith("COPY --from=build ") for line in _stage("worker"))
    [packages] = re.findall(r"--no-install-recommends (.*?) &&", "\n".join(runtime))
    assert {*packages.split()} == {"ca-certificates", "tini"}
    # With -g, the process of the flow run would end before it knows why.
    assert 'ENTRYPOINT ["/usr/bin/tini", "--"]' in runtime


def test_the_image_warms_up_modules_that_exist() -> None:
    names = re.findall(r'"([a-z_.]+)"', (FOLDER / "warm_up.py").read_text().split("OURS")[1])
    modules = [name for name in names if "." in name or name in ("aiohttp", "duckdb", "pandas")]
    assert len(modules) >= 8
    assert [name for name in modules if find_spec(name) is None] == []


def test_compose_builds_stages_that_exist_and_mounts_what_the_image_writes() -> None:
    services = COMPOSE["services"]
    for service in services.values():
        if build := service.get("build"):
            assert (FOLDER / build["context"]).resolve() == ROOT
            assert (ROOT / build["dockerfile"]).is_file()
            assert "target" not in build or f" AS {build['target']}\n" in DOCKERFILE
        for volume in service.get("volumes", []):
            assert volume.partition(":")[0] in COMPOSE["volumes"]
        for needed in service.get("depends_on", {}):
            assert "healthcheck" in services[needed], "something waits until it is healthy"
    assert "data:/data" in services["worker"]["volumes"]
    assert "VOLUME /data" in _stage("runtime")
    assert services["model"]["profiles"] == ["model"]


def test_compose_runs_the_version_of_prefect_that_is_locked() -> None:
    locked = (ROOT / "requirements" / "constraints.txt").read_text()
    [version] = re.findall(r"^prefect==(.*)$", locked, re.MULTILINE)
    for name in ("server", "services"):
        assert COMPOSE["services"][name]["image"].startswith(f"prefecthq/prefect:{version}-")


def test_settings_of_prefect_exist() -> None:
    from prefect.settings.legacy import _get_settings_fields
    from prefect.settings.models.root import Settings

    known = {*_get_settings_fields(Settings)}
    used = set(re.findall(r"\bPREFECT_[A-Z_]+", DOCKERFILE))
    for service in COMPOSE["services"].values():
        used |= {*service.get("environment", {})}
    used = {name for name in used if name.startswith("PREFECT_")}
    # Settings of the package prefect-redis, and one that `prefect flow-run execute` reads itself.
    others = {name for name in used if name.startswith("PREFECT_REDIS_MESSAGING_")}
    others.add("PREFECT_FLOW_RUN_EXECUTE_SIGTERM_BEHAVIOR")
    assert used > others
    assert used - others - known == set()


def test_no_file_contains_a_secret() -> None:
    job = _job()["spec"]["template"]["spec"]["containers"][0]
    assert job["envFrom"] == [{"secretRef": {"name": "data-designer-keys", "optional": True}}]
    for name, text in [*_texts(COMPOSE), *_texts(POOL["job_configuration"])]:
        if "POSTGRES_PASSWORD" in text:
            assert text.startswith("${POSTGRES_PASSWORD:?"), "it comes from the environment"
            continue
        assert not is_secret_name(name) or text.startswith("{{"), name
        assert not any(is_random(word) for word in re.split(r"[^\w-]+", text)), text
    assert not re.search(r"(?im)^(ENV|ARG)\s.*(key|token|password|secret)", DOCKERFILE)


def test_every_variable_of_the_pool_is_used_and_every_used_one_exists() -> None:
    properties = POOL["variables"]["properties"]
    text = json.dumps(POOL["job_configuration"])
    assert {found.name for found in find_placeholders(text)} == {*properties}


def test_a_job_of_the_pool_fits_the_image() -> None:
    pod = _job()["spec"]["template"]["spec"]
    [container] = pod["containers"]
    user = f"{pod['securityContext']['runAsUser']}:{pod['securityContext']['runAsGroup']}"
    assert f"USER {user}" in _stage("runtime")
    assert pod["securityContext"]["runAsNonRoot"] is True
    # Everything that the image writes to is a volume, because the rest is read-only.
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
    assert {*mounts} == {"/data", "/home/worker", "/tmp"}
    assert {*mounts.values()} == {volume["name"] for volume in pod["volumes"]}
    assert re.search(r"HOME=/home/worker\b", DOCKERFILE)
    [claim] = [it["persistentVolumeClaim"] for it in pod["volumes"] if it["name"] == "data"]
    storage = yaml.safe_load((FOLDER / "kubernetes-storage.yaml").read_text())
    assert claim["claimName"] == storage["metadata"]["name"]
    assert storage["spec"]["accessModes"] == ["ReadWriteMany"]
    # `prefect flow-run execute` itself waits 30 s before it kills the process of the run.
    assert pod["terminationGracePeriodSeconds"] >= 60
    assert _job()["spec"]["backoffLimit"] == 0, "Prefect reschedules the run, not Kubernetes"


def _commands() -> list[str]:
    """Commands that compose, the image and the docs page run."""
    found = [service.get("command", []) for service in COMPOSE["services"].values()]
    found += [
        json.loads(line.removeprefix("CMD ")) for line in _instructions() if line.startswith("CMD ")
    ]
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
    found += [shlex.split(line, comments=True) for line in blocks.splitlines() if line]
    ours = [words for words in found if words[:1] in (["prefect"], ["ddflows"])]
    return sorted({shlex.join(words) for words in [*ours, ["prefect", "flow-run", "execute"]]})


def test_commands_are_found_everywhere() -> None:
    programs = {tuple(command.split()[:3]) for command in _commands()}
    assert ("prefect", "server", "start") in programs
    assert ("prefect", "work-pool", "create") in programs
    assert ("ddflows", "local", "serve") in programs
    assert any(program[:2] == ("ddflows", "deploy") for program in programs)


@pytest.mark.parametrize("command", _commands())
def test_every_command_and_its_options_exist(command: str) -> None:
    program, *words = shlex.split(command)
    if program == "prefect":
        prefect_app.parse_args(words, exit_on_error=False, print_error=False)
        return
    found: click.Command = cli
    while isinstance(found, click.Group):
        found = found.commands[words.pop(0)]
    known = {option for each in found.params for option in each.opts} | {"--help"}
    assert {word for word in words if re.match("--?[a-z]", word)} <= known


def test_the_page_names_files_that_exist() -> None:
    named = {*re.findall(r"deployments/containers/([\w.-]+)", PAGE)} - {"keys.env", ".env"}
    assert {"Dockerfile", "compose.yaml", "kubernetes-pool.json"} <= named
    assert [name for name in named if not (FOLDER / name).is_file()] == []
