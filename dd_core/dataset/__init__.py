"""What the user declares: configuration, run settings and gates, and the plan made from them."""
