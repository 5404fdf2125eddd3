"""Questions and answers about products that do not exist, judged for accuracy."""

import string

import data_designer.config as dd
from pydantic import BaseModel, Field


class ProductInfo(BaseModel):
    product_name: str = Field(..., description="A realistic name of the product.")
    key_features: list[str] = Field(..., min_length=1, max_length=3)
    price_usd: float = Field(..., ge=10, le=1000)


class ProductQA(BaseModel):
    question: str
    answer: str


def load_config_builder() -> dd.DataDesignerConfigBuilder:
    config_builder = dd.DataDesignerConfigBuilder(
        model_configs=[
            dd.ModelConfig(
                alias="writer",
                model="some/model",
                provider="scripted",
                inference_parameters=dd.ChatCompletionInferenceParams(
                    temperature=0.8, top_p=0.95, max_tokens=512, max_parallel_requests=8
                ),
            )
        ]
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="category",
            sampler_type=dd.SamplerType.CATEGORY,
            params=dd.CategorySamplerParams(
                values=["Electronics", "Clothing", "Home"], weights=[5, 3, 2]
            ),
        )
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="price_tens_of_dollars",
            sampler_type=dd.SamplerType.UNIFORM,
            params=dd.UniformSamplerParams(low=1, high=20),
            convert_to="int",
        )
    )
    config_builder.add_column(
        dd.ExpressionColumnConfig(
            name="product_price", expr="{{ (price_tens_of_dollars * 10) - 0.01 }}", dtype="float"
        )
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="first_letter",
            sampler_type=dd.SamplerType.CATEGORY,
            params=dd.CategorySamplerParams(values=list(string.ascii_uppercase)),
        )
    )
    config_builder.add_column(
        dd.SamplerColumnConfig(
            name="is_hallucination",
            sampler_type=dd.SamplerType.BERNOULLI,
            params=dd.BernoulliSamplerParams(p=0.5),
        )
    )
    config_builder.add_column(
        dd.LLMStructuredColumnConfig(
            name="product_info",
            model_alias="writer",
            prompt=(
                "Describe a product of the category {{ category }} for {{ product_price }} USD "
                "whose name begins with {{ first_letter }}."
            ),
            output_format=ProductInfo,
        )
    )
    config_builder.add_column(
        dd.LLMTextColumnConfig(
            name="question",
            model_alias="writer",
            prompt="Ask a question about {{ product_info.product_name }}.",
        )
    )
    config_builder.add_column(
        dd.LLMTextColumnConfig(
            name="answer",
            model_alias="writer",
            system_prompt="You sell things.",
            prompt=(
                "{% if is_hallucination == 0 %}<product_info>{{ product_info }}</product_info>\n"
                "Answer from it: {{ question }}{% else %}Make up an answer: {{ question }}"
                "{% endif %}"
            ),
        )
    )
    config_builder.add_column(
        dd.LLMJudgeColumnConfig(
            name="llm_answer_metrics",
            model_alias="writer",
            prompt="Judge {{ answer }} to {{ question }} given {{ product_info }}.",
            scores=[
                dd.Score(
                    name="Accuracy",
                    description="Is it true?",
                    options={"Good": "True.", "Bad": "False."},
                ),
                dd.Score(
                    name="Completeness", description="Is it all?", options={1: "No", 2: "Yes"}
                ),
            ],
        )
    )
    config_builder.add_column(
        dd.ExpressionColumnConfig(
            name="completeness_score", expr="{{ llm_answer_metrics.Completeness.score }}"
        )
    )
    return config_builder
