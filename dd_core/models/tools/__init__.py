"""Tools that models call: their servers, their sessions and their results."""
