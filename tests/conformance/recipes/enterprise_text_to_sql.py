"""Text to SQL for several dialects, with distractors, several judges and a lean result."""

import data_designer.config as dd

DIALECTS = {"sqlite": dd.CodeLang.SQL_SQLITE, "postgres": dd.CodeLang.SQL_POSTGRES}
JUDGED = ("relevance", "readability", "scalability")


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [
            dd.ModelConfig(alias="writer", model="some/model", provider="scripted"),
            dd.ModelConfig(
                alias="judge",
                model="some/judge",
                provider="scripted",
                inference_parameters={"temperature": 0.0, "max_parallel_requests": 2},
            ),
        ]
    )
    builder.add_column(
        name="record_id",
        column_type="sampler",
        sampler_type="uuid",
        params=dd.UUIDSamplerParams(prefix="SQL-", short_form=True, uppercase=True),
    )
    builder.add_column(
        name="industry_sector",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["Retail", "Energy"]},
    )
    builder.add_column(
        name="distractors",
        column_type="sampler",
        sampler_type="poisson",
        params=dd.PoissonSamplerParams(mean=2),
        conditional_params={"industry_sector == 'Energy'": dd.PoissonSamplerParams(mean=5)},
    )
    builder.add_column(
        name="tables",
        column_type="sampler",
        sampler_type="uniform",
        params={"low": 2, "high": 6},
        convert_to="int",
    )
    builder.add_constraint(
        dd.ScalarInequalityConstraint(
            target_column="tables", operator=dd.InequalityOperator.GE, rhs=3
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="request",
            model_alias="writer",
            prompt="Ask for data of {{ industry_sector }} with {{ tables }} tables.",
        )
    )
    for name, lang in DIALECTS.items():
        builder.add_column(
            dd.LLMCodeColumnConfig(
                name=f"sql_{name}",
                model_alias="writer",
                code_lang=lang,
                prompt=f"In {name}: {{{{ request }}}}; ignore {{{{ distractors }}}} tables.",
            )
        )
        builder.add_column(
            dd.ValidationColumnConfig(
                name=f"valid_{name}",
                target_columns=[f"sql_{name}"],
                validator_type="code",
                validator_params=dd.CodeValidatorParams(code_lang=lang),
            )
        )
    for name in JUDGED:
        builder.add_column(
            dd.LLMJudgeColumnConfig(
                name=f"{name}_judge",
                model_alias="judge",
                prompt=f"Judge the {name} of {{{{ sql_sqlite }}}}",
                scores=[
                    dd.Score(name=name, description=name, options={i: str(i) for i in range(5)})
                ],
            )
        )
        builder.add_column(
            dd.ExpressionColumnConfig(
                name=f"{name}_score",
                expr=f"{{{{ {name}_judge.{name}.score if {name}_judge else '' }}}}",
            )
        )
    builder.add_processor(
        dd.DropColumnsProcessorConfig(name="lean", column_names=["*_judge", "distractors"])
    )
    builder.add_processor(
        dd.SchemaTransformProcessorConfig(
            name="training",
            template={"input": "{{ request }}", "output": {"sqlite": "{{ sql_sqlite }}"}},
        )
    )
    return builder
