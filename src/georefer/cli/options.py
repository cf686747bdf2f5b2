"""Options that several verbs share."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TypeVar

Settings = TypeVar("Settings")


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


def add_model(parser: argparse.ArgumentParser) -> None:
    """The model to ask."""
    parser.add_argument("model", help="a model folder, or the name of a shipped checkpoint")
