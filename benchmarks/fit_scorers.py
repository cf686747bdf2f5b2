"""FIT-RSFG's and FIT-RSRC's scorers against the speed of the originals, which is recorded, not measured here.

The originals (github.com/om-ai-lab/ImageRAG at 06de8e47 and github.com/Luo-Z13/SkySenseGPT at a980ffe) need torch
and mmcv; their rows per second were taken on two busy cores with the reference results in ../shared/golden/fit and
stand in its expected.json. Ours is measured here, reading of the file included, as theirs was, on the same files and
on a larger one (the same rows twenty times over). The last lines are whole runs, one part after another in one process;
nearly all of the originals' time is complex comprehension. Read the ratios with the difference of machines in mind.
"""

from __future__ import annotations

import gzip
import json
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
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
    print_whole(recorded)


def print_whole(recorded: dict[str, float]) -> None:
    """All of FIT-RSFG, then RSRC as well, in one timed run against the seconds of the originals' recorded speeds."""
    with tempfile.TemporaryDirectory() as folder:
        for title, parts in (
            ("all of FIT-RSFG", [part for part in PARTS if part[2] is fit_rsfg.PROTOCOL]),
            ("all files of FIT", PARTS),
        ):
            rows_of = {part: lines_of(part) for _, part, _, _ in parts}
            calls = [scoring_of(protocol, part, rows_of[part], Path(folder)) for _, part, protocol, _ in parts]
            seconds = best_seconds(partial(call_all, calls))
            print(f"{title:<22} {sum(map(len, rows_of.values())):>5} rows {1000 * seconds:>9,.1f} ms")
            for number, (way, _) in enumerate(parts[0][3]):
                # only complex comprehension was run in two ways
                suffixes = {part: ways[min(number, len(ways) - 1)][1] for _, part, _, ways in parts}
                theirs = sum(
                    len(rows) / recorded[f"{part}_rows_per_s{suffixes[part]}"] for part, rows in rows_of.items()
                )
                print(f"  original, {way:<26} {1000 * theirs:>9,.1f} ms {theirs / seconds:6.1f}x")


def call_all(calls: list[Callable[[], object]]) -> None:
    for call in calls:
        call()


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
    with tempfile.TemporaryDirectory() as folder:
        return len(lines) / best_seconds(scoring_of(protocol, part, lines, Path(folder)))


def scoring_of(protocol: Protocol, part: str, lines: list[str], folder: Path) -> Callable[[], object]:
    """What scores these lines of a part, from a plain file in the folder."""
    settings = {key: str(GOLDEN / f"hrben_{key}.json") for key in ("questions", "answers")} | {"task": part}
    path = folder / f"{part}.jsonl"
    path.write_text("\n".join(lines))
    return lambda: protocol.score(path, settings, False)


def best_seconds(work: Callable[[], object]) -> float:
    """Seconds of the processor, the best of some rounds: others may have the cores."""
    times = []
    for _ in range(REPEATS):
        started = time.process_time()
        work()
        times.append(time.process_time() - started)
    return min(times)


if __name__ == "__main__":
    main()
