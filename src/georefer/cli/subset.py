"""Draw nested few-shot subsets of a dataset: so many objects or images per class, each subset inside the next.

georefer subset data/mine data/mine-few --shots 1,5,10 --by object --task rec
"""

from __future__ import annotations

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("out", type=Path, help="new folder; gets a dataset for every number of shots, and subsets.json")
    parser.add_argument("--shots", type=_numbers, default=(1, 5, 10), help="picks per class (default 1,5,10)")
    parser.add_argument(
        "--by", choices=("object", "image"), default="object",
        help="a shot is an object with its question (default), or an image with all questions about the class",
    )  # fmt: skip
    parser.add_argument("--task", action="append", default=[], help="keep questions of this task; may be repeated")
    parser.add_argument("--split", default="train", help="split to draw from (default train)")
    parser.add_argument("--seed", type=int, default=0)


def run(options: argparse.Namespace) -> int:
    from georefer.building.subsets import SubsetSettings, write_subsets
    from georefer.errors import InputError
    from georefer.scenes import open_dataset

    try:
        settings = SubsetSettings(options.shots, options.by, tuple(options.task), options.split, options.seed)
    except ValueError as error:
        raise InputError(str(error)) from error
    manifest = write_subsets(open_dataset(options.dataset), options.out, settings)
    for reason, count in manifest["images_left_out_as_other_splits_hold_them"].items():
        print(f"left out {count} images that another split holds too, by {reason}")
    if manifest["classes_without_a_pick"]:
        print(f"nothing to pick for: {', '.join(manifest['classes_without_a_pick'])}")
    for subset in manifest["subsets"].values():
        balance = subset["balance"]
        print(
            f"{subset['folder']}: {subset['questions']} questions on {subset['scenes']} images, "
            f"{len(subset['classes'])} classes with {balance['fewest']} to {balance['most']} questions"
        )
        for label, count in subset["short"].items():
            print(f"  {label}: only {count}")
    print(f"wrote {options.out}")
    return 0


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' was found where numbers such as 1,5,10 are expected") from None
