"""Help for the terminal: what can be configured, and with which fields."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import TYPE_CHECKING

from dd_core.declaration.kind import Kind
from dd_core.kinds.samplers.sampler import SamplerParams
from dd_core.models.config import ModelConfig, ModelProvider
from dd_core.redaction.rules import mask_address

if TYPE_CHECKING:
    from rich.table import Table


class InfoType(StrEnum):
    """Topics that help can be displayed for."""

    SAMPLERS = "samplers"
    MODEL_CONFIGS = "model_configs"
    MODEL_PROVIDERS = "model_providers"


class Info:
    """Displays help for the builder or designer that it belongs to."""

    def __init__(
        self,
        models: Callable[[], Sequence[ModelConfig]],
        providers: Callable[[], Sequence[ModelProvider]],
    ) -> None:
        self._models = models
        self._providers = providers

    def display(self, info_type: InfoType | str, sampler_type: str | None = None) -> None:
        """Print help for samplers (all of them, or `sampler_type`), models or providers."""
        from rich.console import Console

        match InfoType(info_type):
            case InfoType.SAMPLERS:
                tables = [_fields(kind) for kind in _samplers(sampler_type)]
            case InfoType.MODEL_CONFIGS:
                rows = [
                    (m.alias, m.model, m.provider or mask_address(m.base_url or ""))
                    for m in self._models()
                ]
                tables = [_table("Models", ["alias", "model", "provider"], rows)]
            case InfoType.MODEL_PROVIDERS:
                given = [
                    (p.name, mask_address(p.endpoint), p.key_reference or "")
                    for p in self._providers()
                ]
                tables = [_table("Model providers", ["name", "endpoint", "key"], given)]
        console = Console()
        for table in tables:
            console.print(table)


def _samplers(sampler_type: str | None) -> list[type[Kind]]:
    known = SamplerParams.all_kinds()
    if sampler_type is None:
        return [*known.values()]
    if str(sampler_type) not in known:
        names = ", ".join(repr(name) for name in sorted(known))
        raise ValueError(f"sampler {str(sampler_type)!r} does not exist; use one of {names}")
    return [known[str(sampler_type)]]


def _fields(kind: type[Kind]) -> Table:
    docs = kind.field_docs()
    rows = [
        (name, "required" if field.is_required() else repr(field.default), docs.get(name, ""))
        for name, field in kind.model_fields.items()
        if name != kind.family_tag
    ]
    (tag,) = [name for name, known in kind.all_kinds().items() if known is kind]
    return _table(f"{tag}: {(kind.__doc__ or '').splitlines()[0]}", ["field", "default", ""], rows)


def _table(title: str, heads: Sequence[str], rows: Sequence[Sequence[str]]) -> Table:
    from rich.table import Table
    from rich.text import Text

    table = Table(*heads, title=title, title_justify="left")
    for row in rows:
        table.add_row(*map(Text, row))
    return table
