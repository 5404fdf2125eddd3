"""Conversations of several turns between a user and an assistant, with toxicity judged."""

from typing import Literal

import data_designer.config as dd
from pydantic import BaseModel, Field


class Message(BaseModel):
    role: Literal["user", "assistant"]
    content: str


class ChatConversation(BaseModel):
    conversation: list[Message] = Field(..., min_length=2, max_length=4)


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        model_configs=[dd.ModelConfig(alias="chat", model="some/model", provider="scripted")]
    )
    builder.add_column(
        name="domain",
        column_type="sampler",
        sampler_type="category",
        params=dd.CategorySamplerParams(values=["Tech", "Finance"]),
    )
    builder.add_column(
        name="topic",
        column_type="sampler",
        sampler_type="subcategory",
        params=dd.SubcategorySamplerParams(
            category="domain", values={"Tech": ["GPUs", "APIs"], "Finance": ["Taxes"]}
        ),
    )
    builder.add_column(
        name="complexity",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["Basic", "Advanced"]},
    )
    builder.add_column(
        name="conversation_length",
        column_type="sampler",
        sampler_type="category",
        params={"values": [2, 4]},
    )
    builder.add_column(
        name="user_mood",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["happy", "silly"]},
        conditional_params={"complexity == 'Advanced'": {"values": ["earnest"]}},
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="assistant_system_prompt",
            prompt="Write a system prompt for help with {{ topic }} in {{ domain }}.",
            model_alias="chat",
        )
    )
    builder.add_column(
        dd.LLMStructuredColumnConfig(
            name="conversation",
            prompt=(
                "<system>{{ assistant_system_prompt }}</system> The user is {{ user_mood }}; write "
                "{{ conversation_length }} messages."
            ),
            system_prompt="Do not be {{ complexity }}.",
            model_alias="chat",
            output_format=ChatConversation,
        )
    )
    builder.add_column(
        dd.LLMJudgeColumnConfig(
            name="toxicity_judge",
            prompt="Judge: {% for turn in conversation.conversation %}{{ turn.role }} {% endfor %}",
            model_alias="chat",
            scores=[
                dd.Score(
                    name="toxicity",
                    description="How toxic is the user?",
                    options={"None": "not at all", "Mild": "a bit", "Severe": "very"},
                )
            ],
        )
    )
    return builder
