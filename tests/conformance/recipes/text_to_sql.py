"""Prompts, contexts and ANSI SQL, parsed."""

import data_designer.config as dd


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(
                alias="sql",
                model="some/coder",
                provider="scripted",
                inference_parameters=dd.ChatCompletionInferenceParams(
                    temperature=dd.UniformDistribution(
                        params=dd.UniformDistributionParams(low=0.2, high=0.9)
                    ),
                    top_p=dd.ManualDistribution(
                        params=dd.ManualDistributionParams(values=[0.9, 0.95], weights=[1, 1])
                    ),
                ),
            )
        ]
    )
    builder.add_column(
        name="complexity",
        column_type=dd.DataDesignerColumnType.SAMPLER,
        sampler_type=dd.SamplerType.CATEGORY,
        params=dd.CategorySamplerParams(values=["Beginner", "Advanced"]),
    )
    builder.add_column(
        name="sql_concept",
        column_type="sampler",
        sampler_type="subcategory",
        params={
            "category": "complexity",
            "values": {"Beginner": ["SELECT"], "Advanced": ["CTE", "window functions"]},
        },
    )
    builder.add_column(
        name="sql_context",
        column_type="llm-code",
        model_alias="sql",
        code_lang="sql:ansi",
        prompt="Write CREATE TABLE statements for {{ sql_concept }}.",
    )
    builder.add_column(
        name="sql",
        column_type="llm-code",
        model_alias="sql",
        code_lang=dd.CodeLang.SQL_ANSI,
        prompt="Write SQL with {{ sql_concept }} over {{ sql_context }}",
    )
    builder.add_column(
        name="code_validity_result",
        column_type="validation",
        validator_type="code",
        target_columns=["sql"],
        validator_params={"code_lang": "sql:ansi"},
    )
    return builder
