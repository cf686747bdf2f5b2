"""How long a dialect reads: ordinary answers, and the worst that a model can produce."""

from __future__ import annotations

import time

from georefer.dialects import DIALECTS
from georefer.geometry import Frame

FRAME = Frame.resize((1024, 1024), (336, 336))
ANSWERS = {
    "one box": "[120, 45, 260, 190]",
    "sixty boxes": " ".join(f"[{i}, {i}, {i + 40}, {i + 50}]" for i in range(60)),
    "1 MB of brackets": "[" * 1_000_000,
    "1 MB of cut lists": "[1, " * 250_000,
    "1 MB of one list": "[" + "1, " * 333_000,
    "1 MB of boxes": "[1, 2, 30, 40] " * 66_000,
}


def main() -> None:
    for name, dialect in DIALECTS.items():
        for what, text in ANSWERS.items():
            repeats = 200 if len(text) < 10_000 else 5
            started = time.perf_counter()
            for _ in range(repeats):
                dialect.read(text, FRAME)
            print(f"{name:<10} {what:<18} {1000 * (time.perf_counter() - started) / repeats:8.3f} ms")


if __name__ == "__main__":
    main()
