"""The dataset flow under the name of a dataset, so that it has a page of its own in the UI."""

from flows import generate_dataset

product_reviews = generate_dataset.with_options(
    name="product-reviews",
    description="Product reviews with facts and a verdict; see product_reviews.yaml beside this.",
)
