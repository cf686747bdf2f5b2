"""Write a dataset in another trainer's files: pictures, questions in words, and a manifest of what was left out."""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, nargs="?", help="dataset folder")
    parser.add_argument("out", type=Path, nargs="?", help="folder to make")
    parser.add_argument("--format", metavar="NAME", help="what to write; --list shows all")
    parser.add_argument("--list", action="store_true", help="list the formats")
    parser.add_argument("--dialect", help="how places are said (default: the format's own, else georefer)")
    parser.add_argument(
        "--frame", default="dialect", metavar="RULE",
        help="how a model is shown the image: dialect (default), scene, resize=WxH, letterbox=WxH, padded=SIDE, "
        "qwen=FACTOR or qwen=FACTOR:MIN:MAX",
    )  # fmt: skip
    parser.add_argument("--split", action="append", default=[], help="only this split; may be repeated")
    parser.add_argument("--images", choices=("png", "jpeg"), help="write images in this form (default: as stored)")
    parser.add_argument("--link", metavar="PREFIX", help="openai: name images by this prefix rather than hold them")
    parser.add_argument("--overwrite", action="store_true", help="replace an export that is there")


def run(options: argparse.Namespace) -> int:
    from georefer.building.export import FORMATS, ExportSettings, export
    from georefer.errors import InputError

    if options.list:
        for form in FORMATS.values():
            print(f"{form.name:<14}{form.line}")
        return 0
    missing = [name for name in ("dataset", "out", "format") if getattr(options, name) is None]
    if missing:
        raise InputError(f"{', '.join(missing)} was left out; say  georefer export DATASET OUT --format NAME")
    settings = ExportSettings(
        options.format, options.dialect, options.frame, tuple(options.split), options.images, options.link
    )
    manifest = export(options.dataset, options.out, settings, overwrite=options.overwrite)
    for key, count in manifest["counts"].items():
        print(f"{count:>9,}  {key}")
    for word, name in (("left out", "left_out"), ("changed", "changed")):
        for reason, entry in manifest[name].items():
            print(f"{entry['count']:>9,}  {word}: {reason} (as in {entry['examples'][0]})")
    print(f"wrote {options.out} ({options.format}, dialect: {manifest['dialect'] or 'none'})")
    return 0
