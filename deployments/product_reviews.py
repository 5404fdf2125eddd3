"""The dataset flow under the name of one dataset, so that it has its own page in the UI."""

from prefect_data_designer import generate_dataset

product_reviews = generate_dataset.with_options(
    name="product-reviews",
    description="Product reviews with facts and a verdict, as configured in product_reviews.yaml.",
)
