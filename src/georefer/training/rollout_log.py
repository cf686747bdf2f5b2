"""What a model said while it learned: a row a question in `rollouts.jsonl`, and the last ones as a page with shapes."""

from __future__ import annotations

import base64
import html
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import shapely

from georefer.geometry import Objects
from georefer.imagery.encode import encode_image
from georefer.runlog import JsonLines, written_beside
from georefer.training.rollouts import Rollout
from georefer.training.work import Progress

SHOWN = 24
"""Questions on the page."""
_MOST_SHAPES = 40
_MOST_LETTERS = 2_000
_STYLE = (
    "body{font:15px/1.45 system-ui,sans-serif;margin:2em auto;max-width:70em;padding:0 1em;color:#1b1b1b}"
    "section{display:flex;flex-wrap:wrap;align-items:flex-start;gap:1.2em;border-top:1px solid #ccc;padding:1em 0}"
    "svg{flex:none}"
    "div{flex:1 1 24em;min-width:0}table{border-collapse:collapse;width:100%}td{padding:.15em .5em;vertical-align:top}"
    "td:first-child{white-space:nowrap;font-variant-numeric:tabular-nums}code{overflow-wrap:anywhere}"
    "tr:hover{background:#f0f0f0}"
)


@dataclass(eq=False)
class RolloutLog:
    """The log of a process in a run's folder; a run that goes on writes from where it went on.

    `names` are those of the rewards.
    """

    folder: Path
    names: Sequence[str]
    _recent: deque[str] = field(default_factory=lambda: deque(maxlen=SHOWN))
    _is_open: bool = False

    def write(self, at: Progress, said: Sequence[tuple[Rollout, np.ndarray]]) -> None:
        """The answers of a step, with the image (H, W, 3) of each question; only the first process makes the page."""
        step, rank = at.step, at.rank
        if not self._is_open:
            self._open(at)
            self._is_open = True
        self._lines(rank).append([self._row(step, rollout) for rollout, _ in said])
        if not rank:
            self._recent.extend(_section(step, *pair) for pair in said[:SHOWN])
            with written_beside(self.folder / "rollouts.html") as partial:
                partial.write_text(_page(self._recent), encoding="utf-8")

    def _open(self, at: Progress) -> None:
        """Cuts what will be said again off this process's file, and off those of more processes than there are now."""
        number = at.rank
        while (lines := self._lines(number)).path.exists():
            lines.cut_tail()
            lines.cut_from("step", at.step)
            number += at.world

    def _lines(self, rank: int) -> JsonLines:
        return JsonLines(self.folder / ("rollouts.jsonl" if not rank else f"rollouts-{rank}.jsonl"))

    def _row(self, step: int, rollout: Rollout) -> dict[str, Any]:
        answers = [
            {
                "text": text, "reward": _rounded(total), "advantage": _rounded(advantage), "tokens": len(drawn.ids),
                "cut": drawn.is_cut,
                "rewards": {n: _rounded(v) for n, v in zip(self.names, earned_K, strict=True) if v == v},
            }
            for text, drawn, earned_K, total, advantage in zip(
                rollout.texts, rollout.answers, rollout.earned_GK, rollout.total_G, rollout.advantage_G, strict=True
            )
        ]  # fmt: skip
        asked = rollout.asked
        return {
            "step": step, "question": asked.id, "task": asked.task, "prompt": asked.prompt,
            "equal": rollout.is_equal, "answers": answers,
        }  # fmt: skip


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


# --- the page -----------------------------------------------------------------------------------------------------


def _page(sections: Sequence[str] | deque[str]) -> str:
    return (
        f"<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content='width=device-width'>"
        f"<title>Rollouts</title><style>{_STYLE}</style><h1>What the model said last</h1>"
        "<p>Truth in cyan, dashed; answers from blue (earned least of its group) to orange (earned most).</p>"
        f"{''.join(reversed(sections))}</html>\n"
    )


def _section(step: int, rollout: Rollout, image_HW3: np.ndarray) -> str:
    height, width = image_HW3.shape[:2]
    uri = base64.b64encode(encode_image(image_HW3, "JPEG")).decode()
    order_G = np.argsort(-rollout.total_G, kind="stable")
    most = max(float(np.ptp(rollout.total_G)), 1e-9)
    shares_G = (rollout.total_G - rollout.total_G.min()) / most
    truth, frame = rollout.asked.truth, rollout.asked.truth.frame
    drawn = [
        _shapes(truth.dialect.read(rollout.texts[n], frame).objects, _colour(shares_G[n]), "") for n in order_G[::-1]
    ]
    rows = [
        f"<tr><td style='border-left:.5em solid {_colour(shares_G[n])}'>{rollout.total_G[n]:.3f}"
        f"<td>{len(rollout.answers[n].ids)} tokens{', cut off' if rollout.answers[n].is_cut else ''}"
        f"<td><code>{_quoted(rollout.texts[n])}</code>"
        for n in order_G
    ]
    return (
        f"<section><svg viewBox='0 0 {width} {height}' width=320 role=img aria-label='image with shapes'>"
        f"<image href='data:image/jpeg;base64,{uri}' width={width} height={height} />{''.join(drawn)}"
        f"{_shapes(truth.objects, '#40e0ff', ' stroke-dasharray=6,3')}</svg><div><b>step {step}, "
        f"{html.escape(rollout.asked.task)}</b><p>{_quoted(rollout.asked.prompt)}<table>{''.join(rows)}</table>"
        f"{'<p>All earned the same: nothing was learned of it.' if rollout.is_equal else ''}</div></section>"
    )


def _colour(share: float) -> str:
    return f"rgb({int(60 + 195 * share)},{int(90 + 60 * share)},{int(255 - 225 * share)})"


def _quoted(text: str) -> str:
    return html.escape(text if len(text) <= _MOST_LETTERS else f"{text[:_MOST_LETTERS]} ...")


def _shapes(objects: Objects, colour: str, more: str) -> str:
    """Outlines as SVG paths, of as many as a person can tell apart; points as small crosses."""
    paths = [_path(shape) for shape in objects.geometries_N[:_MOST_SHAPES]]
    return "".join(
        f"<path d='{path}' fill=none stroke='{colour}' vector-effect=non-scaling-stroke stroke-width=1.5{more} />"
        for path in paths
        if path
    )


def _path(shape: shapely.Geometry) -> str:
    if shape.geom_type == "Point":
        return f"M{shape.x - 3:.1f} {shape.y:.1f}h6m-3 -3v6"
    lines = []
    for part in shapely.get_parts(shape.boundary if shape.geom_type.endswith("Polygon") else shape):
        x_P, y_P = shapely.get_coordinates(part).T
        if np.isfinite([*x_P, *y_P]).all():
            lines.append("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in zip(x_P, y_P, strict=True)))
    return "".join(lines)
