"""Writes records as one HTML page that can be paged through. It needs no network and no server."""

from __future__ import annotations

import base64
import hashlib
import html
import io
from collections.abc import Iterable
from pathlib import Path

from rich.console import Console, RenderableType
from rich.terminal_theme import DEFAULT_TERMINAL_THEME, MONOKAI, TerminalTheme

from dd_core.storage.access.failures import report_storage_errors

_SCRIPT = """
const records = [...document.querySelectorAll("section")];
const choice = document.querySelector("select");
let current = 0;
function show(number) {
  current = (number + records.length) % records.length;
  records.forEach((record, index) => { record.hidden = index !== current; });
  choice.value = String(current);
  window.scrollTo(0, 0);
}
records.forEach((record, index) => {
  choice.add(new Option(`${index + 1} of ${records.length}`, String(index)));
});
choice.addEventListener("change", () => show(Number(choice.value)));
document.querySelector("#previous").addEventListener("click", () => show(current - 1));
document.querySelector("#next").addEventListener("click", () => show(current + 1));
document.addEventListener("keydown", (event) => {
  if (event.target === choice || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.key === "ArrowRight" || event.key === "n") show(current + 1);
  if (event.key === "ArrowLeft" || event.key === "p") show(current - 1);
});
document.querySelector("nav").hidden = false;
show(0);
"""
_COLORS = {
    "dark": ("#0c0c0c", "#d9d9d9", MONOKAI),
    "light": ("#ffffff", "#000000", DEFAULT_TERMINAL_THEME),
}
_HEAD = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy"
 content="default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'">
<meta name="viewport" content="width=device-width">
<title>{title}</title>
<style>
body {{ background: {background}; color: {text}; font-family: sans-serif; margin: 1rem 2rem; }}
nav {{ position: sticky; top: 0; background: {background}; padding: 0.5rem 0; }}
pre {{ font-family: Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-x: auto; }}
</style>
</head>
<body>
<h1>{title}</h1>
<nav hidden>
<button id="previous" type="button">Previous</button>
<select aria-label="Record"></select>
<button id="next" type="button">Next</button>
</nav>
"""


def write_page(
    path: str | Path,
    records: Iterable[RenderableType],
    *,
    title: str,
    theme: str = "dark",
    width: int = 110,
) -> int:
    """Write rendered records to an HTML file, one section each; returns their number.

    The file appears when it is complete. Without scripts, a browser shows all records one below the
    other.
    """
    background, text, _ = _get_colors(theme)
    digest = base64.b64encode(hashlib.sha256(_SCRIPT.encode()).digest()).decode()
    head = _HEAD.format(digest=digest, title=html.escape(title), background=background, text=text)
    count = 0
    target = Path(path)
    with report_storage_errors(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staged = target.with_name(f".{target.name}.partial")
        try:
            with staged.open("w", encoding="utf-8") as file:
                file.write(head)
                for record in records:
                    count += 1
                    file.write(f'<section id="record-{count}">\n')
                    file.write(f"{export_fragment(record, width=width, theme=theme)}\n</section>\n")
                file.write(f"<script>{_SCRIPT}</script>\n</body>\n</html>\n")
            staged.replace(target)
        finally:
            staged.unlink(missing_ok=True)
    return count


def export_fragment(content: RenderableType, *, width: int, theme: str = "light") -> str:
    """Content as an HTML element whose text is escaped."""
    console = Console(record=True, width=width, file=io.StringIO(), force_jupyter=False)
    console.print(content)
    _, _, colors = _get_colors(theme)
    code = console.export_html(theme=colors, inline_styles=True, code_format="{code}")
    return f"<pre>{code}</pre>"


def _get_colors(theme: str) -> tuple[str, str, TerminalTheme]:
    if theme not in _COLORS:
        raise ValueError(f"theme {theme!r} is unknown; use 'dark' or 'light'")
    return _COLORS[theme]
