"""Fields that may hold secrets: keys, addresses, headers, bodies and arguments of programs.

They are written without their secrets to JSON, which files, Prefect and reports receive.
`for_identity` turns this off for fingerprints, which are hashes: two keys must not count as the
same value.

Their JSON schemas refuse secrets. Prefect checks the parameters of a deployment and of its runs
against the schema before it stores them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import (
    AfterValidator,
    BaseModel,
    Field,
    PlainSerializer,
    SecretStr,
    SerializationInfo,
)

from dd_core.errors import Problem
from dd_core.redaction.rules import (
    ADDRESS_PATTERN,
    REFERENCE_PATTERN,
    SECRET_NAME_PATTERN,
    VARIABLE_PATTERN,
    WRITTEN_MASK,
    is_key_reference,
    is_masked,
    is_variable_name,
    mask_address,
    mask_arguments,
    mask_fields,
)

for_identity = {"with_secrets": True}
"""Context for `model_dump` with which secrets are not masked."""


def _is_exempt(info: SerializationInfo) -> bool:
    return bool(info.context) and bool(info.context.get("with_secrets"))


def _write_address(value: str, info: SerializationInfo) -> str:
    return value if _is_exempt(info) else mask_address(value)


def _write_fields(value: dict[str, Any], info: SerializationInfo) -> dict[str, Any]:
    return value if _is_exempt(info) else mask_fields(value)


def _write_key(value: SecretStr) -> str:
    written = value.get_secret_value()
    return written if is_key_reference(written) else str(value)


def _write_arguments(value: list[str], info: SerializationInfo) -> list[str]:
    return value if _is_exempt(info) else mask_arguments(value)


def _check_variable(value: str) -> str:
    if not is_variable_name(value):  # the message does not show the value, which may be a key
        raise ValueError(
            "must be the name of an environment variable, such as 'MY_API_KEY', and not the key "
            "itself; set the variable, and enter its name here"
        )
    return value


_FIELDS_SCHEMA: dict[str, Any] = {
    "patternProperties": {SECRET_NAME_PATTERN: {"pattern": REFERENCE_PATTERN}}
}

Key = Annotated[
    SecretStr,
    PlainSerializer(_write_key),
    Field(json_schema_extra={"pattern": REFERENCE_PATTERN}),
]
"""An API key, or a reference to one. References are written, keys are not."""
KeyVariable = Annotated[
    str,
    AfterValidator(_check_variable),
    Field(json_schema_extra={"pattern": VARIABLE_PATTERN}),
]
"""The name of the environment variable that holds a key."""
Address = Annotated[
    str,
    PlainSerializer(_write_address, when_used="json"),
    Field(json_schema_extra={"pattern": ADDRESS_PATTERN}),
]
"""An address, written without a user, a password or a key in its query."""
Fields = Annotated[
    dict[str, Any],
    PlainSerializer(_write_fields, when_used="json"),
    Field(json_schema_extra=_FIELDS_SCHEMA),
]
"""Fields of a request, written without keys."""
Headers = Annotated[
    dict[str, str],
    PlainSerializer(_write_fields, when_used="json"),
    Field(json_schema_extra=_FIELDS_SCHEMA),
]
"""Headers of a request, written without keys."""

Arguments = Annotated[list[str], PlainSerializer(_write_arguments, when_used="json")]
"""Arguments of a program, written without keys."""


def check_key(where: str, address: str) -> Iterator[Problem]:
    """Yield a problem if an address was written without its key and read again."""
    if is_masked(address):
        yield Problem(
            where,
            f"contains {WRITTEN_MASK} in place of a key, which is left out when a configuration is "
            "written; enter the key again",
        )


def list_literal_keys(declaration: BaseModel) -> list[str]:
    """The fields that hold a key itself, which is masked when they are written."""
    written = declaration.model_dump(mode="json")
    return [name for name, value in declaration if _is_literal(value, written[name])]


def _is_literal(value: Any, written: Any) -> bool:
    if isinstance(value, SecretStr):
        key = value.get_secret_value()
        return bool(key) and not is_key_reference(key)
    return is_masked(written) and not is_masked(value)
