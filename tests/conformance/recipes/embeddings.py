"""Texts with their embeddings."""

import data_designer.config as dd


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(alias="m", model="some/model", provider="scripted"),
            dd.ModelConfig(
                alias="embedder",
                model="some/embedder",
                provider="scripted",
                inference_parameters=dd.EmbeddingInferenceParams(
                    encoding_format="float", dimensions=8
                ),
            ),
        ]
    )
    builder.add_column(
        name="topic",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["tea", "ice"]},
    )
    builder.add_column(
        name="facts",
        column_type="llm-structured",
        model_alias="m",
        prompt="List facts about {{ topic }}.",
        output_format={
            "type": "object",
            "properties": {"facts": {"type": "array", "items": {"type": "string"}, "minItems": 2}},
            "required": ["facts"],
        },
        drop=True,
    )
    builder.add_column(name="list", column_type="expression", expr="{{ facts.facts }}")
    builder.add_column(
        dd.EmbeddingColumnConfig(name="vector", target_column="topic", model_alias="embedder")
    )
    return builder
