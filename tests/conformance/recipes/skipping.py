"""Work that is done only where it is worth it."""

import data_designer.config as dd


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    builder.add_column(
        name="stars",
        column_type="sampler",
        sampler_type="category",
        params={"values": [1, 2, 3, 4, 5]},
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="complaint",
            model_alias="m",
            prompt="Complain, {{ stars }} stars.",
            skip=dd.SkipConfig(when="{{ stars > 3 }}", value="none"),
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(name="apology", model_alias="m", prompt="Answer {{ complaint }}")
    )
    builder.add_column(
        dd.ExpressionColumnConfig(
            name="label",
            expr="{{ complaint }} / {{ stars }}",
            propagate_skip=False,
        )
    )
    return builder
