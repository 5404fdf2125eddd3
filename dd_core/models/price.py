"""What a model's tokens cost."""

from __future__ import annotations

from pydantic import Field

from dd_core.kind import Declaration


class Price(Declaration):
    """Dollars per million tokens."""

    input: float = Field(ge=0)
    """Tokens sent."""
    output: float = Field(ge=0)
    """Tokens received."""
    cached: float | None = Field(default=None, ge=0)
    """Tokens sent that the provider had cached; the price of `input`, if not given."""
