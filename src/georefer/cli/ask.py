"""Ask one image one thing: --find CLASS, --where EXPRESSION, --is-there CLASS, or a prompt of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_model

MAX_SIDE_PX = 2048


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("image", type=Path, help="an image; a raster with georeference gives answers on the map")
    parser.add_argument(
        "--window", type=int, nargs=4, metavar=("X", "Y", "WIDTH", "HEIGHT"),
        help="ask only this part, in pixels of the image; a model sees the whole of what it is shown at its own size",
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--find", metavar="CLASS", help="every object of a class")
    what.add_argument("--where", metavar="EXPRESSION", help="the one object meant, such as 'the red roofed building'")
    what.add_argument("--is-there", metavar="CLASS", help="yes or no")
    what.add_argument("--prompt", help="the model's own words")
    parser.add_argument("--png", type=Path, help="draw the answer into this picture")


def run(options: argparse.Namespace) -> int:
    from georefer.imagery.raster import open_imagery
    from georefer.inference.ask import ask
    from georefer.models import load_model

    model = load_model(options.model)
    with open_imagery(options.image) as imagery:
        image_HW3, grid = _shown(imagery, options.window)
        frame = model.frame_for((image_HW3.shape[1], image_HW3.shape[0]))
        answer = ask(model, image_HW3, _prompt(options, model.dialect, frame), grid)
    print(f"{answer.prompt}  ->  {answer.text}")
    lonlat = answer.lonlat_boxes()
    for i, box in enumerate(answer.reading.objects.hbb_N4):
        place = "" if lonlat is None else "   lon/lat " + ", ".join(f"{v:.6f}" for v in lonlat[i])
        print("pixels " + ", ".join(f"{v:.1f}" for v in box) + place)
    for problem in answer.reading.problems:
        print(f"note: {problem.message}")
    if options.png:
        _draw(options.png, image_HW3, answer)
    return 0


def _shown(imagery, window: list[int] | None):
    """The picture asked about and its grid, at most `MAX_SIDE_PX` a side: large rasters are for `sweep`."""
    from georefer.errors import InputError
    from georefer.geometry import Window

    grid = imagery.grid
    part = Window(0, 0, grid.width, grid.height) if window is None else Window(*window)
    x1, y1, x2, y2 = part.box
    if not (0 <= x1 < x2 <= grid.width and 0 <= y1 < y2 <= grid.height):
        raise InputError(
            f"the window {x1} {y1} {part.width} {part.height} was found where one inside the image of "
            f"{grid.width} x {grid.height} pixels is expected; choose another"
        )
    shrink = max(1.0, max(part.width, part.height) / MAX_SIDE_PX)
    size = max(1, round(part.width / shrink)), max(1, round(part.height / shrink))
    return imagery.read(part, size).image_HW3, grid.crop(part).resize(*size)


def _prompt(options: argparse.Namespace, dialect, frame) -> str:
    from georefer.scenes import Question
    from georefer.tasks import TASKS

    if options.prompt:
        return options.prompt
    task, params = (
        ("detection", {"label": options.find}) if options.find
        else ("rec", {"expression": options.where}) if options.where
        else ("presence", {"label": options.is_there})
    )  # fmt: skip
    return TASKS[task].prompt(Question("", "", task, params), dialect, frame)


def _draw(path: Path, image_HW3, answer) -> None:
    from georefer.imagery.render import draw_objects
    from georefer.imagery.write import write_png

    write_png(path, draw_objects(image_HW3, answer.reading.objects, (255, 210, 0), 2))
    print(f"wrote {path}")
