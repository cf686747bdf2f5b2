"""The table of dialects as people read it: on the console and in docs/reference/dialects.md."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Iterable, Sequence

import shapely

from georefer.dialects.base import Dialect
from georefer.dialects.ceiling import KIND_ORDER, ceiling
from georefer.geometry import OBB, Kind, Objects

EXAMPLE_SIZE = (800, 600)
SIZES_PX = (10, 20, 50)
IMAGE_SIZE = (1024, 1024)


def example(kind: Kind, label: str = "ship") -> Objects:
    """One object of a kind in an image of 800 x 600, the same for every dialect."""
    obb = OBB(330, 240, 160, 48, 30).to_polygon()
    shape = {
        "hbb": shapely.box(120, 90, 280, 180),
        "obb": obb,
        "polygon": shapely.Polygon([(400, 300), (520, 300), (520, 420), (460, 420), (460, 360), (400, 360)]),
        "mask": obb,
        "point": shapely.Point(200, 150),
    }[kind]
    return Objects.of([shape], [label], kind=kind)


def kinds_of(dialect: Dialect) -> list[Kind]:
    """The kinds that a dialect says, in the usual order."""
    return [kind for kind in KIND_ORDER if kind in dialect.kinds]


def numbers_of(dialect: Dialect, kind: Kind) -> str:
    """Its range for one kind in words, such as `0-999, floored`."""
    if kind == "mask":
        where = "in its box" if dialect.name.startswith("georefer") else "over the image"
        return f"{dialect.cells} x {dialect.cells} cells {where}"
    steps = dialect.turned_steps if kind == "obb" and dialect.turned_steps else dialect.steps
    if steps.top == "shown":
        return "pixels of the resized image"
    top = 1000 if steps.top == "frame" else steps.top
    if steps.cells:
        return f"cells 0-{top - 1}"
    return f"0-{steps.text(top)}" + (", floored" if steps.rounding == "floor" else "")


def text_of_example(dialect: Dialect, kind: Kind) -> str:
    return dialect.write(example(kind), dialect.frame_for(EXAMPLE_SIZE), labelled=dialect.labelled)


def ceilings_of(dialect: Dialect, kind: Kind, sizes_px: Sequence[float] = SIZES_PX, *, count: int = 200) -> list[str]:
    """Mean IoU (share with IoU >= 0.5) for objects of each size; for points the mean distance."""
    cells = []
    for size in sizes_px:
        c = ceiling(dialect, kind, size, IMAGE_SIZE, count=count)
        cells.append(f"{c.error_px:.2f} px" if kind == "point" else f"{c.mean_iou:.2f} ({c.at_50:.0%})")
    return cells


def markdown(dialects: Iterable[Dialect]) -> str:
    """The whole of docs/reference/dialects.md."""
    dialects = list(dialects)
    sizes = " | ".join(f"{size} px" for size in SIZES_PX)
    lines = [
        "# Dialects",
        "",
        "A dialect is one family of models' way to say geometry in text. This page is made from the table in",
        "`georefer.dialects` by `georefer dialects --markdown`; `georefer dialects show NAME --image 800x600 --box",
        "120,90,280,180` tries one out.",
        "",
        "The ceiling is what a perfect model would score if only writing and reading spoilt its answers: mean IoU, and",
        "in brackets the share of objects with IoU of at least 0.5, for objects of so many pixels (square root of the",
        f"area) in an image of {IMAGE_SIZE[0]} x {IMAGE_SIZE[1]}, 200 random ones each. Points: mean distance.",
        "",
        "Outlines are not closed and run clockwise on the screen from the point nearest the top left, in every dialect",
        "that says them: no format says where one begins, and [a model learns several texts for one shape badly]"
        "(../decisions/0009-an-outline-has-one-text.md).",
        "",
        f"| dialect | says | numbers | {sizes} |",
        "|---|---|---|" + "---|" * len(SIZES_PX),
    ]
    for dialect in dialects:
        for i, kind in enumerate(kinds_of(dialect)):
            name = f"[`{dialect.name}`](#{dialect.name.replace('.', '')})" if i == 0 else ""
            cells = [name, kind, numbers_of(dialect, kind), *ceilings_of(dialect, kind)]
            lines.append(f"| {' | '.join(cells)} |")
    for dialect in dialects:
        lines += ["", f"## {dialect.name}", "", _about(dialect), "", f"Source: {dialect.source}.", ""]
        frame = dialect.frame_for(EXAMPLE_SIZE)
        shown = f"{EXAMPLE_SIZE[0]} x {EXAMPLE_SIZE[1]} shown at {frame.width} x {frame.height} ({frame.rule})"
        nothing = dialect.nothing.replace("\n", "\\n").replace("`", "'")
        lines += [f"Frame of its models: {dialect.frame_note}. Where there is nothing: `{nothing}`.", ""]
        lines += [f"Examples, {shown}:", ""]
        for kind in kinds_of(dialect):
            lines += [f"{kind}:", "", "~~~", text_of_example(dialect, kind), "~~~", ""]
        lines += [
            "<details><summary>Grammar (Lark)</summary>",
            "",
            "~~~",
            dialect.grammar().rstrip(),
            "~~~",
            "",
            "</details>",
        ]
    return "\n".join(lines) + "\n"


def _about(dialect: Dialect) -> str:
    """The first sentence of the module, and the class's own words."""
    module = inspect.getdoc(sys.modules[type(dialect).__module__]) or ""
    own = type(dialect).__doc__
    first = module.split("\n\n")[0].replace("\n", " ")
    return f"{first} {inspect.cleandoc(own)}".strip() if own else first
