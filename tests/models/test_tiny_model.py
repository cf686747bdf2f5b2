"""The tiny model behind the Model contract, and checkpoints that do not hold what they should."""

import json
import shutil

import numpy as np
import pytest

from georefer.errors import CheckpointError
from georefer.models import MODELS, Ask, load_model
from georefer.models.tiny import TinySettings, create_tiny

SMALL = TinySettings(
    image_size=32, numbers=32, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16, 16)
)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    folder = tmp_path_factory.mktemp("model")
    create_tiny(SMALL, ["Find every ship. [1, 2, 3, 4] none"]).save(folder)
    return folder


def copy(saved, tmp_path):
    return shutil.copytree(saved, tmp_path / "copy")


def test_the_contract(saved):
    model = load_model(saved)
    frame = model.frame_for((640, 480))
    assert (frame.width, frame.height, frame.numbers_x) == (32, 32, 32)
    asks = [Ask(np.full((48, 64, 3), value, dtype=np.uint8), "Find every ship.") for value in (0, 250)]
    together, alone = model.generate(asks, 5), [model.generate([a], 5)[0] for a in asks]
    assert together == alone and all(isinstance(text, str) for text in together)


def test_the_name_tells_weights_apart(saved, tmp_path):
    other = tmp_path / "other"
    create_tiny(TinySettings(**{**vars(SMALL), "seed": 1}), ["Find every ship."]).save(other)
    assert load_model(saved).name == load_model(copy(saved, tmp_path)).name != load_model(other).name


def remove(name):
    return lambda folder: (folder / name).unlink()


def cut_weights(folder):
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def widen(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["intermediate_size"] *= 2
    (folder / "config.json").write_text(json.dumps(config))


def add_layer(folder):
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["num_hidden_layers"] += 1
    config["text_config"].pop("layer_types", None)
    (folder / "config.json").write_text(json.dumps(config))


def other_tokenizer(folder):
    other = folder.parent / "tokens"
    create_tiny(SMALL, ["Words that the other one never saw, many of them."]).save(other)
    shutil.copy(other / "tokenizer.json", folder / "tokenizer.json")


def babble_settings(folder):
    (folder / "tiny.json").write_text("{")


HARMS = [
    remove("tiny.json"),
    remove("model.safetensors"),
    cut_weights,
    widen,
    add_layer,
    other_tokenizer,
    babble_settings,
]


@pytest.mark.parametrize("number", range(len(HARMS)))
def test_a_checkpoint_that_does_not_match_is_refused(saved, tmp_path, number):
    folder = copy(saved, tmp_path)
    HARMS[number](folder)
    with pytest.raises(CheckpointError) as caught:
        load_model(folder)
    assert "\n" not in str(caught.value)


def test_a_name_that_is_nothing_lists_what_is_shipped():
    with pytest.raises(CheckpointError, match="shipped checkpoint"):
        load_model("no-such-model")


def test_every_family_has_a_loader():
    import importlib

    for target in MODELS.values():
        module, function = target.split(":")
        assert callable(getattr(importlib.import_module(module), function))
