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
    """The steps of one recipe folder; each is an ordinary verb, and could be typed by hand on the same files."""

    recipes: Path
    out: Path

    def tell(self) -> int:
        from georefer.models import require_models
        from georefer.runlog import say

        require_models("the demo")
        started = time.monotonic()
        clock = _Clock(started)
        say(f"[1/5] area       {clock}")
        self.synth()
        say(f"[2/5] dataset    {clock}")
        dataset = self.build()
        say(f"[3/5] model      {clock}")
        model = self.sft()
        say(f"[4/5] scores     {clock}")
        table = self.evaluate(model, dataset)
        say(f"[5/5] map layer  {clock}")
        swept = self.sweep(model)
        print(f"\n{swept.summary()}")
        print("\nHow good it is, on ground it never trained on (blind: the same questions without the image)\n")
        print(table)
        print(f"\n{self.next_steps(model, dataset)}\n\ndone after {clock}")
        return 0

    def settings(self, cls, verb: str, *overrides: str):
        """The recipe of a verb, defaults where there is none.

        Relative paths start at the output folder where the story makes its own area, at the recipe otherwise.
        """
        from georefer.config import load_settings

        path = self.recipes / f"{verb}.toml"
        return load_settings(
            cls, path if path.is_file() else None, overrides, base=self.out if self.makes_area else None
        )

    @property
    def makes_area(self) -> bool:
        return (self.recipes / "synth.toml").is_file()

    def synth(self) -> None:
        """Only for recipe folders that want a made-up area."""
        if self.makes_area:
            from georefer.building.synthetic import synthesize

            settings = self.settings(SynthSettings, "synth")
            synthesize(self.out / "area", seed=settings.seed, size=settings.size, gsd_m=settings.gsd_m)

    def build(self):
        from georefer.building.build import build
        from georefer.building.recipe import BuildSettings
        from georefer.config import to_plain
        from georefer.errors import DatasetError
        from georefer.scenes import open_dataset

        settings = self.settings(BuildSettings, "build")
        folder = self.out / "dataset"
        if (folder / "manifest.json").is_file():
            dataset = open_dataset(folder)
            if dataset.manifest["recipe"] == to_plain(settings):
                return dataset
            raise DatasetError(f"{folder} was built with another recipe; remove {self.out} or choose another folder")
        return build(settings, folder)

    def sft(self) -> Path:
        from dataclasses import replace

        from georefer.training.sft import SftSettings, sft

        settings = self.settings(SftSettings, "sft")
        return sft(replace(settings, dataset=(self.out / "dataset",)), self.out / "train")

    def evaluate(self, model: Path, dataset) -> str:
        from georefer.evaluation import BLIND, EvaluateSettings, evaluate, read_scores, summary_table
        from georefer.models import load_model

        folder = self.out / "evaluation"
        scores = evaluate(load_model(model), dataset, self.settings(EvaluateSettings, "evaluate"), folder)
        return summary_table(scores, read_scores(folder / BLIND))

    def sweep(self, model: Path):
        from georefer.inference.sweep import SweepSettings, sweep_recipe
        from georefer.models import load_model

        return sweep_recipe(load_model(model), self.settings(SweepSettings, "sweep"), self.out / "map")

    def next_steps(self, model: Path, dataset) -> str:
        """What to look at, and commands that run as they stand."""
        image = next(iter(dataset.manifest["recipe"]["imagery"]))
        scene = next(s for s in dataset.scenes("test") if len(s.objects))
        x1, y1, x2, y2 = scene.provenance["window_px"]
        label = scene.objects.labels_N[0]
        return (
            f"look at    {self.out}/evaluation/report.html (worst and best cases), {self.out}/map/overlay.png\n"
            f"open       {self.out}/map/found.gpkg in QGIS over {image}\n"
            f"try next   georefer inspect {dataset.folder}\n"
            f"           georefer ask {model} {image} --window {x1} {y1} {x2 - x1} {y2 - y1} --find '{label}'\n"
            f"your own   copy {self.recipes}, name your imagery and layers in build.toml, then  georefer demo COPY OUT"
        )


@dataclass(frozen=True)
class _Clock:
    started: float

    def __str__(self) -> str:
        minutes, seconds = divmod(round(time.monotonic() - self.started), 60)
        return f"{minutes}:{seconds:02d}"
