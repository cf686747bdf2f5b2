"""Draw nested few-shot datasets from a dataset: so many objects or images per class, each set inside the next.

georefer fewshot data/mine --shots 1,5,10                       data/mine-fewshot/shot-01, shot-05, shot-10
georefer fewshot data/mine --shots 1,5,10 --by object --task rec
georefer fewshot data/mine --check their/subsets.json           does this dataset give the same draw, hash by hash?

Train on one of them, evaluate on the dataset they come from, whose test images none of them shows:

georefer sft recipes/demo/sft.toml runs/few --dataset data/mine-fewshot/shot-10
georefer evaluate runs/few/model data/mine runs/few/test
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("dataset", type=Path, help="dataset folder")
    parser.add_argument("out", type=Path, nargs="?",
                        help="new folder; gets a dataset for every number of shots, and subsets.json "
                        "(default: DATASET-fewshot)")  # fmt: skip
    parser.add_argument("--shots", type=_numbers, default=(1, 5, 10), help="picks per class (default 1,5,10)")
    parser.add_argument(
        "--by", choices=("object", "image"), default="object",
        help="a shot is an object with its question (default), or an image with all questions about the class",
    )  # fmt: skip
    parser.add_argument("--task", action="append", default=[], help="keep questions of this task; may be repeated")
    parser.add_argument("--split", default="train", help="split to draw from (default train)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument(
        "--check", type=Path, metavar="FILE",
        help="write nothing: draw as this subsets.json was and compare; exit code 1 where they differ",
    )  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from georefer.building.subsets import SubsetSettings, write_subsets
    from georefer.errors import InputError
    from georefer.scenes import open_dataset

    dataset = open_dataset(options.dataset)
    if options.check:
        return _check(dataset, options.check)
    try:
        settings = SubsetSettings(options.shots, options.by, tuple(options.task), options.split, options.seed)
    except ValueError as error:
        raise InputError(str(error)) from error
    folder = options.dataset.resolve()
    out = options.out or folder.with_name(f"{folder.name}-fewshot")
    _tell(write_subsets(dataset, out, settings))
    print(f"wrote {out}")
    largest = out / f"shot-{max(options.shots):02d}"
    print(f"train:     georefer sft RECIPE RUN --dataset {largest}     (or grpo)")
    _tell_test(options.dataset, dataset.manifest["splits"], options.split)
    return 0


def _tell_test(folder: Path, splits: Mapping[str, Mapping[str, int]], drawn: str) -> None:
    tests = [name for name, count in splits.items() if name != drawn and count["questions"]]
    if not tests:
        return print(f"evaluate:  {folder} has no other split to test on; test on another dataset")
    name = "test" if "test" in tests else tests[0]
    choice = "" if name == "test" else f" --set split={name}"
    return print(f"evaluate:  georefer evaluate RUN/model {folder} RUN/{name}{choice}")


def _check(dataset: Any, file: Path) -> int:
    from georefer.building.subsets import check_subsets

    differences = check_subsets(dataset, file)
    print(
        "\n".join(differences) or f"{dataset.folder} gives the draw of {file}: every picture and question is the same"
    )
    return int(bool(differences))


def _tell(manifest: Mapping[str, Any]) -> None:
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


def _numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' was found where numbers such as 1,5,10 are expected") from None
