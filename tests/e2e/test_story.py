"""The whole story at small size: every verb, on a made-up area and on real imagery."""

import json
import re
from pathlib import Path

import geopandas
import numpy as np
import pytest
from PIL import Image

from georefer.building.recipe import BuildSettings
from georefer.cli import main
from georefer.cli.demo import SynthSettings
from georefer.config import load_settings
from georefer.evaluation import EvaluateSettings
from georefer.evaluation.grid import GridSettings
from georefer.inference.sweep import SweepSettings
from georefer.training.grpo_settings import GrpoSettings
from georefer.training.sft import SftSettings

REPOSITORY = Path(__file__).parents[2]
RECIPES = REPOSITORY / "recipes"
OWNERS = {
    "synth": SynthSettings, "build": BuildSettings, "sft": SftSettings, "evaluate": EvaluateSettings,
    "sweep": SweepSettings, "grpo": GrpoSettings, "grid": GridSettings, "start": SftSettings,
}  # fmt: skip

SMALL_SFT = """
alignment_only = 0.3
[batch]
images_per_step = 2
questions_per_image = 2
[loop]
steps = 4
[model]
width = 32
heads = 2
text_layers = 1
text_mlp = 32
stem_widths = [8, 8, 16, 16]
"""


@pytest.mark.parametrize("path", sorted(RECIPES.glob("*/*.toml")), ids=lambda p: f"{p.parent.name}/{p.name}")
def test_every_recipe_loads(path):
    settings = load_settings(OWNERS[path.stem], path)
    assert settings is not None
    assert path.read_text().startswith("#"), "a recipe begins with a comment that says what it does"


def small_recipes(name: str, folder: Path, changes: dict[str, str]) -> Path:
    """A recipe folder of the repository with small training and some values replaced."""
    folder.mkdir()
    for path in (RECIPES / name).glob("*.toml"):
        text = SMALL_SFT if path.stem == "sft" else path.read_text()
        for pattern, value in changes.items():
            text = re.sub(pattern, value, text, flags=re.M)
        (folder / path.name).write_text(text.replace("../../../shared", str(REPOSITORY.parent / "shared")))
    return folder


def check_results(out: Path, labels: set[str]) -> geopandas.GeoDataFrame:
    """What every story leaves behind, read by other programs than ours where there are some."""
    scores = json.loads((out / "evaluation" / "scores.json").read_text())
    assert set(scores["tasks"]) >= {"rec", "detection"}
    assert (out / "evaluation" / "blind" / "scores.json").is_file()
    answers = (out / "evaluation" / "answers.jsonl").read_text().splitlines()
    assert len(answers) > 3 and all("text" in json.loads(line) for line in answers)
    assert "<html" in (out / "evaluation" / "report.html").read_text()
    assert (out / "train" / "model" / "model.safetensors").is_file()
    assert np.asarray(Image.open(out / "map" / "overlay.png")).std() > 5
    found = geopandas.read_file(out / "map" / "found.gpkg", layer="found")
    geopandas.read_file(out / "map" / "found.gpkg", layer="failures")
    assert set(found.get("label", [])) <= labels
    geojson = json.loads((out / "map" / "found.geojson").read_text())
    assert geojson["type"] == "FeatureCollection" and "crs" not in geojson
    assert len(geojson["features"]) == len(found)
    return found


def test_a_made_up_area(tmp_path, capsys):
    recipes = small_recipes(
        "demo",
        tmp_path / "recipes",
        {r"^size = .*": "size = 1024", r"^block_m = .*": "block_m = 60", r"^stride = .*": "stride = 1"},
    )
    assert main(["demo", str(recipes), str(tmp_path / "out")]) == 0
    said = capsys.readouterr().out
    assert "found " in said and "blind" in said and "try next" in said
    check_results(tmp_path / "out", {"building", "plane", "ship", "storage tank", "swimming pool", "tennis court"})
    # a second time nothing is done again: the same folder, the same words
    assert main(["demo", str(recipes), str(tmp_path / "out")]) == 0
    assert main(["score", str(tmp_path / "out" / "evaluation")]) == 0
    assert main(["inspect", str(tmp_path / "out" / "dataset"), "--scenes", "2"]) == 0
    model, image = tmp_path / "out" / "train" / "model", tmp_path / "out" / "area" / "image.tif"
    assert main(["ask", str(model), str(image), "--find", "building", "--window", "100", "100", "256", "256"]) == 0
    assert main(["ask", str(model), str(image), "--find", "building", "--window", "1000", "0", "256", "256"]) == 2


@pytest.mark.shared
def test_real_imagery_with_real_labels(tmp_path, shared_data):
    assert shared_data.is_dir()
    recipes = small_recipes(
        "banepa", tmp_path / "recipes", {r"^gsd_m = .*": "gsd_m = 0.5", r"^orientations = .*": "orientations = 1"}
    )
    assert main(["demo", str(recipes), str(tmp_path / "out")]) == 0
    found = check_results(tmp_path / "out", {"building"})
    assert found.crs.to_epsg() == 4326
    manifest = json.loads((tmp_path / "out" / "dataset" / "manifest.json").read_text())
    assert manifest["features"]["osm_buildings: used"] == 971
    assert manifest["train_test_overlap_px"] == 0
    assert (manifest["grid"]["width"], manifest["grid"]["height"]) == (2048, 4096)
