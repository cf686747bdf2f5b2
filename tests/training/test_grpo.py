import argparse
import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from tests.data.area import make_area, small_recipe
from tests.data.checkpoints import build as build_checkpoint

from georefer.building.build import build
from georefer.cli import grpo as verb
from georefer.cli import main
from georefer.config import load_settings
from georefer.errors import CheckpointError, DatasetError, InputError
from georefer.models import load_model
from georefer.models.tiny import TinySettings
from georefer.scenes import open_dataset
from georefer.training import grpo as module
from georefer.training.adapters import TuneSettings, prepare
from georefer.training.batches import BatchSettings
from georefer.training.grpo import GrpoRun, grpo
from georefer.training.grpo_settings import DrawSettings, GrpoSettings
from georefer.training.loop import LoopSettings, Progress
from georefer.training.prompts import PromptMaker
from georefer.training.rollout_model import BegunWeights, answering, learning
from georefer.training.rollout_store import RolloutStore
from georefer.training.rollouts import answer_logprobs
from georefer.training.sft import SftSettings, sft
from georefer.training.validation import ValidateSettings

SMALL = TinySettings(
    image_size=64, numbers=64, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16, 16)
)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    folder = tmp_path_factory.mktemp("grpo")
    make_area(folder, side=320)
    return build(small_recipe(folder), folder / "dataset").folder


@pytest.fixture(scope="module")
def start(dataset, tmp_path_factory):
    """A model that knows next to nothing."""
    settings = SftSettings(
        dataset=(dataset,), model=SMALL, batch=BatchSettings(images_per_step=2, questions_per_image=2),
        loop=LoopSettings(steps=3, learning_rate=3e-3),
    )  # fmt: skip
    return sft(settings, tmp_path_factory.mktemp("start"))


@pytest.fixture(scope="module")
def rewards(tmp_path_factory):
    """Functions of an answer, as a user writes them."""
    path = tmp_path_factory.mktemp("rewards") / "rewards.py"
    path.write_text(
        "def commas(answer): return answer.text.count(',') / max(len(answer.text), 1)\n"
        "def short(answer): return max(0, 1 - len(answer.text) / 200)\n"
        "def even(answer): return float(len(answer.text) % 2)\n"
        "def same(answer): return 0.5\n"
        "def nan(answer): return float('nan')\n"
        "def large(answer): return 3.0\n"
        "def raises(answer): return 1 / 0\n"
    )
    return lambda name: f"{path}:{name}"


@pytest.fixture
def recipe(dataset, start, rewards):
    def make(**changes):
        loop = LoopSettings(steps=4, save_every=3, warmup_steps=0, learning_rate=1e-3, metrics_every=1)
        settings = GrpoSettings(
            dataset=(dataset,), start=str(start), rewards={rewards("short"): 1.0}, task_weights={"presence": 0.0},
            draw=DrawSettings(answers=3, max_new_tokens=12), loop=loop, std_floor=0.0,
            batch=BatchSettings(images_per_step=3, questions_per_image=2),
        )  # fmt: skip
        return replace(settings, **changes)

    return make


def run_of(settings, folder):
    """A run before its first step."""
    model = load_model(settings.start)
    model.family.model.eval()
    prepare(model.family, settings.tune or module.FULL)
    prompts, _ = PromptMaker(model, settings.task_weights, settings.draw.max_new_tokens).read(
        [open_dataset(f) for f in settings.dataset]
    )
    return GrpoRun(settings, model, prompts, folder)


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def weights(folder):
    return load_file(folder / "model.safetensors")


# --- a run --------------------------------------------------------------------------------------------------------


