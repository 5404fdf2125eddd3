"""Every sampler that needs no data of its own."""

import data_designer.config as dd

SAMPLERS = {
    "category": dd.CategorySamplerParams(values=["a", "b"], weights=[0.2, 0.8]),
    "uniform": dd.UniformSamplerParams(low=0.0, high=1.0, decimal_places=2),
    "gaussian": dd.GaussianSamplerParams(mean=10, stddev=2, decimal_places=1),
    "bernoulli": dd.BernoulliSamplerParams(p=0.25),
    "bernoulli_mixture": dd.BernoulliMixtureSamplerParams(
        p=0.5, dist_name="expon", dist_params={"scale": 100}
    ),
    "binomial": dd.BinomialSamplerParams(n=10, p=0.5),
    "poisson": dd.PoissonSamplerParams(mean=3.0),
    "scipy": dd.ScipySamplerParams(dist_name="gamma", dist_params={"a": 2, "scale": 1.5}),
    "uuid": dd.UUIDSamplerParams(prefix="id_", short_form=True),
    "datetime": dd.DatetimeSamplerParams(start="2025-01-01", end="2025-12-31", unit="h"),
}


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        [dd.ModelConfig(alias="m", model="some/model", provider="scripted")]
    )
    for sampler_type, params in SAMPLERS.items():
        builder.add_column(
            dd.SamplerColumnConfig(name=sampler_type, sampler_type=sampler_type, params=params)
        )
    builder.add_column(
        name="later",
        column_type="sampler",
        sampler_type="timedelta",
        params=dd.TimeDeltaSamplerParams(
            dt_min=1, dt_max=5, reference_column_name="datetime", unit="D"
        ),
        convert_to="%Y-%m-%d",
    )
    builder.add_column(
        name="high",
        column_type="sampler",
        sampler_type="uniform",
        params={"low": 0, "high": 30},
    )
    builder.add_constraint(
        constraint_type="column_inequality",
        target_column="high",
        operator="gt",
        rhs="gaussian",
    )
    builder.add_constraint(
        constraint_type="scalar_inequality", target_column="gaussian", operator="le", rhs=14
    )
    builder.add_column(
        name="text", column_type="llm-text", model_alias="m", prompt="{{ category }}"
    )
    return builder
