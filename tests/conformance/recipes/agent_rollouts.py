"""Instruction data distilled from the sessions of a coding agent."""

import data_designer.config as dd
from pydantic import BaseModel, Field


class Digest(BaseModel):
    task: str = Field(description="What the user wanted")
    is_useful: bool


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    builder.with_seed_dataset(
        dd.AgentRolloutSeedSource(
            path="rollouts/claude_code", format=dd.AgentRolloutFormat.CLAUDE_CODE
        ),
        sampling_strategy=dd.SamplingStrategy.SHUFFLE,
        selection_strategy=dd.PartitionBlock(index=0, num_partitions=1),
    )
    builder.add_column(
        dd.LLMStructuredColumnConfig(
            name="digest",
            model_alias="m",
            output_format=Digest,
            prompt=(
                "{{ source_kind }} in {{ project_path }} on {{ git_branch }}:\n"
                "{% for message in messages %}{{ message.role }}\n{% endfor %}"
                "It ended with {{ final_assistant_message }}"
            ),
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="instruction", model_alias="m", prompt="Rewrite: {{ digest.task }}"
        )
    )
    return builder
