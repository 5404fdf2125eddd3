"""Workflows whose stages run one after the other: the API of NeMo Data Designer's scripts."""
