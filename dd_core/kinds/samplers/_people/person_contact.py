"""Fictitious birth dates, email addresses, phone numbers and national IDs."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping
from datetime import date
from random import Random
from typing import Any

import numpy as np

from dd_core.kinds.samplers._people.age import ADULT_AGE, compute_birth_dates
from dd_core.kinds.samplers._people.american_states import STATES, State

_DOMAINS = {
    "gmail.com": (60, 50, 40),
    "icloud.com": (15, 12, 6),
    "outlook.com": (13, 12, 8),
    "yahoo.com": (6, 14, 25),
    "hotmail.com": (5, 9, 9),
    "aol.com": (1, 3, 12),
}
"""Shares of email providers among people under 35, people under 55, and older people."""
_RANDOM_NUMBERS_SINCE = date(2011, 6, 25)
"""Social security numbers assigned from this day on do not depend on the state."""


def make_contact(person: Mapping[str, Any], locale: str, key: str) -> dict[str, Any]:
    """Fictitious contact fields that fit the person; the same `key` gives the same fields.

    Only `en_US` has phone numbers and national IDs (social security numbers).
    """
    random = Random(key)
    age = int(person["age"])
    (born,) = compute_birth_dates(np.array([age]), np.array([random.random()]))
    contact: dict[str, Any] = {
        "birth_date": born,
        "email_address": _email(person, age, random) if age >= ADULT_AGE else None,
    }
    if locale == "en_US":
        state = STATES.get(str(person.get("state")).casefold())
        reachable = age >= ADULT_AGE and person.get("postcode") is not None
        contact["phone_number"] = _phone(state, random) if reachable else None
        contact["national_id"] = _social_security(state, date.fromisoformat(born), random)
    return contact


def _email(person: Mapping[str, Any], age: int, random: Random) -> str:
    first, last = (_plain(person[name]) for name in ("first_name", "last_name"))
    local = f"user{random.randrange(10_000, 100_000)}"
    if first and last:
        forms = [f"{first}.{last}", f"{first}{last}", f"{first[0]}{last}", f"{first}_{last}"]
        local = random.choice(forms)
        if random.random() < 0.5:
            local += str(random.choice([random.randrange(1, 100), 2025 - age]))
    shares = [share[(age >= 35) + (age >= 55)] for share in _DOMAINS.values()]
    return f"{local}@{random.choices([*_DOMAINS], shares)[0]}"


def _plain(name: Any) -> str:
    """The name in lowercase letters a to z; empty if it is written in another alphabet."""
    decomposed = unicodedata.normalize("NFKD", str(name or "")).casefold()
    letters = "".join(letter for letter in decomposed if letter.isalpha())
    return letters if letters.isascii() else ""


def _phone(state: State | None, random: Random) -> str:
    codes = state.area_codes if state else _ALL_AREA_CODES
    return f"{random.choice(codes)}-{random.choice(_EXCHANGES)}-{random.randrange(10_000):04}"


def _social_security(state: State | None, born: date, random: Random) -> str:
    if state is not None and born < _RANDOM_NUMBERS_SINCE:
        area = random.choice(state.social_security_areas)
    else:
        area = random.choice(_ALL_AREAS)
    return f"{area:03}-{random.randrange(1, 100):02}-{random.randrange(1, 10_000):04}"


_EXCHANGES = [number for number in range(200, 1000) if number % 100 != 11]
_ALL_AREAS = [number for number in range(1, 900) if number != 666]
_ALL_AREA_CODES = sorted({code for state in STATES.values() for code in state.area_codes})
