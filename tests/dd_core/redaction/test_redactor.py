"""Secrets are found in every form; innocent texts stay as they are."""

from __future__ import annotations

import base64
import html
import json
import re
from collections.abc import Callable
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given, strategies as st

from dd_core.redaction.redactor import MASK, Redactor
from dd_core.redaction.rules import (
    REFERENCE_PATTERN,
    VARIABLE_PATTERN,
    Secrets,
    is_key_reference,
    is_masked,
    is_random,
    is_secret_name,
    is_unmistakable,
    is_variable_name,
    mask_address,
    mask_arguments,
    mask_fields,
)

KEY = "sk-MARKER7f3a9c\"/+'x"
PLAIN = "sk-MARKER7f3a9c"


def redactor(*secrets: str) -> Redactor:
    found = Secrets()
    for secret in secrets:
        found.add_secret(secret)
    return Redactor(found)


def shifted(text: str, before: str) -> str:
    return base64.b64encode(f"{before}{text} and more".encode()).decode()


FORMS: dict[str, Callable[[str], str]] = {
    "plain": str,
    "percent": lambda key: quote(key, safe=""),
    "form": quote_plus,
    "percent twice": lambda key: quote(quote(key, safe=""), safe=""),
    "every letter percent": lambda key: "".join(f"%{ord(c):02x}" for c in key),
    "JSON": json.dumps,
    "JSON twice": lambda key: json.dumps(json.dumps(key)),
    "JSON escapes": lambda key: "".join(f"\\u{ord(c):04X}" for c in key),
    "repr": repr,
    "repr of bytes": lambda key: repr(key.encode()),
    "hex escapes": lambda key: "".join(f"\\x{ord(c):02x}" for c in key),
    "HTML": html.escape,
    "HTML numbers": lambda key: "".join(f"&#{ord(c)};" for c in key),
    "base64": lambda key: base64.b64encode(key.encode()).decode(),
    "base64 after one": lambda key: shifted(key, "u"),
    "base64 after two": lambda key: shifted(key, "us"),
    "base64 after three": lambda key: shifted(key, "use"),
    "urlsafe base64": lambda key: base64.urlsafe_b64encode(key.encode()).decode(),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("key", [KEY, PLAIN + "-and-some-more"])
def test_a_key_is_masked_in_every_form(form: str, key: str) -> None:
    quoted = FORMS[form](key)
    for mask in (redactor(key).mask, redactor(key).mask_answer):
        text = mask(f"the key {quoted} is odd")
        assert MASK in text and "is odd" in text
        assert "MARKER" not in text
        assert quoted[4:-4] not in text


@given(st.integers(0, len(PLAIN)), st.integers(0, len(PLAIN)))
def test_no_eight_characters_of_a_key_are_left_in_a_message(start: int, stop: int) -> None:
    part = PLAIN[start:stop]
    masked = redactor(PLAIN).mask(f"key {part}... is wrong")
    if len(part) >= 8:
        assert masked == f"key {MASK}... is wrong"
    else:
        assert masked == f"key {part}... is wrong"


@given(st.text(), st.text(alphabet="sk-MARKER7f3a9c%\\u00&#;x", max_size=40))
def test_masking_ends_and_keeps_the_rest(before: str, after: str) -> None:
    whole = redactor(PLAIN)
    masked = whole.mask(f"{before}\n{PLAIN}\n{after}")
    assert PLAIN not in masked
    assert whole.mask(masked) == masked or MASK in masked
    assert PLAIN not in whole.mask_answer(f"{before}\n{PLAIN}\n{after}")


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ({"authorization": f"Bearer {PLAIN}"}, {PLAIN}),
        ({"Authorization": "Basic " + base64.b64encode(b"me:pass-7f3a9c").decode()},
         {"me:pass-7f3a9c", "pass-7f3a9c"}),
        ({"cookie": f'session="{PLAIN}"; theme=dark'}, {PLAIN}),
        ({"x-trace": PLAIN}, {PLAIN}),
        ({"x-goog-api-key": "abcdefgh"}, {"abcdefgh"}),
    ],
)  # fmt: skip
def test_every_word_of_a_header_counts(header: dict[str, str], words: set[str]) -> None:
    found = Secrets()
    found.add_headers(header)
    assert words <= found.secrets


def test_texts_of_a_body_are_masked_in_messages_and_kept_in_answers() -> None:
    found = Secrets()
    found.add_fields(
        {"response_format": {"type": "json_object"}, "key": PLAIN, "model": "gpt-5-x9"}
    )
    made = Redactor(found)
    assert made.mask("no json_object for gpt-5-x9") == f"no {MASK} for gpt-5-x9"
    assert made.mask_answer("a json_object") == "a json_object"
    assert made.mask_answer(f"a {PLAIN}") == f"a {MASK}"


def test_an_answer_may_discuss_keys_in_general() -> None:
    made = redactor("sk-ant-api03-Zx9Kq81LmWw02Pq7")
    assert made.mask_answer("Anthropic's keys begin with sk-ant-api03-...") == (
        "Anthropic's keys begin with sk-ant-api03-..."
    )
    assert made.mask_answer("yours is sk-ant-api03-Zx9Kq8") == f"yours is {MASK}"
    for key in ("EMPTY", "test", "ollama", "not-needed", "secret"):
        assert redactor(key).mask_answer(f"the word {key}") == f"the word {key}"


