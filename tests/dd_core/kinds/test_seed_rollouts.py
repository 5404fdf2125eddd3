"""Seed rows from what coding agents leave behind."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

import dd_core.config as dd
from dd_core import DataDesigner, InvalidConfigError

ROLLOUTS = Path(__file__).parent / "rollouts"
FORMATS = [each.value for each in dd.AgentRolloutFormat]
COLUMNS = [
    "trace_id",
    "source_kind",
    "source_path",
    "root_session_id",
    "agent_id",
    "is_sidechain",
    "cwd",
    "project_path",
    "git_branch",
    "started_at",
    "ended_at",
    "messages",
    "source_meta",
    "message_count",
    "tool_call_count",
    "final_assistant_message",
]


def rows(kind: str, folder: Path | None = None, **fields: Any) -> dict[str, dict[str, Any]]:
    """The rows of a format's files by trace id."""
    made = dd.DataDesignerConfigBuilder([])
    path = str(folder or ROLLOUTS / kind)
    made.with_seed_dataset(
        dd.AgentRolloutSeedSource.model_validate({"format": kind, "path": path, **fields})
    )
    found = DataDesigner().preview(made, num_records=2).records()
    return {row["trace_id"]: row for row in found}


def spoken(row: dict[str, Any]) -> list[tuple[str, str]]:
    return [(each["role"], each["content"][0]["text"]) for each in row["messages"]]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_gives_the_same_columns_and_the_same_conversation(kind: str) -> None:
    found = rows(kind)
    (row,) = [each for each in found.values() if each["tool_call_count"]]
    assert [*row] == COLUMNS
    assert (row["source_kind"], row["final_assistant_message"]) == (kind, "Seven.")
    assert row["message_count"] == len(row["messages"])
    assert Path(row["source_path"]).is_file()
    asked = spoken(row).index(("user", "How many files?"))
    calling = row["messages"][asked + 1]
    assert calling["role"] == "assistant"
    assert calling["reasoning_content"].startswith("ls counts")
    (call,) = calling["tool_calls"]
    assert call["function"]["name"].lower() in ("bash", "shell")
    assert "ls" in call["function"]["arguments"]
    answer = row["messages"][asked + 2]
    assert (answer["role"], answer["tool_call_id"]) == ("tool", call["id"])
    assert spoken(row)[asked + 2] == ("tool", "7")


def test_atif_has_its_facts() -> None:
    row = rows("atif")["atif-1"]
    assert (row["cwd"], row["project_path"], row["git_branch"]) == ("/work/a", "/work/a", "main")
    assert (row["started_at"], row["ended_at"]) == ("2026-01-01T10:00:00Z", "2026-01-01T10:00:03Z")
    assert row["source_meta"] == {
        "schema_version": "ATIF-v1.4",
        "step_count": 4,
        "agent_name": "harbor",
        "version": "1.0",
        "model_name": "some/model",
        "notes": "a note",
        "final_metrics": {"total_prompt_tokens": 10},
    }


def write_lines(folder: Path, *records: dict[str, Any]) -> Path:
    (folder / "s.jsonl").write_text("".join(f"{json.dumps(each)}\n" for each in records))
    return folder


def pi_session(folder: Path, *messages: dict[str, Any]) -> dict[str, Any]:
    """The row of a session whose entries follow each other."""
    entries = [
        {"type": "message", "id": f"e{number}", "parentId": f"e{number - 1}", "message": message}
        if "role" in message
        else {"id": f"e{number}", "parentId": f"e{number - 1}", **message}
        for number, message in enumerate(messages, start=1)
    ]
    entries[0]["parentId"] = None
    head = {"type": "session", "id": "p", "timestamp": "2026-01-02T00:00:00+02:00"}
    (row,) = rows("pi_coding_agent", write_lines(folder, head, *entries)).values()
    return row


