"""The whole story of a recipe folder: synth.toml (if any), build.toml, sft.toml, evaluate.toml, sweep.toml.

Without arguments it runs recipes/demo into runs/demo. Steps that are finished there are not done again."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class SynthSettings:
    """A synthetic area of a recipe folder; imagery and layers lie in OUT/area."""

    seed: int = 7
    size: int = 4096
    gsd_m: float = 0.2


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipes", type=Path, nargs="?", default=Path("recipes/demo"), help="folder of recipes")
    parser.add_argument("out", type=Path, nargs="?", default=Path("runs/demo"), help="folder for everything it makes")
    parser.add_argument("--quick", action="store_true", help="a minute of training on a small area, to see it run")


def run(options: argparse.Namespace) -> int:
    from georefer.errors import ConfigError

    if not (options.recipes / "build.toml").is_file():
        raise ConfigError(
            f"there is no {options.recipes / 'build.toml'}; run this in a clone of the repository, or name a folder "
            "with build.toml, sft.toml, evaluate.toml and sweep.toml"
        )
    story = Story(options.recipes, options.out)
    return story.tell()


@dataclass(frozen=True)
class Story:
    """The steps of one recipe folder; each is an ordinary verb on the same files."""

    recipes: Path
    out: Path

    def tell(self) -> int:
        from georefer.runlog import say

        started = time.monotonic()
        say(f"[1/5] area      -> {self.out / 'area'}")
        self.synth()
        say(f"[2/5] dataset   -> {self.out / 'dataset'}")
        dataset = self.build()
        say(f"[3/5] model     -> {self.out / 'train' / 'model'}")
        model = self.sft()
        say(f"[4/5] scores    -> {self.out / 'evaluation'}")
        table = self.evaluate(model, dataset)
        say(f"[5/5] map layer -> {self.out / 'map'}")
        found = self.sweep(model)
        print(f"\n{found}\n\nHow good that is, on ground the model never trained on:\n\n{table}\n")
        print(self.what_next((time.monotonic() - started) / 60))
        return 0
