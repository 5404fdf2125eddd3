"""Cells that were kept come back as they were."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, strategies as st

from dd_core.storage.json_codec import decode_value, dump_json, encode_value

_PLAIN = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.datetimes()
    | st.dates()
    | st.times()
    | st.timedeltas()
    | st.decimals(allow_nan=False)
    | st.binary()
    | st.sets(st.integers(0, 9))
    | st.frozensets(st.text(max_size=2))
)
_VALUES = st.recursive(
    _PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner), max_leaves=10
)


@given(_VALUES)
def test_what_a_generator_may_return_comes_back_as_it_was(value: Any) -> None:
    again = decode_value(encode_value(value))
    assert again == value
    assert type(again) is type(value)
    assert decode_value(encode_value(value).decode()) == value


@pytest.mark.parametrize(
    "value",
    [
        datetime(2026, 11, 24, 1, 30, tzinfo=UTC),
        {"at": date(2026, 11, 24), "from": time(9, 30), "for": timedelta(days=-1, microseconds=3)},
        [Decimal("1.10"), b"\x00\xff", {1, 2}],
    ],
)
def test_members_of_objects_come_back_too(value: Any) -> None:
    assert decode_value(encode_value({"rows": [value]})) == {"rows": [value]}


def test_an_answer_that_looks_like_a_marked_value_is_left_alone() -> None:
    for answer in ({"__dd__": ["date", "soon"]}, {"__dd__": ["what", 1]}, {"__dd__": 1, "b": 2}):
        assert decode_value(encode_value(answer)) == answer


def test_other_objects_become_lists_and_texts() -> None:
    odd = {1: (2, np.int64(3)), "of": np.array([0.5]), "with": 1 + 2j}
    assert decode_value(encode_value(odd)) == {"1": [2, 3], "of": [0.5], "with": "(1+2j)"}
    assert repr(decode_value(encode_value([None, float("nan"), 2**70]))) == f"[None, nan, {2**70}]"
    with pytest.raises(ValueError):
        decode_value(b'{"cut of')


def test_others_read_large_numbers_too() -> None:
    assert dump_json({"n": 2**70, 1: None}) == b'{"n": 1180591620717411303424, "1": null}'
    options = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
    for value in ({"b": 2**70, "a": date(2026, 1, 2)}, {"b": 2, "a": date(2026, 1, 2)}):
        line = dump_json(value, options)
        assert line.endswith(b"\n")
        assert line.index(b'"a"') < line.index(b'"b"')
