import json
from dataclasses import replace

import pytest
import torch
from tests.data.area import make_area, small_recipe

from georefer.building.build import build
from georefer.errors import CheckpointError, DatasetError
from georefer.models import load_model
from georefer.models.tiny import TinySettings
from georefer.training.batches import BatchSettings
from georefer.training.loop import LoopSettings
from georefer.training.sft import SftSettings, sft

SMALL = TinySettings(
    image_size=64, numbers=64, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16, 16)
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sft")
    make_area(folder, side=320)
    return build(small_recipe(folder), folder / "dataset").folder


def recipe(folder, steps=6, **changes):
    settings = SftSettings(
        dataset=(folder,), alignment_only=0.3, alignment_weight=0.3, model=SMALL,
        batch=BatchSettings(images_per_step=3, questions_per_image=3),
        loop=LoopSettings(steps=steps, save_every=4, warmup_steps=2),
    )  # fmt: skip
    return replace(settings, **changes)


def weights(folder):
    from safetensors.torch import load_file

    return load_file(folder / "model.safetensors")


def test_training_leaves_a_model_that_answers(dataset, tmp_path):
    folder = sft(recipe(dataset), tmp_path / "run")
    model = load_model(folder)
    from georefer.models import Ask
    from georefer.scenes import open_dataset

    scene = next(open_dataset(dataset).scenes("test"))
    (answer,) = model.generate([Ask(scene.pixels(), "Find every house.")], 8)
    assert isinstance(answer, str)
    record = json.loads((folder / "training.json").read_text())
    assert record["steps"] == 6 and record["settings"]["batch"]["images_per_step"] == 3
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert "alignment_words" in rows[0] and "answers" not in rows[0]  # image tokens alone come first


def test_more_training_goes_on_and_equals_one_go(dataset, tmp_path, monkeypatch):
    whole = sft(recipe(dataset), tmp_path / "whole")

    import georefer.training.sft as module

    original = module._Run.step

    def dies(self, at):
        if at.step == 5:
            raise KeyboardInterrupt
        return original(self, at)

    monkeypatch.setattr(module._Run, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        sft(recipe(dataset), tmp_path / "cut")
    assert not (tmp_path / "cut" / "model").exists()
    monkeypatch.setattr(module._Run, "step", original)
    resumed = sft(recipe(dataset), tmp_path / "cut")
    one, other = weights(whole), weights(resumed)
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_can_start_from_a_model(dataset, tmp_path):
    first = sft(recipe(dataset, steps=2), tmp_path / "first")
    still = LoopSettings(steps=1, learning_rate=0.0)
    second = sft(recipe(dataset, start=str(first), loop=still), tmp_path / "second")
    one, other = weights(first), weights(second)
    # nothing is learned at a rate of zero; the statistics of normalisation move all the same
    learned = [name for name in one if "running" not in name and "num_batches" not in name]
    assert learned and all(torch.equal(one[name], other[name]) for name in learned)


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"dataset": ()}, DatasetError, "no dataset"),
        ({"start": "nowhere"}, CheckpointError, "nowhere holds no tiny.json"),
    ],
)
def test_what_cannot_be_is_said_before_training(dataset, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        sft(recipe(dataset, **changes), tmp_path / "run")


def test_a_folder_that_is_no_dataset_is_refused(tmp_path):
    with pytest.raises(DatasetError, match=r"has no manifest\.json"):
        sft(recipe(tmp_path), tmp_path / "run")


@pytest.mark.parametrize("changes", [{"alignment_only": 1.0}, {"task_weights": {"juggling": 1.0}}])
def test_settings_out_of_range_are_refused(dataset, changes):
    with pytest.raises(ValueError):
        recipe(dataset, **changes)
