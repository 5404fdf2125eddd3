"""The Agent Trajectory Interchange Format: one JSON object a file."""

from __future__ import annotations

from pathlib import Path

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
    """Standalone files; there is no folder in which they are by default."""

    default_path = None
    default_pattern = "*.json"

    def wants(self, path: Path, root: Path) -> bool:
        """Every JSON file."""
        return path.suffix == ".json"

    def read(self, path: Path, root: Path) -> list[Trace]:
        """The trace of a file."""
        whole = read_json_object(path)
        version, session = whole.get("schema_version"), get_text(whole.get("session_id"))
        about, listed = make_record(whole.get("agent")), make_records(whole.get("steps"))
        if not str(version).upper().startswith("ATIF") or session is None:
            raise MalformedRolloutError("schema_version or session_id is missing")
        if not about or not listed:
            raise MalformedRolloutError("agent must be an object and steps a list of objects")
        _require_sequence(listed)
        started, ended = compute_span(listed)
        extra = make_record(whole.get("extra")) | make_record(about.get("extra"))
        return [
            Trace(
                trace_id=session,
                cwd=get_text(extra.get("cwd")),
                project_path=get_text(extra.get("project_path")),
                git_branch=get_text(extra.get("git_branch")),
                started_at=started,
                ended_at=ended,
                messages=[each for step in listed for each in _messages(step)],
                source_meta={
                    "schema_version": version,
                    "step_count": len(listed),
                    "agent_name": about.get("name"),
                    "version": about.get("version"),
                    "model_name": about.get("model_name"),
                    "notes": whole.get("notes"),
                    "final_metrics": whole.get("final_metrics"),
                    "continued_trajectory_ref": whole.get("continued_trajectory_ref"),
                },
            )
        ]


def _require_sequence(steps: list[Record]) -> None:
    for number, step in enumerate(steps, start=1):
        if step.get("step_id") != number:
            raise MalformedRolloutError(f"step {number} has no step_id {number}")


def _messages(step: Record) -> list[Message]:
    role = _ROLES.get(str(step.get("source")))
    if role is None:
        raise MalformedRolloutError(f"step {step['step_id']} has no known source")
    calls: list[Record] = [
        make_tool_call(
            call.get("tool_call_id"), call.get("function_name"), call.get("arguments", "")
        )
        for call in make_records(step.get("tool_calls"))
    ]
    if role != "assistant" and (calls or step.get("reasoning_content")):
        raise MalformedRolloutError(f"step {step['step_id']}, not the agent's, has calls")
    made = [
        make_message(
            role,
            step.get("message"),
            reasoning=get_text(step.get("reasoning_content")),
            tool_calls=calls,
        )
    ]
    known = {call["id"] for call in calls}
    for result in make_records(make_record(step.get("observation")).get("results")):
        source = result.get("source_call_id")
        if source is not None and source not in known:
            raise MalformedRolloutError(f"step {step['step_id']} has no call {source!r}")
        answered = source or (next(iter(known)) if len(known) == 1 else None)
        if answered is None:
            made.append(make_message("system", result.get("content")))
        else:
            made.append(make_message("tool", result.get("content"), tool_call_id=answered))
    return made
