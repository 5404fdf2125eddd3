"""Questions about the files of a folder, with the models' reasoning kept."""

from pathlib import Path

import data_designer.config as dd


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    Path("corpus/deep").mkdir(parents=True)
    Path("corpus/a.md").write_text("# Tea\nTea is hot.")
    Path("corpus/deep/b.md").write_text("# Ice\nIce is cold.")
    Path("corpus/c.txt").write_text("ignored")
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    builder.with_seed_dataset(dd.FileContentsSeedSource(path="corpus", file_pattern="*.md"))
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="question",
            model_alias="m",
            system_prompt="You are curious about {{ file_name }}.",
            prompt="Ask about:\n{{ content }}",
            with_trace=dd.TraceType.ALL_MESSAGES,
            extract_reasoning_content=True,
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="answer",
            model_alias="m",
            prompt="{{ question }} ({{ question__trace | length }} messages)",
            with_trace=dd.TraceType.LAST_MESSAGE,
        )
    )
    return builder
