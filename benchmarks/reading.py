"""How long a dialect reads: ordinary answers, and the worst megabyte that a model can produce."""

from __future__ import annotations

import time

import numpy as np
import shapely

from georefer.dialects import DIALECTS, Dialect
from georefer.dialects.reference import example, kinds_of
from georefer.geometry import Frame, Objects

STARTS = ["[", "[[", "{", "(", "<", '"', "'", "\\", "[1, ", "1, ", "1", " ", "\n", "0 *1, ", "1 *99999999; ", "a | ",
          "<box>", "<seg>", "<loc0001>", "<loc_1>", "<p>", "<ref>", "<rel>", "<answer>", "<think>", '{"bbox_2d": [',
          "<|box_start|>(1,2),(", "{<1><2>", "<point x=", "=1/", "<m3>", "]", "}", '["", ', "- [", "x: "]  # fmt: skip


def main() -> None:
    print("milliseconds a read; the last two: the worst of many megabytes, and what it is made of\n")
    print(f"{'dialect':<18}{'one':>8}{'sixty':>8}{'worst 1 MB':>12}  of")
    worst_of_all = 0.0
    for dialect in DIALECTS.values():
        frame = dialect.frame_for((1024, 1024))
        one, sixty = written(dialect, frame, 1), written(dialect, frame, 60)
        worst, text = max((timed(dialect, t, frame, 3), t) for t in hostile(dialect, one))
        worst_of_all = max(worst_of_all, worst)
        print(
            f"{dialect.name:<18}{timed(dialect, one, frame, 50):>8.3f}{timed(dialect, sixty, frame, 10):>8.2f}"
            f"{worst:>12.1f}  {text[:30]!r}",
            flush=True,
        )
    print(f"\nworst of all {worst_of_all:.1f} ms")


def written(dialect: Dialect, frame: Frame, count: int) -> str:
    """An answer of so many different objects of the dialect's first kind."""
    one = example(kinds_of(dialect)[0])
    boxes = [one.replaced([shifted(one, i)]) for i in range(count)]
    return dialect.write(Objects.concat(boxes), frame)


def shifted(one: Objects, i: int):
    return shapely.transform(one.geometries_N[0], lambda xy: np.add(xy, (9 * i % 600, 7 * i % 500)))


def hostile(dialect: Dialect, said: str) -> list[str]:
    """Megabytes: single marks, starts of every format, and the dialect's own answer, whole and cut, over and over."""
    texts = [start * (1_000_000 // len(start)) for start in STARTS]
    for part in (said, said[: len(said) // 2], said[len(said) // 3 :], said[:-1], said[1:]):
        texts.append(part * (1_000_000 // max(1, len(part))))
    rng = np.random.default_rng(0)
    texts.append("".join(rng.choice(list("[]{}<>(),;|*@=/0123456789 \"'\n" + said), 1_000_000)))
    if "polygon" in dialect.kinds:
        # rings of points strewn at random: GEOS would take minutes to repair the large ones
        for points in (12, 60, 400, 2000):
            rings = [shapely.Polygon(rng.integers(0, 1000, (points, 2))) for _ in range(max(1, 4000 // points))]
            texts.append(dialect.write(Objects.of(rings, ["x"] * len(rings)), dialect.frame_for((1024, 1024))))
    return texts


def timed(dialect: Dialect, text: str, frame: Frame, repeats: int) -> float:
    """Milliseconds, the best of three rounds (another process may have the core)."""
    rounds = []
    for _ in range(3):
        started = time.perf_counter()
        for _ in range(repeats):
            dialect.read(text, frame)
        rounds.append(1000 * (time.perf_counter() - started) / repeats)
    return min(rounds)


if __name__ == "__main__":
    main()
