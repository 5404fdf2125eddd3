"""The base URL of a server, parsed once: its parts, and what makes it unusable."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from urllib.parse import urlsplit

from dd_core.redaction.rules import WRITTEN_MASK, is_masked

_ROUTES = ("/chat/completions", "/embeddings", "/images/generations", "/v1/messages")
"""Routes that people paste together with the base URL; they are cut off again."""
_OTHER_ROUTES = ("/completions", "/responses", "/models", "/images/edits", "/audio/speech")
_AZURE_HOSTS = (".openai.azure.com", ".cognitiveservices.azure.com")


@dataclass(frozen=True, slots=True)
class Address:
    """A base URL."""

    base: str
    """Scheme, host and path, without a slash at the end. It may appear in messages."""
    query: str
    """The query, which every request keeps, such as `api-version=2024-06-01`."""

    def join(self, route: str) -> str:
        """The URL of a route; `route` begins with a slash."""
        return f"{self.base}{route}?{self.query}" if self.query else f"{self.base}{route}"

    @property
    def host(self) -> str:
        """Host and port."""
        return urlsplit(self.base).netloc

    @property
    def is_azure(self) -> bool:
        """Whether this is Azure OpenAI, which expects the key in the header `api-key`."""
        parts = urlsplit(self.base)
        is_azure_host = (parts.hostname or "").endswith(_AZURE_HOSTS)
        return is_azure_host or "/openai/deployments/" in f"{parts.path}/"


@lru_cache(maxsize=256)
def parse_address(url: str) -> Address:
    """Parse a base URL; raises `ValueError`, whose message says what to change.

    A pasted route such as `/chat/completions` is cut off.
    """
    text = url.strip()
    if not text.lower().startswith(("http://", "https://")):
        raise ValueError("must start with http:// or https://")
    if re.search(r"[\s\x00-\x1f\x7f]", text):
        raise ValueError("contains white space; remove it")
    try:
        parts = urlsplit(text)
        has_host = bool(parts.hostname) and parts.port != 0
    except ValueError:
        has_host = False
        parts = urlsplit("")
    if not has_host:
        raise ValueError("has no valid host or port; write it as http://host:port/v1")
    if "@" in parts.netloc:
        raise ValueError(
            "contains a user name or a password, which would be written to files; use `api_key`, "
            "or `extra_headers` of a provider"
        )
    if is_masked(text):
        raise ValueError(
            f"contains {WRITTEN_MASK}, because its key was left out when the configuration was "
            "written; enter the address with its key again, or use a provider"
        )
    path = parts.path.rstrip("/")
    for route in _ROUTES:
        if path.lower().endswith(route):
            path = path[: -len(route)].rstrip("/") + ("/v1" if route == "/v1/messages" else "")
            break
    for route in _OTHER_ROUTES:
        if path.lower().endswith(route):
            raise ValueError(
                f"ends with the route {route}, which is not used here; leave it out, because the "
                "route of each request is added to the base URL"
            )
    return Address(f"{parts.scheme}://{parts.netloc.lower()}{path}", parts.query)
