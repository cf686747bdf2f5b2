"""Ask one image one thing: --find CLASS, --where EXPRESSION, --is-there CLASS, or a prompt of your own."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import add_answering, add_model

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
    add_answering(parser)
    parser.add_argument("--png", type=Path, help="draw the answer into this picture")


def run(options: argparse.Namespace) -> int:
    from georefer.imagery.raster import open_imagery
    from georefer.inference.ask import ask
    from georefer.inference.calibration import load_calibration
    from georefer.inference.refine import load_refiner
    from georefer.models import load_model

    refiner = load_refiner(options.refine) if options.refine else None
    model = load_model(options.model)
    calibration = load_calibration(options.calibration, model.name) if options.calibration else None
    with open_imagery(options.image) as imagery:
        image_HW3, grid = _shown(imagery, options.window)
        frame = model.frame_for((image_HW3.shape[1], image_HW3.shape[0]))
        prompt, grammar = _prompt(options, model.dialect, frame)
        answer = ask(model, image_HW3, prompt, grid, grammar=grammar, calibration=calibration, refiner=refiner)
    print(f"{answer.prompt}  ->  {answer.text}")
    lonlat = answer.lonlat_boxes()
    for i, found in enumerate(answer.reading.objects):
        place = "" if lonlat is None else "   lon/lat " + ", ".join(f"{v:.6f}" for v in lonlat[i])
        print("pixels " + ", ".join(f"{v:.1f}" for v in found.geometry.bounds) + place + _remarks(found, calibration))
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


def _remarks(found, calibration) -> str:
    """How sure the model was of an object, and what the refiner did."""
    from georefer.inference.refine import KEPT_BECAUSE, REFINED_BY

    said = "" if found.score is None else f"   {'probability' if calibration else 'confidence'} {found.score:.2f}"
    if REFINED_BY in found.attributes:
        said += f"   refined by {found.attributes[REFINED_BY]}"
    return said + (f"   kept: {found.attributes[KEPT_BECAUSE]}" if KEPT_BECAUSE in found.attributes else "")


def _prompt(options: argparse.Namespace, dialect, frame) -> tuple[str, str | None]:
    """What is asked, and the grammar that the answer is held to."""
    from georefer.inference.said import grammar_for
    from georefer.scenes import Question
    from georefer.tasks import TASKS

    if options.prompt:
        return options.prompt, dialect.grammar() if options.grammar else None
    task, params = (
        ("detection", {"label": options.find}) if options.find
        else ("rec", {"expression": options.where}) if options.where
        else ("presence", {"label": options.is_there})
    )  # fmt: skip
    question = Question("", "", task, params)
    grammar = grammar_for(question, dialect) if options.grammar else None
    return TASKS[task].prompt(question, dialect, frame), grammar


def _draw(path: Path, image_HW3, answer) -> None:
    from georefer.imagery.render import draw_objects
    from georefer.imagery.write import write_png

    write_png(path, draw_objects(image_HW3, answer.reading.objects, (255, 210, 0), 2))
    print(f"wrote {path}")