def test_what_earns_more_is_said_more(recipe, rewards, tmp_path):
    loop = LoopSettings(steps=25, learning_rate=1e-2, warmup_steps=0, metrics_every=1)
    folder = grpo(recipe(loop=loop, rewards={rewards("commas"): 1.0}), tmp_path)
    rewards = [row["reward"] for row in rows_of(tmp_path / "metrics.jsonl")]
    assert np.mean(rewards[-5:]) > 2 * np.mean(rewards[:5])
    assert load_model(folder).dialect.name == "georefer"
    record = json.loads((folder / "training.json").read_text())
    assert record["steps"] == 25 and record["settings"]["draw"]["answers"] == 3
    page = (tmp_path / "rollouts.html").read_text()
    assert page.count("<section>") == 24 and "data:image/jpeg" in page and "<path" in page
    first = rows_of(tmp_path / "rollouts.jsonl")[0]
    assert first["step"] == 0 and len(first["answers"]) == 3 and first["task"] != "presence"


@pytest.mark.parametrize(
    "updates, dies_at",
    [
        (1, 2),
        (2, 3),  # between two steps that learn from the same answers, where the state is older than the death
        (3, 4),
    ],
)
def test_a_run_that_goes_on_equals_one_that_never_stopped(recipe, tmp_path, monkeypatch, updates, dies_at):
    settings = recipe(updates=updates, loop=replace(recipe().loop, steps=6, save_every=1), kl_weight=0.05)
    whole = grpo(settings, tmp_path / "whole")
    original = GrpoRun.step

    def dies(self, at):
        if at.step == dies_at:
            raise KeyboardInterrupt
        return original(self, at)

    monkeypatch.setattr(GrpoRun, "step", dies)
    with pytest.raises(KeyboardInterrupt):
        grpo(settings, tmp_path / "cut")
    monkeypatch.setattr(GrpoRun, "step", original)
    one, other = weights(whole), weights(grpo(settings, tmp_path / "cut"))
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert rows_of(tmp_path / "whole" / "rollouts.jsonl") == rows_of(tmp_path / "cut" / "rollouts.jsonl")


def test_kept_answers_that_are_gone_are_missed(recipe, tmp_path, monkeypatch):
    settings = recipe(updates=2, loop=replace(recipe().loop, steps=4, save_every=1))
    grpo(replace(settings, loop=replace(settings.loop, max_minutes=1e-9)), tmp_path)  # no step
    run = run_of(settings, tmp_path / "none")
    with pytest.raises(CheckpointError, match="does not hold the answers"):
        run.step(Progress(1, 0.0, 0.0))


@pytest.mark.parametrize("method", ["grpo", "dr_grpo", "dapo", "bnpo", "gspo", "gdpo"])
def test_every_method_learns(recipe, rewards, tmp_path, method):
    both = {rewards("short"): 1.0, rewards("even"): 0.5}
    folder = grpo(recipe(method=method, rewards=both, loop=replace(recipe().loop, steps=1)), tmp_path)
    one, other = weights(folder), weights(Path(recipe().start))
    assert any(not torch.equal(one[name], other[name]) for name in one)


def test_adapters_learn_and_the_best_is_kept(recipe, tmp_path):
    settings = recipe(
        tune=TuneSettings(projector="frozen", rank=2, alpha=4), kl_weight=0.1,
        validate=ValidateSettings(share=0.3, per_task=2, max_new_tokens=4),
    )  # fmt: skip
    folder = grpo(settings, tmp_path)
    assert (folder / "adapter_model.safetensors").is_file() and (tmp_path / "best").is_dir()
    rows = [row for row in rows_of(tmp_path / "metrics.jsonl") if "kl" in row]
    assert rows[0]["kl"] == pytest.approx(0, abs=1e-6) and rows[-1]["kl"] > 0


