"""JSON written by a language model, in the shape of a schema."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, field_validator

from dd_core.kinds.columns._answers import extract_json, write_json_instructions
from dd_core.kinds.columns._llm import LLMColumn
from dd_core.kinds.columns._schema import ResponseSchema
from dd_core.models.conversation import AnswerFormat


class LLMStructuredColumnConfig(LLMColumn):
    """An object or list that satisfies a JSON schema."""

    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share")

    column_type: Literal["llm-structured"] = "llm-structured"
    output_format: dict[str, Any]
    """JSON schema (draft 2020-12) of the value. A pydantic model class is accepted as well."""

    @field_validator("output_format", mode="before")
    @classmethod
    def _schema_of_model(cls, value: Any) -> Any:
        if isinstance(value, type) and issubclass(value, BaseModel):
            return value.model_json_schema()
        return cast("Any", value)

    @field_validator("output_format")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        ResponseSchema(schema)
        return schema

    def answer_format(self) -> AnswerFormat:
        """The answer's JSON, checked and pruned."""
        schema = ResponseSchema(self.output_format)
        return AnswerFormat(lambda text: schema.parse(extract_json(text)), schema.schema)

    def instructions(self) -> str:
        """Ask for JSON of this schema."""
        return write_json_instructions(ResponseSchema(self.output_format).schema)
