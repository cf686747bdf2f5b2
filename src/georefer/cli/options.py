"""Options that several verbs share."""

from __future__ import annotations

import argparse
import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from georefer.models import Model
    from georefer.training.run import Recipe

Settings = TypeVar("Settings")
Training = TypeVar("Training", bound="Recipe")


def add_recipe(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """A recipe file and overrides of its keys."""
    if required:
        parser.add_argument("recipe", type=Path, help="TOML recipe, such as recipes/demo/build.toml")
    else:
        parser.add_argument("--recipe", type=Path, help="TOML recipe; defaults where left out")
    parser.add_argument(
        "--base", type=Path, help="folder at which the recipe's relative paths start (default: the recipe's own)"
    )
    parser.add_argument(
        "--set", dest="overrides", action="append", default=[], metavar="KEY=VALUE",
        help="override a key of the recipe, such as loop.steps=100; may be repeated",
    )  # fmt: skip


def settings_of(cls: type[Settings], options: argparse.Namespace, extra: tuple[str, ...] = ()) -> Settings:
    """The recipe of the command line as a settings value; `extra` overrides come from other options."""
    from georefer.config import load_settings

    return load_settings(cls, options.recipe, [*options.overrides, *extra], options.base)


def add_training(parser: argparse.ArgumentParser) -> None:
    """The recipe of a way to train, its run folder, and what is often changed of it."""
    add_recipe(parser)
    parser.add_argument("out", type=Path, help="run folder")
    parser.add_argument("--dataset", type=Path, action="append", default=[], help="instead of the recipe's; repeatable")
    parser.add_argument("--start", help="model to go on from, instead of the recipe's")


def training_settings(cls: type[Training], options: argparse.Namespace) -> Training:
    """The recipe of `add_training` as a settings value."""
    changes: dict[str, Any] = {}
    if options.dataset:
        changes["dataset"] = tuple(options.dataset)
    if options.start:
        changes["start"] = options.start
    return replace(settings_of(cls, options), **changes)


MODEL = "a model folder, the name of a shipped checkpoint, a hub id, or the address of a server"


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model to ask."""
    parser.add_argument("model", help=MODEL)


def add_answering(parser: argparse.ArgumentParser, *, refine: bool = True) -> None:
    """How answers are held to a form, and what is made of them."""
    parser.add_argument(
        "--grammar",
        action="store_true",
        help="let shapes be said in well-formed answers only (checkpoints, no servers)",
    )
    parser.add_argument(
        "--calibration", type=Path, metavar="FILE",
        help="what 'georefer evaluate --calibrate' wrote: scores become probabilities of being right",
    )  # fmt: skip
    if refine:
        parser.add_argument("--refine", metavar="snap|sam:FOLDER", help="draw shapes anew, by edges or by a SAM")


def answering_overrides(options: argparse.Namespace) -> tuple[str, ...]:
    """Those of `add_answering` as overrides of a recipe."""
    chosen = {
        "calibration": options.calibration and str(options.calibration.absolute()),
        "refine": getattr(options, "refine", None),
    }
    said = tuple(f"{key}={json.dumps(value)}" for key, value in chosen.items() if value)
    return (*said, "grammar=true") if options.grammar else said


def asked_model(name: str, out: Path) -> Model:
    """The model; one behind an address keeps each answer in `out` at once, so that no end loses what was paid for."""
    from georefer.models import load_model

    is_address = name.lower().startswith(("http://", "https://"))
    return load_model(name, cache=out / "requests.jsonl") if is_address else load_model(name)
