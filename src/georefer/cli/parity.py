"""One question through training, transformers' own generate, our decoding, a merged model and a server, side by side.

georefer parity runs/sft/model --image chip.png --prompt "where is the ship?" --merged merged --http http://host:8000/v1

The exit code is 1 where any way sees, reads, says or scores otherwise than transformers' own."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from georefer.cli.options import add_model


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_model(parser)
    parser.add_argument("--image", type=Path, required=True, help="an image of at most 4096 pixels a side")
    parser.add_argument("--prompt", required=True, help="the question in the model's own words")
    parser.add_argument("--answer", help="compare scores at this answer (default: at what the model says)")
    parser.add_argument("--merged", metavar="FOLDER", help="the same model merged; see georefer merge")
    parser.add_argument("--http", metavar="URL", help="a server that serves it")
    parser.add_argument("--tokens", type=int, default=256, help="most tokens of an answer (default 256)")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(options: argparse.Namespace) -> int:
    from georefer.models import load_model, require_models

    require_models("running a model")
    from georefer.inference.parity import as_plain, as_table, parity

    image_HW3 = _read(options.image)
    found = parity(
        load_model(options.model), image_HW3, options.prompt, options.answer,
        merged=options.merged, http=options.http, max_new_tokens=options.tokens,
    )  # fmt: skip
    print(json.dumps(as_plain(found), indent=1) if options.json else as_table(found))
    return 0 if found.agrees else 1


def _read(path: Path):
    from georefer.errors import InputError
    from georefer.geometry import Window
    from georefer.imagery.raster import open_imagery

    with open_imagery(path) as imagery:
        width, height = imagery.grid.width, imagery.grid.height
        if max(width, height) > 4096:
            raise InputError(
                f"{path} has {width} x {height} pixels, where at most 4096 a side are expected; cut a part"
            )
        return imagery.read(Window(0, 0, width, height), (width, height)).image_HW3
