import json
import shutil
from dataclasses import replace

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from tests.data.area import make_area, small_recipe

from georefer.building.build import build
from georefer.errors import CheckpointError, DatasetError
from georefer.models import load_model
from georefer.models.tiny import TinySettings
from georefer.scenes import open_dataset
from georefer.training.adapters import TuneSettings
from georefer.training.batches import BatchSettings
from georefer.training.examples import WordSettings
from georefer.training.loop import LoopSettings
from georefer.training.sft import SftSettings, sft
from georefer.training.validation import ValidateSettings

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

    original = module.SftRun.step

    def dies(self, at):
        if at.step == 5:
            raise KeyboardInterrupt
        return original(self, at)

    monkeypatch.setattr(module.SftRun, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        sft(recipe(dataset), tmp_path / "cut")
    assert not (tmp_path / "cut" / "model").exists()
    monkeypatch.setattr(module.SftRun, "step", original)
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


def test_adapters_on_the_shipped_model_name_it_as_the_user_does(dataset, tmp_path):
    settings = recipe(dataset, start="tiny-synthetic", steps=1, tune=TuneSettings(rank=2), alignment_only=0.0)
    folder = sft(settings, tmp_path / "run")
    assert json.loads((folder / "georefer.json").read_text())["base"] == "tiny-synthetic"
    load_model(folder)


def test_validation_keeps_the_best_and_its_scenes_are_not_learned(dataset, tmp_path):
    loop = LoopSettings(steps=4, validate_every=2, warmup_steps=1)
    judged = ValidateSettings(share=0.4, per_task=3, max_new_tokens=8)
    whole = json.loads((sft(recipe(dataset, steps=1), tmp_path / "all") / "training.json").read_text())
    folder = sft(recipe(dataset, loop=loop, validate=judged), tmp_path / "run")
    record = json.loads((folder / "training.json").read_text())
    assert 0 < record["questions"]["turns"] < whole["questions"]["turns"]
    rows = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    judged_at = [row["step"] for row in rows if any(name.startswith("validation/") for name in row)]
    assert judged_at == [2, 4]
    load_model(tmp_path / "run" / "best")


def test_epochs_are_passes_over_the_questions(dataset, tmp_path):
    batch = BatchSettings(images_per_step=4, questions_per_image=100, order="epochs")
    record = json.loads((sft(recipe(dataset, batch=batch, epochs=2), tmp_path / "run") / "training.json").read_text())
    scenes = sum(1 for _ in open_dataset(dataset).scenes("train"))
    assert record["steps"] in (-(-2 * scenes // 4), 2 * -(-scenes // 4), 2 * scenes // 4)


def test_long_answers_are_counted_and_never_cut(dataset, tmp_path):
    short = WordSettings(max_tokens=24)
    record = json.loads((sft(recipe(dataset, steps=1, words=short), tmp_path / "run") / "training.json").read_text())
    asked = record["questions"]
    counted = [n for counts in asked["tasks"].values() for name, n in counts.items() if not name.startswith("parts")]
    assert sum(counted) == asked["questions"] > asked["turns"] > 0
    assert any("too long" in name for counts in asked["tasks"].values() for name in counts)


def test_a_task_that_is_asked_for_must_be_learned(dataset, tmp_path):
    too_short = recipe(dataset, words=WordSettings(max_tokens=13), task_weights={"rec": 2.0})
    with pytest.raises(DatasetError, match=r"none of the \d+ questions of the task rec can be learned"):
        sft(too_short, tmp_path / "run")
    with pytest.raises(DatasetError, match="hold no training question of the task res, which task_weights asks for"):
        sft(recipe(dataset, task_weights={"res": 1.0}), tmp_path / "run")


def test_a_task_without_weight_is_not_counted_as_learned(dataset, tmp_path):
    settings = recipe(dataset, steps=1, task_weights={"rec": 0.0})
    record = json.loads((sft(settings, tmp_path / "run") / "training.json").read_text())
    tasks = {question.task for question in open_dataset(dataset).questions("train")}
    assert "rec" in tasks and set(record["questions"]["tasks"]) == tasks - {"rec"}
    with pytest.raises(DatasetError, match="weight above 0"):
        sft(recipe(dataset, task_weights=dict.fromkeys(tasks, 0.0)), tmp_path / "none")


def test_a_broken_image_is_an_error_that_names_its_scene(dataset, tmp_path):
    copied = shutil.copytree(dataset, tmp_path / "broken")
    manifest = json.loads((copied / "manifest.json").read_text())
    name = next(n for n in manifest["files"] if n.startswith("scenes/train"))
    table = pq.read_table(copied / name)
    rows = table.to_pylist()
    for row in rows:
        row["image"]["bytes"] = row["image"]["bytes"][:50]
    pq.write_table(pa.Table.from_pylist(rows, table.schema), copied / name)
    manifest["files"][name]["bytes"] = (copied / name).stat().st_size
    (copied / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(DatasetError, match=f"scene .*{rows[0]['id'][:2]}"):
        sft(recipe(copied), tmp_path / "run")