def test_pi_has_what_the_model_saw_as_system_and_leaves_out_what_is_hidden(tmp_path: Path) -> None:
    row = pi_session(
        tmp_path,
        {"role": "user", "content": "hi"},
        {"role": "custom", "content": "shown", "display": True},
        {"role": "custom", "content": "hidden", "display": False},
        {"type": "custom_message", "content": "told", "display": True},
        {"type": "custom_message", "content": "hidden"},
        {"type": "compaction", "summary": "shorter"},
        {"role": "branchSummary", "summary": ""},
        {"role": "unknown", "content": "lost"},
        {"role": "bashExecution", "command": "ls", "output": "", "exitCode": 1},
        {"role": "assistant", "stopReason": "toolUse", "model": "b", "content": [
            {"type": "text", "text": "one"}, {"type": "image", "data": "x"},
            {"type": "text", "text": "two"}, {"type": "toolCall", "id": "c", "name": "f"},
        ]},
        {"role": "assistant", "stopReason": "stop", "model": "a", "content": []},
        {"role": "assistant", "stopReason": "stop", "model": "b", "content": "end"},
    )  # fmt: skip
    assert spoken(row) == [
        ("user", "hi"),
        ("system", "shown"),
        ("system", "told"),
        ("system", "shorter"),
        ("assistant", ""),
        ("tool", "[exit code: 1]"),
        ("assistant", "one\n\ntwo"),
        ("assistant", ""),
        ("assistant", "end"),
    ]
    assert row["messages"][6]["tool_calls"][0]["function"]["arguments"] == "{}"
    meta = row["source_meta"]
    assert (meta["stop_reasons"], meta["models_used"]) == (["toolUse", "stop"], ["b", "a"])
    assert meta["bash_execution_count"] == 1
    assert "has_branches" not in meta


def test_pi_reads_entries_that_are_their_own_ancestors(tmp_path: Path) -> None:
    loop = [
        {"type": "message", "id": one, "parentId": other, "message": {"role": role, "content": one}}
        for one, other, role in (("a", "b", "user"), ("b", "a", "assistant"))
    ]
    head = {"type": "session", "id": "p"}
    (row,) = rows("pi_coding_agent", write_lines(tmp_path, head, *loop)).values()
    assert spoken(row) == [("user", "a"), ("assistant", "b")]


def atif(folder: Path, *steps: dict[str, Any], **more: Any) -> dict[str, Any]:
    numbered = [{"step_id": number, **step} for number, step in enumerate(steps, start=1)]
    document = {"schema_version": "ATIF-v1.4", "session_id": "x", "agent": {"name": "a"}}
    (folder / "run.json").write_text(json.dumps({**document, "steps": numbered, **more}))
    return rows("atif", folder)["x"]


def test_atif_keeps_references_to_other_trajectories(tmp_path: Path) -> None:
    call = {"tool_call_id": "c", "function_name": "ask"}
    reference = {"session_id": "sub", "trajectory_path": "t.json", "extra": {"z": 1}}
    results = [
        {"source_call_id": "c", "content": None, "subagent_trajectory_ref": [reference]},
        {"source_call_id": "c", "content": [{"type": "text", "text": "7"}]},
    ]
    row = atif(
        tmp_path,
        {"source": "user", "message": "How many?", "timestamp": "2026-01-02T00:00:00Z"},
        {
            "source": "agent",
            "message": [{"type": "text", "text": "p"}, {"type": "image", "source": {"path": "a"}}],
            "timestamp": "2026-01-02T00:30:00+01:00",
            "is_copied_context": True,
            "tool_calls": [call],
            "observation": {"results": results},
        },
        extra={"cwd": "/document"},
        continued_trajectory_ref="next.json",
    )
    assert spoken(row)[2] == ("tool", "7")
    assert row["message_count"] == 3
    assert row["messages"][1]["tool_calls"][0]["function"]["arguments"] == "{}"
    assert row["final_assistant_message"] == "p"
    assert row["cwd"] is None
    assert row["started_at"] == "2026-01-02T00:30:00+01:00"
    assert row["source_meta"] == {
        "schema_version": "ATIF-v1.4",
        "step_count": 2,
        "agent_name": "a",
        "continued_trajectory_ref": "next.json",
        "copied_context_step_ids": [2],
        "subagent_trajectory_refs": [{"step_id": 2, "refs": [reference]}],
        "extra": {"cwd": "/document"},
    }


