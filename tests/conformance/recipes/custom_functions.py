"""Columns made by functions: of rows, of the whole table, and with a model."""

import data_designer.config as dd
from pydantic import BaseModel


class Limits(BaseModel):
    longest: int = 20


@dd.custom_column_generator(required_columns=["text"], side_effect_columns=["text_length"])
def shout(row: dict) -> dict:
    row["shouted"] = row["text"].upper()
    row["text_length"] = len(row["text"])
    return row


@dd.custom_column_generator(required_columns=["shouted"])
def ranked(df):
    df["rank"] = df["shouted"].rank().astype(int)
    return df


@dd.custom_column_generator(required_columns=["text"], model_aliases=["m"])
def revised(row: dict, generator_params: Limits, models: dict) -> dict:
    answer, _ = models["m"].generate(prompt=f"Shorten to {generator_params.longest}: {row['text']}")
    row["revised"] = answer
    return row


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    builder.add_column(
        name="topic",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["tea", "ice"]},
    )
    builder.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="Write about {{ topic }}."
    )
    builder.add_column(dd.CustomColumnConfig(name="shouted", generator_function=shout))
    builder.add_column(
        dd.CustomColumnConfig(
            name="rank",
            generator_function=ranked,
            generation_strategy=dd.GenerationStrategy.FULL_COLUMN,
        )
    )
    builder.add_column(
        dd.CustomColumnConfig(
            name="revised", generator_function=revised, generator_params=Limits(longest=5)
        )
    )
    builder.add_column(
        name="summary", column_type="expression", expr="{{ revised }} ({{ text_length }})"
    )
    return builder
