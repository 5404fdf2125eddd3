"""`python -m tests.fuzz [COUNT] [FIRST_SEED] [NAME]`: checks inputs and lists the failures."""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from tests.fuzz.check import CHECKS, check, explain


def main() -> int:
    """The number of different failures."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 10_000
    first = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    only = sys.argv[3] if len(sys.argv) > 3 else None
    names = [only] if only else [name for name, (_, share) in CHECKS.items() for _ in range(share)]
    failures, examples = Counter[str](), dict[str, str]()
    outcomes = Counter[str]()
    began = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        for seed in range(first, first + count):
            name = names[seed % len(names)]
            try:
                outcome = check(name, seed, Path(folder))
                outcomes[f"{name}: {'accepted' if outcome == 'accepted' else 'said'}"] += 1
            except KeyboardInterrupt:
                break
            except BaseException as error:
                kind = f"{name}: {explain(error)}"
                failures[kind] += 1
                examples.setdefault(kind, f"{name} {seed}")
    for kind, times in failures.most_common():
        sys.stdout.write(f"{times:5}  {kind}  (e.g. {examples[kind]})\n")
    seconds = time.monotonic() - began
    sys.stdout.write(f"{count} inputs, {seconds:.0f} s, {dict(outcomes)}\n")
    return len(failures)


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
