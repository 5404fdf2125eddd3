"""JSON written by a language model that satisfies a schema."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, cast

from pydantic import BaseModel, field_validator

from dd_core.kinds.columns._answers import extract_json, write_json_instructions
from dd_core.kinds.columns._decimals import translate_model
from dd_core.kinds.columns._llm import LLMColumn
from dd_core.kinds.columns._schema import ResponseSchema
from dd_core.kinds.columns._types import translate_schema
from dd_core.models.conversation import AnswerFormat


class LLMStructuredColumnConfig(LLMColumn):
    """An object or a list that satisfies a JSON schema."""

    supported_gates: ClassVar[tuple[str, ...]] = ("max_null_share", "max_duplicate_share")

    column_type: Literal["llm-structured"] = "llm-structured"
    output_format: dict[str, Any]
    """JSON schema (draft 2020-12) of the values; in Python, a pydantic model class works too."""

    @field_validator("output_format", mode="before")
    @classmethod
    def _schema_of_model(cls, value: Any) -> Any:
        if isinstance(value, type) and issubclass(value, BaseModel):
            return translate_model(value)
        return cast("Any", value)

    @field_validator("output_format")
    @classmethod
    def _is_a_schema(cls, schema: dict[str, Any]) -> dict[str, Any]:
        ResponseSchema(schema)
        return schema

    def value_type(self) -> Any:
        """Return the type of the schema's values."""
        return translate_schema(ResponseSchema(self.output_format).schema)

    def answer_format(self) -> AnswerFormat:
        """Return a format that requires JSON of this schema and removes unknown properties."""
        schema = ResponseSchema(self.output_format)
        return AnswerFormat(lambda text: extract_json(text, schema.parse), schema.schema)

    def instructions(self) -> str:
        """Return instructions that ask for JSON of this schema."""
        return write_json_instructions(ResponseSchema(self.output_format).schema)