@pytest.mark.parametrize("kind", ["tiny", "llava"])
def test_adapters_are_reinforced_merged_and_evaluated(dataset, start, rewards, tmp_path, kind):
    """By the verbs alone; what is said on the way goes by the dialect that the recipe names."""
    base, dialect = (
        (start, "georefer") if kind == "tiny" else (build_checkpoint("llava", tmp_path / "base"), "groundset")
    )
    (tmp_path / "grpo.toml").write_text(f'updates = 2\nkl_weight = 0.1\n[rewards]\n"{rewards("even")}" = 1.0\n')
    changes = ["tune.projector=frozen", "tune.rank=2", "tune.alpha=4", "loop.steps=4", "loop.learning_rate=0.03",
               "loop.warmup_steps=0", "batch.images_per_step=2", "draw.answers=4", "draw.max_new_tokens=30",
               "task_weights.detection=0", *([] if kind == "tiny" else [f"dialect={dialect}"])]  # fmt: skip
    run, merged = tmp_path / "run", tmp_path / "merged"
    sets = [word for change in changes for word in ("--set", change)]
    assert (
        main(["grpo", str(tmp_path / "grpo.toml"), str(run), "--dataset", str(dataset), "--start", str(base), *sets])
        == 0
    )
    divergence = [row["kl"] for row in rows_of(run / "metrics.jsonl") if "kl" in row]
    assert divergence[0] == pytest.approx(0, abs=1e-6) and divergence[-1] > 1e-6
    assert main(["merge", str(run), str(merged)]) == 0
    assert not (merged / "adapter_config.json").exists() and load_model(merged).dialect.name == dialect
    one, other = weights(merged), weights(base)
    assert any(not torch.equal(one[name], other[name]) for name in one if "language_model" in name)
    said = []
    for model in (run / "model", merged):
        out = tmp_path / f"scores-{model.name}"
        assert (
            main(["evaluate", str(model), str(dataset), str(out), "--set", "limit=4", "--set", "max_new_tokens=8"]) == 0
        )
        said.append([row["text"] for row in rows_of(out / "answers.jsonl")])
    assert said[0] == said[1] and said[0]


# --- equal groups -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how, parts", [("skip", 1), ("resample", 1), ("keep", None)])
def test_groups_that_earned_all_the_same_teach_nothing(recipe, rewards, tmp_path, how, parts):
    """Not even by the divergence, which in TRL still moves the model there; they are counted."""
    run = run_of(recipe(rewards={rewards("same"): 1.0}, equal_groups=how, kl_weight=0.1), tmp_path)
    shaken(run.model)
    work = run.step(Progress(0, 0.0, 0.0))
    found = [part.sums() for part in work.parts]
    assert float(found[0]["equal_groups"]) == work.parts[0].counts["equal_groups"] >= 3
    if parts:
        assert len(work.parts) == parts  # what is recorded, and nothing to learn
    else:
        assert len(work.parts) > 1 and sum(float(f["kl"].detach()) for f in found[1:]) > 0
        assert sum(abs(float(f["policy"].detach())) for f in found[1:]) < 1e-6


def test_other_questions_are_drawn_for_equal_groups(recipe, rewards, tmp_path):
    runs = [run_of(recipe(equal_groups=how, rewards={rewards("even"): 1.0}), tmp_path) for how in ("skip", "resample")]
    questions = [run.step(Progress(0, 0.0, 0.0)).parts[0].counts["equal_groups"] for run in runs]
    learned = [sum(not r.is_equal for m in run.held[1] for r in m.rollouts) for run in runs]
    assert questions[1] > questions[0] and learned[1] > learned[0]


def test_a_reward_all_the_same_ends_a_run_without_a_change(recipe, rewards, tmp_path):
    one, other = weights(grpo(recipe(rewards={rewards("same"): 1.0}), tmp_path)), weights(Path(recipe().start))
    assert all(torch.equal(one[name], other[name]) for name in one)


# --- what is learned from -----------------------------------------------------------------------------------------


def test_any_number_of_processes_draws_the_same(recipe, tmp_path):
    run = run_of(recipe(), tmp_path)
    with answering(run.model.family, run.settings.loop):
        alone = run.answerer.answered(4, Progress(4, 0.0, 0.0))
        shared = [run.answerer.answered(4, Progress(4, 0.0, 0.0, rank, 2)) for rank in (0, 1)]
    said = [
        sorted((r.asked.id, *r.texts, *map(str, np.round(r.advantage_G, 5))) for m in micros for r in m.rollouts)
        for micros in (alone, [*shared[0], *shared[1]])
    ]
    assert said[0] == said[1] and shared[0] and shared[1]


