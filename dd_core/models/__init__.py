"""Model servers: requests, concurrency limits, answers, usage and budgets."""