@pytest.mark.parametrize(
    ("step", "message"),
    [
        ({}, "step 1 has no message"),
        ({"message": "x", "tool_calls": "f"}, "tool_calls must be a list of objects"),
        ({"message": "x", "observation": {}}, "observation.results must be a list of objects"),
        (
            {"message": "x", "observation": {"results": [{"subagent_trajectory_ref": [{}]}]}},
            "a trajectory has no session_id",
        ),
    ],
)
def test_steps_of_atif_are_checked(
    step: dict[str, Any], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(InvalidConfigError, match="no readable rollout"):
        atif(tmp_path, {"source": "agent", **step})
    assert message in caplog.text


def claude(folder: Path, *turns: tuple[str, Any], **more: Any) -> dict[str, Any]:
    records = [
        {"type": role, "sessionId": "s", "message": {"role": role, "content": content}, **more}
        for role, content in turns
    ]
    (row,) = rows("claude_code", write_lines(folder, *records)).values()
    return row


def test_claude_code_has_messages_before_the_results_of_their_calls(tmp_path: Path) -> None:
    result = {"type": "tool_result", "tool_use_id": "t", "content": "7"}
    row = claude(
        tmp_path,
        ("user", ["plain", {"text": "pair"}]),
        ("assistant", [{"type": "tool_use", "id": "t", "name": "ls", "input": None}]),
        ("user", result),
        ("user", [{"type": "text", "text": "go on"}, result]),
        ("assistant", None),
        ("assistant", {"type": "text", "text": "end"}),
        agentId="a9",
    )
    assert row["trace_id"] == "s:a9"
    kinds = [(each["role"], each.get("tool_call_id")) for each in row["messages"]]
    assert kinds == [
        ("user", None),
        ("assistant", None),
        ("tool", "t"),
        ("user", None),
        ("tool", "t"),
        ("assistant", None),
    ]
    first, calling, answer = row["messages"][:3]
    assert [part["text"] for part in first["content"]] == ["plain", "pair"]
    assert calling["content"] == []
    assert calling["tool_calls"][0]["function"]["arguments"] == "{}"
    assert answer["content"] == [{"type": "text", "text": "7"}]
    assert row["final_assistant_message"] == "end"


def test_files_of_other_kinds_are_skipped_with_a_warning(caplog: pytest.LogCaptureFixture) -> None:
    rows("claude_code")
    assert "seed files that are no claude_code sessions are skipped: " in caplog.text
    assert "history.jsonl" in caplog.text
    caplog.clear()
    rows("hermes_agent", file_pattern="*")
    assert "are skipped" not in caplog.text


def test_claude_code_tells_sidechains_and_uses_the_index_of_sessions() -> None:
    found = rows("claude_code")
    assert {*found} == {"s-1", "s-1:a1"}
    side = found["s-1:a1"]
    assert (side["agent_id"], side["is_sidechain"], side["root_session_id"]) == ("a1", True, "s-1")
    main = found["s-1"]
    assert (main["agent_id"], main["is_sidechain"], main["git_branch"]) == (None, False, "dev")
    assert main["source_meta"]["summary"] == "Counting"
    assert main["source_meta"]["first_prompt"] == "How many files?"
    assert main["source_meta"]["record_types"] == ["assistant", "summary", "system", "user"]


def test_codex_has_developers_as_system_and_reads_rollouts_only() -> None:
    found = rows("codex")
    assert {*found} == {"c-1"}
    row = found["c-1"]
    assert spoken(row)[0] == ("system", "Be brief.")
    assert row["messages"][2]["reasoning_content"] == "ls counts\n\nlook first"
    assert (row["git_branch"], row["cwd"], row["tool_call_count"]) == ("main", "/work/c", 2)
    assert row["source_meta"]["originator"] == "codex_cli"


def test_hermes_reads_logs_and_transcripts_and_its_index() -> None:
    found = rows("hermes_agent")
    assert {*found} == {"h-1", "g-1"}
    log = found["h-1"]
    assert spoken(log)[0] == ("system", "Be brief.")
    assert log["source_meta"]["available_tool_names"] == ["bash"]
    assert log["source_meta"]["finish_reasons"] == ["tool_calls", "stop"]
    chat = found["g-1"]
    assert (chat["ended_at"], chat["source_meta"]["total_tokens"]) == ("2026-01-04T07:02:00", 11)
    assert spoken(chat) == [("user", "Hello"), ("assistant", "Hi.")]


def test_pi_follows_the_branch_of_the_last_entry_and_shows_shell_commands_as_calls() -> None:
    row = rows("pi_coding_agent")["p-1"]
    assert ("assistant", "Eight.") not in spoken(row)
    assert spoken(row)[-2] == ("tool", "/work/p\n[exit code: 0]")
    meta = row["source_meta"]
    assert (meta["has_branches"], meta["bash_execution_count"]) == (True, 1)
    assert (meta["models_used"], meta["session_version"]) == (["some/model"], 3)


@pytest.mark.parametrize("kind", FORMATS)
def test_malformed_files_are_left_out_with_a_warning(
    kind: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(ROLLOUTS / kind, tmp_path / "all")
    bad = {"atif": "bad.json", "codex": "rollout-bad.jsonl"}.get(kind, "bad.jsonl")
    whole = rows(kind, tmp_path / "all")
    for content in ("{nonsense", "[1, 2]", '{"messages": 3, "type": "session"}', ""):
        (tmp_path / "all" / bad).write_text(content)
        assert rows(kind, tmp_path / "all").keys() == whole.keys()
        assert bad in caplog.text
        caplog.clear()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('"step_id": 2', '"step_id": 5'), "step 2 does not have step_id 2"),
        (('"source_call_id": "c1"', '"source_call_id": "c9"'), "step 3 has no call 'c9'"),
        (('"schema_version": "ATIF-v1.4"', '"schema_version": "x"'), "schema_version"),
        (('"source": "agent", "message": "I', '"source": "user", "message": "I'), "not the agent"),
    ],
)
def test_atif_is_checked(
    change: tuple[str, str], message: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    text = (ROLLOUTS / "atif" / "run.json").read_text()
    assert change[0] in text
    (tmp_path / "run.json").write_text(text.replace(*change))
    with pytest.raises(InvalidConfigError, match="no readable rollout"):
        rows("atif", tmp_path)
    assert message in caplog.text


def test_patterns_and_folders_choose_files() -> None:
    assert {*rows("claude_code", file_pattern="s-*.jsonl")} == {"s-1"}
    with pytest.raises(InvalidConfigError, match="no codex file"):
        rows("codex", recursive=False)
    with pytest.raises(InvalidConfigError, match=r"file_pattern.*'\*.txt'"):
        rows("codex", file_pattern="*.txt")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"format": "atif"}, "path is required"),
        ({"format": "codex", "path": "/", "file_pattern": "a/*.jsonl"}, "without a slash"),
        ({"format": "codex", "path": "/", "file_pattern": "a\\*.jsonl"}, "without a slash"),
        ({"format": "codex", "path": "/", "file_pattern": " "}, "not empty"),
        ({"format": "other", "path": "/"}, "atif"),
    ],
)
def test_bad_sources_are_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        dd.AgentRolloutSeedSource.model_validate(fields)


def test_without_a_path_the_agents_own_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    source = dd.AgentRolloutSeedSource(format=dd.AgentRolloutFormat.CODEX)
    made = dd.DataDesignerConfigBuilder([]).with_seed_dataset(source)
    with pytest.raises(InvalidConfigError, match="there is no folder"):
        DataDesigner().validate(made)
    shutil.copytree(ROLLOUTS / "codex", tmp_path / ".codex" / "sessions")
    assert DataDesigner().preview(made, num_records=1).records()[0]["trace_id"] == "c-1"
