"""Ask a model a dataset's held-out questions, or a published benchmark's; scores, intervals and a report.

georefer evaluate tiny built/demo runs/demo/evaluation
georefer evaluate models/qwen vrsbench=VRSBench_EVAL_referring.json runs/vrsbench --images Images_val

A benchmark is NAME=PATH, with the names of 'georefer evaluate --benchmarks'. Its answers are also written as its
published scorer reads them, into OUT/published: give that folder to 'georefer score --protocol'.
A model behind an address keeps each answer in OUT/requests.jsonl at once: what a budget or a kill ends goes on there.
The model 'fake' answers with the truth (spoiled by --noise-px, --miss, --malformed), to try a pipeline out."""

from __future__ import annotations

import argparse
from pathlib import Path

from georefer.cli.options import MODEL, add_answering, add_recipe, answering_overrides, asked_model, settings_of


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("model", nargs="?", help=MODEL)
    parser.add_argument("dataset", nargs="?", help="dataset folder, or a published benchmark as NAME=PATH")
    parser.add_argument("out", nargs="?", type=Path, help="folder for answers.jsonl, scores.json, report.html")
    add_recipe(parser, required=False)
    add_answering(parser, refine=False)
    parser.add_argument("--calibrate", action="store_true",
                        help="write OUT/calibration.json, learned on these answers: use it on others")  # fmt: skip
    parser.add_argument("--benchmarks", action="store_true", help="list the published ones: what they read, licences")
    add_published(parser)
    for dial, unit in (("noise-px", "standard deviation"), ("miss", "probability"), ("malformed", "probability")):
        parser.add_argument(f"--{dial}", type=float, default=0.0, help=f"of the fake model, {unit} (default 0)")


def add_published(parser: argparse.ArgumentParser) -> None:
    """How a published dataset is read and asked."""
    published = parser.add_argument_group("published datasets")
    published.add_argument("--images", type=Path, help="folder of its images, where they do not lie in its own")
    published.add_argument("--split", help="read this split of it only")
    published.add_argument("--words", choices=["published", "own"], default="published",
                           help="ask in the publisher's words or in the tasks' own")  # fmt: skip
    published.add_argument("--ask", action="append", default=[], metavar="FROM=TASK",
                           help="ask another task than usual, such as rec=rec-obb; may be repeated")  # fmt: skip


def run(options: argparse.Namespace) -> int:
    from georefer.errors import InputError
    from georefer.evaluation import BLIND, EvaluateSettings, evaluate, read_scores, summary_table
    from georefer.scenes import open_dataset

    if options.benchmarks:
        return _list()
    if options.out is None:
        raise InputError("a model, a dataset and an output folder are expected; see georefer evaluate --help")
    settings = settings_of(EvaluateSettings, options, answering_overrides(options))
    published = _published(options)
    dataset = _prepared(options, *published) if published else open_dataset(options.dataset)
    scores = evaluate(_model(options, dataset, settings.split), dataset, settings, options.out)
    blind = read_scores(options.out / BLIND) if settings.blind else None
    print(summary_table(scores, blind))
    print(f"wrote {options.out / 'report.html'}")
    if published:
        _hand_over(options, published[0], dataset)
    if options.calibrate:
        _calibrate(options.out)
    return 0


def _calibrate(out: Path) -> None:
    from georefer.evaluation.score import calibrate
    from georefer.inference.calibration import CALIBRATION_FILE

    found = calibrate(out)
    print(
        f"wrote {out / CALIBRATION_FILE}: on the {found.count} objects it was learned on, calibration error "
        f"{100 * found.before['ece']:.1f} % before and {100 * found.after['ece']:.1f} % after"
    )


def _list() -> int:
    from georefer.scenes.readers import SOURCES

    for name, source in SOURCES.items():
        print(f"{name:<18}{source.reads}\n{'':<18}licence: {source.licence}")
    return 0


def _published(options: argparse.Namespace):
    """What the benchmark's own files hold with the folder of its pictures, or None for a dataset folder."""
    from georefer.evaluation.benchmarks import read_named

    is_dataset = "=" not in options.dataset or Path(options.dataset).exists()
    return None if is_dataset else read_named(options.dataset, options.images, options.split)


def _prepared(options: argparse.Namespace, published, images: Path):
    from georefer.evaluation.benchmarks import Wording, prepare

    dataset = prepare(published, images, options.out / "dataset", Wording.told(options.words, options.ask))
    tell_left_out(dataset)
    return dataset


def tell_left_out(dataset) -> None:
    """What of a published dataset had no place in this one."""
    for reason, count in dataset.manifest["left_out"].items():
        print(f"left out {count} questions: {reason}")
    if dataset.manifest["account"].count("\n"):
        print(f"reading it: {dataset.manifest['account']}")


def _hand_over(options: argparse.Namespace, published, dataset) -> None:
    from georefer.evaluation.benchmarks import published_answers, scorer_of

    folder = published_answers(published, dataset, options.out)
    if folder is not None:
        print(f"wrote {folder}; the published scorer: georefer score {folder} --protocol {scorer_of(published)}")


def _model(options: argparse.Namespace, dataset, split: str):
    from georefer.evaluation import truth_from
    from georefer.models import FakeModel

    if options.model != "fake":
        return asked_model(options.model, options.out)
    return FakeModel(truth_from(dataset, split), options.noise_px, options.miss, options.malformed)
