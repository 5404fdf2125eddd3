"""The enums of built-in tags name kinds that are registered.

They hold the tags that NeMo Data Designer has. A new kind needs no member.
"""

from __future__ import annotations

from enum import StrEnum

import pytest

import dd_core.config as dd
from dd_core.declaration.kind import Kind
from dd_core.kinds.columns.column import Column
from dd_core.kinds.processors.processor import ProcessorConfig
from dd_core.kinds.samplers.sampler import SamplerParams
from dd_core.kinds.validators.validator import ValidatorParams


@pytest.mark.parametrize(
    ("tags", "family"),
    [
        (dd.DataDesignerColumnType, Column),
        (dd.ProcessorType, ProcessorConfig),
        (dd.SamplerType, SamplerParams),
        (dd.ValidatorType, ValidatorParams),
    ],
)
def test_every_member_of_an_enum_is_the_tag_of_a_kind(
    tags: type[StrEnum], family: type[Kind]
) -> None:
    built_in = {
        tag for tag, kind in family.all_kinds().items() if kind.__module__.startswith("dd_core.")
    }
    assert {tag.value for tag in tags} <= built_in
    assert [tag.name for tag in tags] == [tag.upper().replace("-", "_") for tag in tags]
