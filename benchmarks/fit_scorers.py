"""FIT-RSFG's and FIT-RSRC's scorers against the speed of the originals, which is recorded, not measured here.

The originals (github.com/om-ai-lab/ImageRAG at 06de8e47 and github.com/Luo-Z13/SkySenseGPT at a980ffe) need torch
and mmcv; their rows per second were taken on two busy cores with the reference results in ../shared/golden/fit and
stand in its expected.json. Ours is measured here, reading of the file included, as theirs was, on the same files and
on a larger one (the same rows twenty times over). Read the ratios with the difference of machines in mind.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from georefer.evaluation.protocols import fit_rsfg, fit_rsrc
from georefer.evaluation.protocols.base import Protocol

GOLDEN = Path(__file__).parents[1] / ".." / "shared" / "golden" / "fit"
REPEATS = 15
LARGER = 20

PARTS: tuple[tuple[str, str, Protocol, tuple[tuple[str, str], ...]], ...] = (
    (
        "complex comprehension", "complex_comprehension", fit_rsfg.PROTOCOL,
        (("spawn pool, as published", "_spawn_pool"), ("in one process", "_in_process_pool")),
    ),
    ("RSRC", "fit_rsrc", fit_rsrc.PROTOCOL, (("as published", ""),)),
    ("VQA", "fit_vqa", fit_rsfg.PROTOCOL, (("as published", ""),)),
    ("scene", "fit_scene", fit_rsfg.PROTOCOL, (("as published", ""),)),
    ("HRBEN", "hrben", fit_rsfg.PROTOCOL, (("as published", ""),)),
)  # fmt: skip


def main() -> None:
    if not GOLDEN.is_dir():
        sys.exit(f"{GOLDEN} is not there; the reference files are in the folder 'shared' beside this checkout")
    recorded = json.loads((GOLDEN / "expected.json").read_text())["speed"]
    print(f"rows a second, best of {REPEATS}; the originals' figures are recorded ones")
    for title, part, protocol, ways in PARTS:
        rows = lines_of(part)
        once, larger = measured(protocol, part, rows), measured(protocol, part, repeated(rows))
        print(f"{title:<22} {len(rows):>5} rows {once:>9,.0f}   {LARGER * len(rows):>6} rows {larger:>9,.0f}")
        for way, suffix in ways:
            theirs = recorded[f"{part}_rows_per_s{suffix}"]
            print(f"  original, {way:<26} {theirs:>9,.0f}   {once / theirs:6.1f}x   larger {larger / theirs:6.1f}x")


def lines_of(part: str) -> list[str]:
    """The lines of a part's answer file, plain or packed."""
    path = GOLDEN / f"{part}.jsonl"
    data = path.read_bytes() if path.is_file() else gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    return data.decode().splitlines()


def repeated(lines: list[str]) -> list[str]:
    """The same rows over and over, under another image each time: repeated answers are refused."""
    made = []
    for copy in range(LARGER):
        for line in lines:
            row = json.loads(line)
            made.append(json.dumps(row | {"image_id": f"{copy} {row.get('image_id')}"}))
    return made


def measured(protocol: Protocol, part: str, lines: list[str]) -> float:
    """Rows a second of scoring a plain file."""
    settings = {key: str(GOLDEN / f"hrben_{key}.json") for key in ("questions", "answers")} | {"task": part}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "answers.jsonl"
        path.write_text("\n".join(lines))
        return len(lines) / best_seconds(lambda: protocol.score(path, settings, False))


def best_seconds(work: Callable[[], object]) -> float:
    times = []
    for _ in range(REPEATS):
        started = time.perf_counter()
        work()
        times.append(time.perf_counter() - started)
    return min(times)


if __name__ == "__main__":
    main()