def test_kept_answers_are_shared_among_any_number_of_processes(recipe, tmp_path):
    """A state between two steps that learn from the same answers may be gone on from by more processes or fewer."""
    settings = recipe(updates=2)
    settings = replace(settings, batch=replace(settings.batch, images_per_step=5, tokens_at_once=150))
    drawn = []
    for rank in (0, 1):
        run = run_of(settings, tmp_path)
        run.step(Progress(0, 0.0, 0.0, rank, 2))
        drawn += [r for micro in run.held[1] for r in micro.rollouts]
    assert len(drawn) == 10
    (tmp_path / "rollouts" / "00000000-0-of-4.json").touch()  # of four, killed before the others wrote
    for world in (1, 2, 3):
        kept = []
        for rank in range(world):
            store = RolloutStore(tmp_path, 2, rank, world)
            kept += [r for _, some in store.read(0, run.answerer.prompts) for r in some]
        assert sorted((r.asked.id, r.texts) for r in kept) == sorted((r.asked.id, r.texts) for r in drawn)


LORA = TuneSettings(projector="frozen", rank=2, alpha=4, dropout=0.5)


def shaken(model):
    """The trained weights, moved: an adapter does nothing before it has learned."""
    moved_by = torch.Generator().manual_seed(0)
    for parameter in model.family.model.parameters():
        if parameter.requires_grad:
            parameter.data += 0.1 * torch.randn(parameter.shape, generator=moved_by)


@pytest.mark.parametrize("tune", [None, LORA])
def test_the_model_learns_with_the_probabilities_with_which_it_drew(recipe, tmp_path, tune):
    """Batch norms of the whole model, and the dropout of adapters, would change them."""
    run = run_of(recipe(tune=tune, updates=2), tmp_path)
    shaken(run.model)
    run.model.family.model.train()
    parts = run.step(Progress(0, 0.0, 0.0)).parts[1:]
    # where no probability has changed, what the better half gains is what the other loses
    assert parts and max(abs(float(part.sums()["policy"].detach())) for part in parts) < 1e-3
    assert max(abs(r.advantage_G).max() for m in run.held[1] for r in m.rollouts) > 0.5


def test_the_reference_is_the_model_with_its_adapter_switched_off(recipe, tmp_path):
    run = run_of(recipe(tune=LORA), tmp_path)
    family = run.model.family
    begun = BegunWeights(family)
    shaken(run.model)
    learning(family)
    run.step(Progress(0, 0.0, 0.0))
    micro = run.held[1][0]

    def found():
        with torch.no_grad():
            return answer_logprobs(run.model, micro.seen, micro.rollouts, 1.0)[0]

    now_BT = found()
    with begun.back():
        then_BT = found()
    with family.model.disable_adapter():
        off_BT = found()
    assert torch.equal(then_BT, off_BT) and torch.equal(found(), now_BT)
    assert (now_BT - off_BT).abs().max() > 1e-3


def test_answers_cut_off_can_be_left_out(recipe, tmp_path):
    runs = [run_of(recipe(cut_answers=how, equal_groups="keep"), tmp_path) for how in ("learn", "leave out")]
    counts = [sum(part.counts.get("policy", 0) for part in run.step(Progress(0, 0.0, 0.0)).parts) for run in runs]
    cut = sum(d.is_cut for m in runs[0].held[1] for r in m.rollouts for d in r.answers)
    assert cut > 0 and counts[0] - counts[1] == cut


def test_long_answers_lose_by_degrees(recipe, tmp_path):
    run = run_of(recipe(overlong=12), tmp_path)
    run.step(Progress(0, 0.0, 0.0))
    for rollout in (r for m in run.held[1] for r in m.rollouts):
        lengths_G = np.array([len(d.ids) for d in rollout.answers])
        assert rollout.total_G == pytest.approx(rollout.earned_GK[:, 0] - lengths_G / 12)


