"""Instructions and Python code for them, linted and judged."""

import data_designer.config as dd

SCORES = [
    dd.Score(
        name=name,
        description=f"How {name.lower()} the code is",
        options={4: "Very", 3: "Mostly", 2: "Partly", 1: "Hardly", 0: "Not"},
    )
    for name in ("Relevance", "Pythonic", "Readability", "Efficiency")
]


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    config_builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="coder", model="some/coder", provider="scripted")]
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="industry_sector",
            sampler_type=dd.SamplerType.CATEGORY,
            params=dd.CategorySamplerParams(values=["Healthcare", "Finance", "Technology"]),
        )
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="topic",
            sampler_type=dd.SamplerType.SUBCATEGORY,
            params=dd.SubcategorySamplerParams(
                category="industry_sector",
                values={
                    "Healthcare": ["Records", "Telemedicine"],
                    "Finance": ["Fraud"],
                    "Technology": ["Cloud"],
                },
            ),
        )
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="instruction_phrase",
            sampler_type="category",
            params=dd.CategorySamplerParams(values=["Write a function that", "Create a class to"]),
        )
    )
    config_builder.add_column(
        dd.LLMTextColumnConfig(
            name="instruction",
            model_alias="coder",
            system_prompt="You write instructions.",
            prompt="{{ instruction_phrase }} ... about {{ topic }} in {{ industry_sector }}",
        )
    )
    config_builder.add_column(
        dd.LLMCodeColumnConfig(
            name="code_implementation",
            model_alias="coder",
            code_lang=dd.CodeLang.PYTHON,
            prompt="Write Python for: {{ instruction }}",
        )
    )
    config_builder.add_column(
        dd.LLMJudgeColumnConfig(
            name="code_judge_result",
            model_alias="coder",
            prompt="Judge {{ code_implementation }} for {{ instruction }}",
            scores=SCORES,
        )
    )
    config_builder.add_column(
        dd.ValidationColumnConfig(
            name="code_validity_result",
            validator_type=dd.ValidatorType.CODE,
            target_columns=["code_implementation"],
            validator_params=dd.CodeValidatorParams(code_lang=dd.CodeLang.PYTHON),
            batch_size=100,
        )
    )
    config_builder.add_column(
        dd.ExpressionColumnConfig(
            name="quality", expr="{{ code_judge_result.Pythonic.score }}", dtype="int"
        )
    )
    return config_builder
