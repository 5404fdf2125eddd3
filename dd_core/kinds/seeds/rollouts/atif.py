"""The Agent Trajectory Interchange Format (ATIF): one JSON object per file."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from dd_core.kinds.seeds.rollouts.trace import (
    MalformedRolloutError,
    Message,
    Record,
    Trace,
    compute_span,
    get_text,
    make_message,
    make_record,
    make_records,
    make_tool_call,
    read_json_object,
)

_ROLES = {"system": "system", "user": "user", "agent": "assistant"}


class Atif:
    """Reads standalone files; there is no default folder."""

    default_path = None
    default_pattern = "*.json"

    def wants(self, path: Path, root: Path) -> bool:
        """Accept all JSON files."""
        return path.suffix == ".json"

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The one trace in a file."""
        document = read_json_object(path)
        version, session = (get_text(document.get(n)) for n in ("schema_version", "session_id"))
        agent, steps = make_record(document.get("agent")), make_records(document.get("steps"))
        if not str(version).upper().startswith("ATIF") or session is None:
            raise MalformedRolloutError("schema_version or session_id is missing")
        if not agent or not steps:
            raise MalformedRolloutError("agent must be an object and steps a list of objects")
        _require_sequence(steps)
        started, ended = compute_span(steps)
        extra = make_record(agent.get("extra"))
        return [
            Trace(
                trace_id=session,
                cwd=get_text(extra.get("cwd")),
                project_path=get_text(extra.get("project_path")),
                git_branch=get_text(extra.get("git_branch")),
                started_at=started,
                ended_at=ended,
                messages=[each for step in steps for each in _messages(step)],
                source_meta={
                    "schema_version": version,
                    "step_count": len(steps),
                    "agent_name": agent.get("name"),
                    "version": agent.get("version"),
                    "model_name": agent.get("model_name"),
                    "notes": document.get("notes"),
                    "final_metrics": document.get("final_metrics"),
                    "continued_trajectory_ref": document.get("continued_trajectory_ref"),
                    "copied_context_step_ids": [
                        step["step_id"] for step in steps if step.get("is_copied_context") is True
                    ],
                    "subagent_trajectory_refs": [
                        {"step_id": step["step_id"], "refs": refs}
                        for step in steps
                        for result in _list_results(step)
                        if (refs := _list_trajectories(step, result))
                    ],
                    "extra": make_record(document.get("extra")),
                },
            )
        ]


def _require_sequence(steps: list[Record]) -> None:
    for number, step in enumerate(steps, start=1):
        if step.get("step_id") != number:
            raise MalformedRolloutError(f"step {number} does not have step_id {number}")


def _messages(step: Record) -> list[Message]:
    if "message" not in step:
        raise MalformedRolloutError(f"step {step['step_id']} has no message")
    role = _ROLES.get(str(step.get("source")))
    if role is None:
        raise MalformedRolloutError(
            f"step {step['step_id']} has the unknown source {step.get('source')!r}"
        )
    calls: list[Record] = [
        make_tool_call(call.get("tool_call_id"), call.get("function_name"), call.get("arguments"))
        for call in _require_records(step, step.get("tool_calls"), "tool_calls")
    ]
    if role != "assistant" and (calls or step.get("reasoning_content")):
        raise MalformedRolloutError(
            f"step {step['step_id']} is not the agent's, but has tool calls or reasoning"
        )
    messages = [
        make_message(
            role,
            step.get("message"),
            reasoning=get_text(step.get("reasoning_content")),
            tool_calls=calls,
        )
    ]
    known = {call["id"] for call in calls}
    for result in _list_results(step):
        source = result.get("source_call_id")
        if source is not None and source not in known:
            raise MalformedRolloutError(f"step {step['step_id']} has no call {source!r}")
        if result.get("content") is None:
            continue
        # A result without a call id belongs to the step's call if there is only one.
        answered = source or (next(iter(known)) if len(known) == 1 else None)
        if answered is None:
            messages.append(make_message("system", result.get("content")))
        else:
            messages.append(make_message("tool", result.get("content"), tool_call_id=answered))
    return messages


def _list_results(step: Record) -> list[Record]:
    observation = step.get("observation")
    if observation is None:
        return []
    found = make_record(observation).get("results", ())
    return _require_records(step, found, "observation.results")


def _list_trajectories(step: Record, result: Record) -> list[Record]:
    """The trajectories of the agents to which a call was delegated."""
    found = _require_records(step, result.get("subagent_trajectory_ref"), "subagent_trajectory_ref")
    if not all(get_text(each.get("session_id")) for each in found):
        raise MalformedRolloutError(f"step {step['step_id']}: a trajectory has no session_id")
    names = ("session_id", "trajectory_path", "extra")
    return [{name: each[name] for name in names if each.get(name)} for each in found]


def _require_records(step: Record, value: Any, name: str) -> list[Record]:
    if value is None:
        return []
    records = make_records(value)
    if not isinstance(value, list) or len(records) != len(cast("list[Any]", value)):
        raise MalformedRolloutError(f"step {step['step_id']}: {name} must be a list of objects")
    return records
