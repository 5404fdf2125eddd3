"""Doctors' notes from a seed of diagnoses and invented patients, with dates in order."""

import data_designer.config as dd
import pandas as pd


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    pd.DataFrame({"diagnosis": ["cold", "flu"], "summary": ["runny nose", "fever"]}).to_csv(
        "symptoms.csv", index=False
    )
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    builder.with_seed_dataset(dd.LocalFileSeedSource(path="symptoms.csv"))
    for name in ("patient", "doctor"):
        builder.add_column(
            name=f"{name}_sampler",
            column_type="sampler",
            sampler_type=dd.SamplerType.PERSON_FROM_FAKER,
            params=dd.PersonFromFakerSamplerParams(locale="en_US", age_range=[30, 70]),
            drop=True,
        )
    builder.add_column(
        name="patient_id",
        column_type="sampler",
        sampler_type="uuid",
        params={"prefix": "PT-", "short_form": True, "uppercase": True},
    )
    for name in ("first_name", "last_name", "birth_date"):
        builder.add_column(
            name=name, column_type="expression", expr=f"{{{{ patient_sampler.{name} }}}}"
        )
    builder.add_column(
        name="symptom_onset_date",
        column_type="sampler",
        sampler_type="datetime",
        params={"start": "2024-01-01", "end": "2024-12-31"},
    )
    builder.add_column(
        name="date_of_visit",
        column_type="sampler",
        sampler_type="timedelta",
        params={"dt_min": 1, "dt_max": 30, "reference_column_name": "symptom_onset_date"},
    )
    builder.add_column(
        name="physician", column_type="expression", expr="Dr. {{ doctor_sampler.last_name }}"
    )
    builder.add_column(
        name="physician_notes",
        column_type="llm-text",
        model_alias="m",
        prompt=(
            "{{ physician }} saw {{ first_name }} {{ last_name }} on {{ date_of_visit }} with "
            "{{ summary }} since {{ symptom_onset_date }}: {{ diagnosis }}."
        ),
    )
    return builder