@pytest.mark.parametrize(
    "name",
    ["api_key", "x-api-key", "accessKeyId", "APIKey", "token", "client_secret", "authorization"],
)
def test_names_of_secrets(name: str) -> None:
    assert is_secret_name(name)


@pytest.mark.parametrize("name", ["max_tokens", "tokenizer", "prompt_cache_key", "design", "keys"])
def test_other_names(name: str) -> None:
    assert not is_secret_name(name)


@pytest.mark.parametrize(
    "word",
    ["gpt-4.1-mini", "openai/gpt-oss-20b", "text-embedding-3-large", "2024-06-01-preview",
     "claude-3-5-sonnet-20241022", "mixtral-8x7b-instruct", "nvidia/nemotron-3-nano-30b-a3b",
     "json_object", "high", "Qwen2.5-72B-Instruct"],
)  # fmt: skip
def test_names_of_models_do_not_look_random(word: str) -> None:
    assert not is_random(word)


@pytest.mark.parametrize("word", [PLAIN, "7f3a9c2b1d", "hf_QwErTyUiOp12345"])
def test_keys_look_random_and_cannot_be_mistaken(word: str) -> None:
    assert is_random(word)
    assert is_unmistakable(word)


@pytest.mark.parametrize("name", ["OPENAI_API_KEY", "KEY", "my_key", "GATEWAY_2_KEY", "key2"])
def test_names_of_variables_are_not_keys(name: str) -> None:
    assert is_variable_name(name)
    assert re.match(VARIABLE_PATTERN, name)


@pytest.mark.parametrize(
    "key", [PLAIN, "gsk_a1b2c3d4e5f6g7h8", "hf_QwErTyUiOp12345", "d41d8cd98f00b204e9800998ecf8427e"]
)
def test_keys_are_not_names_of_variables(key: str) -> None:
    assert not is_variable_name(key)
    assert not re.match(VARIABLE_PATTERN, key)


def test_what_is_written_has_no_secrets_and_keeps_the_rest() -> None:
    fields = {
        "reasoning": {"effort": "high"},
        "options": {"api_key": "hidden", "named": "MY_API_KEY", "kept": "block:x"},
        "notes": [f"see {PLAIN}", 7, None],
        "models": ["openai/gpt-4o"],
    }
    written = mask_fields(fields)
    assert written["reasoning"] == {"effort": "high"} and written["models"] == ["openai/gpt-4o"]
    assert written["options"] == {
        "api_key": "(masked)", "named": "(masked)", "kept": "block:x"
    } | {"named": "MY_API_KEY"}  # fmt: skip
    assert written["notes"] == ["see (masked)", 7, None]
    assert is_masked(written) and not is_masked(fields)


def test_a_reference_is_no_key_but_what_surrounds_it_may_be_one() -> None:
    for value in ("MY_API_KEY", "block:x", "${TOKEN}", "Bearer ${TOKEN}"):
        assert is_key_reference(value)
        assert mask_fields({"authorization": value}) == {"authorization": value}
        assert re.search(REFERENCE_PATTERN, value)
    for value in (
        PLAIN,
        "Bearer abcd",
        f"{PLAIN} ${{TOKEN}}",
        f"${{TOKEN}}{PLAIN}",
        "${} and more",
        "two $x",
    ):
        assert not is_key_reference(value)
        assert mask_fields({"authorization": value}) == {"authorization": "(masked)"}
        assert not re.search(REFERENCE_PATTERN, value)


@pytest.mark.parametrize(
    ("arguments", "written"),
    [
        (["-m", "server", "--port=8000", "/data/in"], None),
        (["--api-key", "hunter22", "more"], ["--api-key", "(masked)", "more"]),
        (["--password=hunter22"], ["--password=(masked)"]),
        ([f"run {PLAIN}"], ["run (masked)"]),
        (["--token", "MY_TOKEN", "--url", "https://me:pw@a.test"],
         ["--token", "MY_TOKEN", "--url", "https://(masked)@a.test"]),
    ],
)  # fmt: skip
def test_arguments_are_written_without_keys(
    arguments: list[str], written: list[str] | None
) -> None:
    assert mask_arguments(arguments) == (arguments if written is None else written)


@pytest.mark.parametrize(
    ("address", "written"),
    [
        (f"http://user:{PLAIN}@a.test:80/v1?x=1", "http://(masked)@a.test:80/v1?x=1"),
        (f"https://a.test/v1?api-version=2024-06-01&key={PLAIN}",
         "https://a.test/v1?api-version=2024-06-01&key=(masked)"),
        (f"https://a.test/v1?x={PLAIN}#top", "https://a.test/v1?x=(masked)#top"),
        ("https://a.test/v1/", "https://a.test/v1/"),
        (f"http://[bad@x/{PLAIN}", f"http://(masked)@x/{PLAIN}"),
    ],
)  # fmt: skip
def test_addresses_are_written_without_keys(address: str, written: str) -> None:
    assert mask_address(address) == written
