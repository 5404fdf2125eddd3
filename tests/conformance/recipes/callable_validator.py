"""Rows that a function of the user's judges."""

import data_designer.config as dd
import pandas as pd


def in_range(frame: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {"is_valid": frame["total"].astype(float) < 15, "reason": frame["name"] + "!"}
    )


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    builder.with_seed_dataset(
        dd.DataFrameSeedSource(df=pd.DataFrame({"name": ["a", "b", "c"], "total": [1, 20, 3]}))
    )
    builder.add_column(
        dd.ValidationColumnConfig(
            name="check",
            target_columns=["name", "total"],
            validator_type="local_callable",
            validator_params=dd.LocalCallableValidatorParams(
                validation_function=in_range,
                output_schema={
                    "type": "object",
                    "properties": {
                        "data": {
                            "type": "array",
                            "items": {
                                "type": "object",
                                "properties": {
                                    "is_valid": {"type": "boolean"},
                                    "reason": {"type": "string"},
                                },
                            },
                        }
                    },
                },
            ),
            batch_size=2,
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="note", model_alias="m", prompt="{{ name }}: {{ check.is_valid }}"
        )
    )
    return builder
