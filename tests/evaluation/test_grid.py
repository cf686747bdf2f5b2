"""The grid of few-shot learning: every arm from one start over one draw, judged alike, gone on with."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.data.area import make_area, small_recipe

from georefer.building.build import build
from georefer.cli import main
from georefer.errors import InputError
from georefer.evaluation import grid as module
from georefer.evaluation.grid import Arm, GridSettings, grid
from georefer.models.tiny import TinySettings, create_tiny, with_words
from georefer.scenes import open_dataset
from georefer.tasks import TASKS
from georefer.training.adapters import TuneSettings
from georefer.training.batches import BatchSettings
from georefer.training.grpo_settings import DrawSettings, GrpoSettings
from georefer.training.loop import LoopSettings
from georefer.training.sft import SftSettings
from georefer.training.thoughts import FilterSettings

SMALL = TinySettings(
    image_size=64, numbers=64, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16, 16)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grid")
    make_area(folder, side=320)
    recipe = small_recipe(folder)
    return build(replace(recipe, ask=replace(recipe.ask, think=True)), folder / "dataset").folder


@pytest.fixture(scope="module")
def settings(data, tmp_path_factory):
    folder = tmp_path_factory.mktemp("start")
    model = with_words(create_tiny(SMALL, ["where is the building"]), ["<think></think><answer>"], "georefer-think")
    model.save(folder)
    loop = LoopSettings(learning_rate=1e-3, warmup_steps=0)
    return GridSettings(
        start=str(folder), dataset=data, tests={"home": data, "away": data}, against="sft", shots=(1, 2), seeds=(0, 1),
        steps=1, batch=BatchSettings(images_per_step=2, questions_per_image=1), max_new_tokens=96, limit=2,
        arms={
            "start": Arm(), "sft": Arm("sft"), "sft-thoughts": Arm("sft", "asked", lora=True),
            "sft-filtered": Arm("sft", "filtered"), "rl": Arm("grpo"),
            "rl-thinks": Arm("grpo", "asked", learning_rate=2e-3),
            "both": Arm("grpo", steps=2, after="sft"), "lost": Arm("grpo", after="sft-filtered"),
        },
        sft=SftSettings(loop=loop), grpo=GrpoSettings(rewards={"iou": 1.0}, loop=loop, draw=DrawSettings(answers=2)),
        adapters=TuneSettings(vision="frozen", projector="full", rank=2, alpha=2),
        filter=FilterSettings(reward="iou", draw=DrawSettings(answers=2)),
    )  # fmt: skip


@pytest.fixture(scope="module")
def done(settings, tmp_path_factory):
    out = tmp_path_factory.mktemp("done") / "grid"
    return out, grid(settings, out)


def test_every_arm_stands_in_every_table(settings, done):
    out, text = done
    assert (out / "grid.md").read_text() == text
    cells = json.loads((out / "grid.json").read_text())["cells"]
    # the random start thinks its way to nothing, so that arm has nothing to learn
    arms = [arm for arm in settings.arms if arm not in ("sft-filtered", "lost")]
    assert [(c["test"], c["shots"], c["arm"]) for c in cells] == [
        (test, shots, arm) for test in ("home", "away") for shots in (1, 2) for arm in arms
    ]
    assert all((c["beside"] is None) == (c["arm"] == "sft") and c["seeds"] == 2 for c in cells)
    (cell,) = [c for c in cells if (c["test"], c["shots"], c["arm"]) == ("home", 2, "rl")]
    files = [out / f"runs/rl/2/seed-{seed}/on-home/rows.jsonl" for seed in settings.seeds]
    rows = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert cell["readable"] == pytest.approx(sum(row["readable"] for row in rows) / len(rows))
    assert all(f"| {arm} |" in text for arm in arms) and "| sft-filtered |" not in text
    assert (
        text.count("Left out, with nothing to learn from: `sft-filtered` (0 of 2 seeds), `lost` (0 of 2 seeds).") == 4
    )
    spent = json.loads((out / "grid.json").read_text())["spent"]
    assert {arm: told["answers"] for arm, told in spent.items()} == {
        "start": 0, "sft": 2, "sft-thoughts": 2, "sft-filtered": 0, "rl": 4, "rl-thinks": 4,
        "both": 10, "lost": 0,
    }  # fmt: skip


def test_all_arms_learn_from_one_draw_and_are_asked_the_same(settings, done):
    out, _ = done
    asked = {}
    for seed in settings.seeds:
        for shots in settings.shots:
            kinds = ("bare", "thinking")
            ids = [
                [q.id for q in open_dataset(out / f"sets/seed-{seed}/shot-0{shots}-{k}").questions("train")]
                for k in kinds
            ]
            assert ids[0] == ids[1]
            asked[seed, shots] = set(ids[0])
        assert asked[seed, 1] < asked[seed, 2]
    prompts = {}
    for arm in ("start", "sft", "rl", "sft-thoughts", "rl-thinks"):
        folder = out / "runs" / module.Run(arm, *((0, 0) if arm == "start" else (2, 1))).folder / "on-home"
        rows = [json.loads(line) for line in (folder / "answers.jsonl").read_text().splitlines()]
        prompts[arm] = {row["id"]: row["prompt"] for row in rows}
    assert prompts["start"] == prompts["sft"] == prompts["rl"]
    assert prompts["sft-thoughts"] == prompts["rl-thinks"] and prompts["rl"].keys() == prompts["rl-thinks"].keys()
    assert all("think" in text for text in prompts["rl-thinks"].values())
    assert not any("think" in text for text in prompts["rl"].values())


def test_an_arm_goes_on_from_another_s_model(settings, tmp_path):
    arms = {"sft": Arm("sft"), "both": Arm("grpo", after="sft")}
    kept = replace(
        settings, arms=arms, seeds=(0,), shots=(1,), tests={"home": settings.tests["home"]}, keep_models=True
    )
    grid(kept, tmp_path)
    runs = {arm: tmp_path / "runs" / module.Run(arm, 1, 0).folder for arm in arms}
    begun = json.loads((runs["both"] / "model" / "training.json").read_text())["settings"]["start"]
    assert begun == str(runs["sft"] / "model")


def test_thoughts_that_are_learned_are_the_dataset_s_own(settings, done, data):
    out, _ = done
    learned = {q.id: q.params["thought"] for q in open_dataset(out / "sets/seed-0/shot-02-thinking").questions("train")}
    written = {q.id: q.params.get("thought", "look") for q in open_dataset(data).questions("train")}
    assert learned == {id_: written[id_] for id_ in learned} and all(text != "look" for text in learned.values())
    assert set(TASKS) >= {settings.task}


def test_what_is_done_is_not_done_again_and_what_is_missing_is(settings, done, monkeypatch):
    out, text = done
    with monkeypatch.context() as patch:
        patch.setattr(module, "sft", None)
        patch.setattr(module, "grpo", None)
        assert grid(settings, out) == text
    assert not list(out.glob("runs/**/model")) and not list(out.glob("runs/**/state"))
    (out / "runs/rl/2/seed-1/done.json").unlink()
    assert grid(settings, out).count("| rl |") == 4
    assert (out / "runs/rl/2/seed-1/done.json").is_file()


def test_another_grid_is_refused_in_the_folder(settings, done):
    with pytest.raises(InputError, match="a grid of other settings"):
        grid(replace(settings, steps=2), done[0])


def test_settings_may_be_mended_while_nothing_is_done(settings, tmp_path):
    few = replace(
        settings, arms={"sft": Arm("sft")}, against="", seeds=(0,), shots=(1,), tests={"home": settings.dataset}
    )
    with pytest.raises(InputError):
        grid(replace(few, start=str(tmp_path / "nowhere")), tmp_path / "out")
    assert "| sft |" in grid(few, tmp_path / "out")


def test_nothing_of_others_is_cleared(settings, tmp_path):
    """Neither a project that happens to have a settings.json nor a run that was stopped on its way."""
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "mine.txt").write_text("kept")
    (tmp_path / "settings.json").write_text('{"editor": "mine"}')
    with pytest.raises(InputError, match="a grid of other settings"):
        grid(settings, tmp_path)
    assert (tmp_path / "tests" / "mine.txt").read_text() == "kept"
    begun = tmp_path / "begun"
    (begun / "runs/sft/1/seed-0/state").mkdir(parents=True)
    (begun / "settings.json").write_text(json.dumps(module.to_plain(replace(settings, steps=7)), default=str))
    with pytest.raises(InputError, match="a grid of other settings"):
        grid(settings, begun)
    assert (begun / "runs/sft/1/seed-0/state").is_dir()


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"against": "nobody"}, "which is no arm"),
        ({"arms": {}}, "at least one of arms"),
        ({"task": "tea"}, "there is no task 'tea'"),
        ({"arms": {"rl": Arm("grpo", after="sft"), "sft": Arm("sft")}, "against": ""}, "named before it"),
        ({"arms": {"a": Arm(), "rl": Arm("grpo", after="a")}, "against": ""}, "a trained arm"),
        ({"seeds": ()}, "at least one seed"),
    ],
)
def test_wrong_settings(settings, change, says):
    with pytest.raises(ValueError, match=says):
        replace(settings, **change)
    with pytest.raises(ValueError, match="for the method sft alone"):
        Arm("grpo", "filtered")
    with pytest.raises(ValueError, match="not none"):
        Arm(after="sft")


def test_the_recipe_is_read(capsys, tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "few-shot-grid" / "grid.toml"
    said = main(["grid", str(recipe), str(tmp_path / "out"), "--base", str(tmp_path), "--set", "start=nowhere"])
    assert said == 2 and "nowhere" in capsys.readouterr().err
