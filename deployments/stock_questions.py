"""The dataset flow under the name of one dataset, so that it has its own page in the UI."""

from prefect_data_designer import generate_dataset

stock_questions = generate_dataset.with_options(
    name="stock-questions",
    description="Questions about a shop, answered with tools, as in stock_questions.yaml.",
)
