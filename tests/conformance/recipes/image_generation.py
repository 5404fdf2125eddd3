"""Pictures from prompts, by a chat model and by a diffusion model."""

import data_designer.config as dd


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    builder = dd.DataDesignerConfigBuilder(
        model_configs=[
            dd.ModelConfig(
                alias="diffusion",
                model="stable-diffusion-test",
                provider="scripted",
                inference_parameters=dd.ImageInferenceParams(
                    max_parallel_requests=2, extra_body={"size": "64x64"}
                ),
                skip_health_check=True,
            ),
            dd.ModelConfig(
                alias="describer", model="some/vision", provider="scripted", skip_health_check=True
            ),
        ]
    )
    builder.add_column(
        name="style",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["oil painting", "photo"]},
    )
    builder.add_column(
        name="animal",
        column_type="sampler",
        sampler_type="category",
        params={"values": ["dog", "heron"]},
    )
    builder.add_column(
        dd.ImageColumnConfig(
            name="picture", prompt="A {{ style }} of a {{ animal }}", model_alias="diffusion"
        )
    )
    builder.add_column(
        dd.LLMTextColumnConfig(
            name="caption",
            prompt="Describe the {{ animal }}.",
            model_alias="describer",
            multi_modal_context=[dd.ImageContext(column_name="picture")],
        )
    )
    return builder
