"""The recipes of published systems: each loads, its launch lines are in its README, and it trains its own family."""

from __future__ import annotations

import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest
from safetensors.torch import load_file
from tests.data.area import make_area, small_recipe
from tests.data.checkpoints import build as build_checkpoint

from georefer.building.build import build
from georefer.cli import sft as verb
from georefer.config import load_settings
from georefer.models import load_model
from georefer.training.sft import SftSettings, sft

RECIPES = Path(__file__).parents[2] / "recipes"
FAMILY = {"groundset": "llava_next", "geoground": "llava", "skysensegpt": "llava", "qwen-grounding": "qwen2_5_vl"}
"""The small checkpoint that has the format of the recipe's own start."""


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("recipes")
    make_area(folder, side=320)
    return build(small_recipe(folder), folder / "dataset").folder


@pytest.mark.parametrize("name", sorted(p.parent.name for p in RECIPES.glob("*/sft.toml")))
def test_every_recipe_loads(name):
    load_settings(SftSettings, RECIPES / name / "sft.toml")


@pytest.mark.parametrize("name", FAMILY)
def test_its_own_family_learns_by_it(name, dataset, tmp_path):
    changes = ["epochs=0", "loop.steps=2", "loop.validate_every=2", "batch.images_per_step=2", "validate.share=0.3",
               "validate.per_task=2", "validate.max_new_tokens=4"]  # fmt: skip
    settings = load_settings(SftSettings, RECIPES / name / "sft.toml", changes)
    start = build_checkpoint(FAMILY[name], tmp_path / "start")
    side = 84 if settings.image_side else 0
    model = load_model(sft(replace(settings, dataset=(dataset,), start=str(start), image_side=side), tmp_path / "run"))
    assert model.dialect.name == (settings.dialect or model.family.dialect)
    assert not side or model.frame_for((100, 100)).size == (side, side)
    # frozen means frozen: nothing of the tower is in what was saved
    saved = load_file(tmp_path / "run" / "model" / "adapter_model.safetensors")
    assert saved and all(model.family.part_of(n.removeprefix("base_model.model.")) != "vision" for n in saved)
    assert (tmp_path / "run" / "best" / "adapter_model.safetensors").is_file()
    account = json.loads((tmp_path / "run" / "model" / "training.json").read_text())["questions"]
    assert account["turns"] >= 10


@pytest.mark.parametrize("name", FAMILY)
def test_the_launch_lines_of_its_readme_parse(name):
    blocks = (RECIPES / name / "README.md").read_text().split("```")[1::2]
    lines = [" ".join(block.replace("\\\n", " ").split()) for block in blocks]
    assert len(lines) == 3
    for line in lines:
        words = shlex.split(line.replace("-m georefer", "georefer"))
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        options = parser.parse_args(words[words.index("sft") + 1 :])
        load_settings(SftSettings, RECIPES.parent / options.recipe, options.overrides)
    assert (RECIPES.parent / shlex.split(lines[1])[3]).is_file()
