"""Make a dataset of a published one, in its own files, to train on, to draw few shots from or to look at.

georefer import vrsbench-fs=VRSBench-FS data/vrsbench-10 --split train_10shot
georefer import geo-r1=GRES/train.jsonl data/gres --images images
georefer import vrsbench=VRSBench_EVAL_referring.json data/vrsbench-test --images Images_val --as test

NAME is one of 'georefer evaluate --benchmarks'. What had no place in a dataset is counted, and said.
"""

from __future__ import annotations

import argparse
from collections import Counter
from pathlib import Path

from georefer.cli.evaluate import add_published, tell_left_out


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("published", metavar="NAME=PATH", help="a published dataset and its file or folder")
    parser.add_argument("out", type=Path, help="dataset folder to make")
    parser.add_argument("--as", dest="stored", choices=["train", "test"], default="train",
                        help="split of the dataset to be made (default train)")  # fmt: skip
    add_published(parser)


def run(options: argparse.Namespace) -> int:
    from georefer.errors import InputError
    from georefer.evaluation.benchmarks import Wording, prepare, read_named

    if "=" not in options.published:
        raise InputError(
            f"'{options.published}' was found where NAME=PATH is expected, such as vrsbench-fs=VRSBench-FS"
        )
    if options.out.exists():
        raise InputError(f"{options.out} exists already where a new folder is expected; choose another or remove it")
    published, images = read_named(options.published, options.images, options.split)
    wording = Wording.told(options.words, options.ask)
    dataset = prepare(published, images, options.out, wording, options.stored)
    tell_left_out(dataset)
    for task, count in sorted(Counter(question.task for question in dataset.questions(options.stored)).items()):
        print(f"{count:>9,}  {task}")
    print(
        f"wrote {options.out}: {dataset.manifest['splits'][options.stored]['scenes']:,} images, split {options.stored}"
    )
    return 0