# --- bad input ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name, says", [("nan", "gave nan"), ("large", r"gave 3\.0, outside 0 to 1"), ("raises", "raised")]
)
def test_a_bad_reward_is_named_before_the_first_step(recipe, rewards, tmp_path, name, says):
    with pytest.raises(InputError, match=says) as error:
        grpo(recipe(rewards={rewards(name): 1.0}), tmp_path)
    assert f":{name}" in str(error.value) and not (tmp_path / "metrics.jsonl").exists()


def test_a_reward_that_lacks_what_it_needs_is_named(recipe, tmp_path):
    with pytest.raises(InputError, match="the reward graph"):
        grpo(recipe(rewards={"graph": 1.0}), tmp_path)


def test_rewards_go_by_task(recipe, rewards, tmp_path):
    settings = recipe(task_rewards={"detection": {"f1": 1.0}}, task_weights={})
    run = run_of(replace(settings, task_weights={"presence": 0.0}), tmp_path)
    names = run.answerer.earnings.names
    for task in ("rec", "detection"):
        weights_K = dict(zip(names, run.answerer.earnings.weights_K(task), strict=True))
        assert weights_K["f1"] == (task == "detection")


@pytest.mark.parametrize(
    "changes, error, message",
    [
        ({"dataset": ()}, DatasetError, "no dataset"),
        ({"start": "nowhere"}, CheckpointError, "nowhere holds no"),
        # nothing true can be said in so few tokens
        ({"draw": DrawSettings(answers=2, max_new_tokens=1)}, DatasetError, "longer than max_new_tokens"),
        ({"rewards": {"unheard": 1.0}}, Exception, "unheard"),
    ],
)
def test_what_cannot_be_is_said_before_training(recipe, tmp_path, changes, error, message):
    with pytest.raises(error, match=message):
        grpo(recipe(**changes), tmp_path)


def test_shards_are_refused(recipe, tmp_path, monkeypatch):
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(Exception, match="FSDP was asked for"):
        grpo(recipe(), tmp_path)


@pytest.mark.parametrize(
    "changes",
    [{"task_weights": {"juggling": 1.0}}, {"updates": 0}, {"std_floor": -1.0}, {"overlong": 99}, {"rewards": {}}],
)
def test_settings_out_of_range_are_refused(recipe, changes):
    with pytest.raises(ValueError):
        recipe(**changes)


# --- recipes ------------------------------------------------------------------------------------------------------

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.parent.name for path in RECIPES.glob("*/grpo.toml"))


@pytest.mark.parametrize("name", NAMES)
def test_every_recipe_loads_and_so_do_the_launch_lines_of_its_readme(name):
    load_settings(GrpoSettings, RECIPES / name / "grpo.toml")
    blocks = (RECIPES / name / "README.md").read_text().split("```")[1::2]
    lines = [shlex.split(line) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines = [words for words in lines if "grpo" in words]
    assert lines
    for words in lines:
        parser = argparse.ArgumentParser()
        verb.add_arguments(parser)
        options = parser.parse_args(words[words.index("grpo") + 1 :])
        load_settings(GrpoSettings, RECIPES.parent / options.recipe, options.overrides)


def test_geo_r1_learns_by_thoughts_in_its_own_family(dataset, tmp_path):
    start = build_checkpoint("qwen2_5_vl", tmp_path / "start")
    changes = [f"start={start}", "loop.steps=2", "batch.images_per_step=2", "draw.max_new_tokens=150", "draw.answers=2"]
    settings = load_settings(GrpoSettings, RECIPES / "geo-r1" / "grpo.toml", changes)
    folder = grpo(replace(settings, dataset=(dataset,)), tmp_path / "run")
    assert (folder / "adapter_model.safetensors").is_file()
    row = rows_of(tmp_path / "run" / "rollouts.jsonl")[0]
    assert "<think>" in row["prompt"] and set(row["answers"][0]["rewards"]) == {"geo-r1-format", "geo-r1-iou"}
