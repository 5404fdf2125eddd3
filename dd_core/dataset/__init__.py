"""What the user declares, and the plan that follows from it."""
