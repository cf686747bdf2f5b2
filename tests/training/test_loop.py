"""One process: what a step's parts add up to, what stops a run, what is judged best, and that nothing grows."""

import gc
import json
import math
import os
import signal
import sys
from dataclasses import replace

import pytest
import torch
from torch import nn

from georefer.errors import CheckpointError, ConfigError, DatasetError
from georefer.training.loop import LoopSettings, Part, Progress, Work, train

SETTINGS = LoopSettings(steps=12, save_every=3, warmup_steps=2, learning_rate=0.05, precision="float32")


class Killed(Exception):
    pass


def make(seed=0):
    torch.manual_seed(seed)
    return {"net": nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))}


def step_of(modules, die_at=None):
    def sums(x):
        squared = (modules["net"](x) - x.sum(1, keepdim=True)).square()
        return {"error": squared.sum(), "seen": squared.detach().sum() * 2}

    def step(at: Progress):
        if at.step == die_at:
            raise Killed
        x = torch.rand(16, 3)  # from the seed and the step alone
        return Work([Part({"error": 16, "seen": 16}, lambda: sums(x))], {"seen": 0.0})

    return step


def rows_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def test_a_run_that_broke_off_ends_bitwise_as_a_whole_one(tmp_path):
    settings = replace(SETTINGS, metrics_every=1)
    whole = make()
    train(whole, step_of(whole), settings, tmp_path / "whole", {"data": "x"})
    first = make()
    with pytest.raises(Killed):
        train(first, step_of(first, die_at=8), settings, tmp_path / "cut", {"data": "x"})
    second = make(seed=99)  # whatever it starts from, the state replaces it
    end = train(second, step_of(second), settings, tmp_path / "cut", {"data": "x"})
    assert end.step == 12
    for name, tensor in whole["net"].state_dict().items():
        assert torch.equal(tensor, second["net"].state_dict()[name]), name
    # steps 7 and 8 were done twice and are told once
    losses = [[(row["step"], row["error"]) for row in rows_of(tmp_path / name)] for name in ("whole", "cut")]
    assert losses[0] == losses[1] and [step for step, _ in losses[0]] == list(range(1, 13))


def test_it_learns_and_writes_what_it_measures(tmp_path):
    modules = make()
    train(modules, step_of(modules), LoopSettings(steps=200, learning_rate=0.05, warmup_steps=0), tmp_path, {})
    rows = rows_of(tmp_path)
    assert [row["step"] for row in rows] == [1, *range(20, 201, 20)]
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert rows[0]["error"] == rows[0]["loss"]  # what has no weight is told and not learned
    assert rows[0]["seen"] == pytest.approx(2 * rows[0]["loss"], rel=1e-5)
    assert rows[0]["learning_rate"] == 0.05 and rows[0]["gradient_norm"] > 0
    assert all(row["seconds_per_step"] > 0 and row["error_terms_per_second"] > 0 for row in rows)


# --- what a step's parts add up to ---------------------------------------------------------------------------------


def linear_step(net, cuts):
    """Ten rows of two losses cut into parts; the second loss has terms in the first four rows only."""

    def sums(x, with_second):
        out = net(x)
        return {"a": out.square().sum(), **({"b": (out - 1).abs().sum()} if with_second else {})}

    def step(at: Progress):
        x = torch.rand(10, 3)
        parts = []
        for low, high in cuts:
            counts = {"a": high - low, **({"b": high - low} if high <= 4 else {})}
            parts.append(Part(counts, lambda x=x[low:high], b=high <= 4: sums(x, b)))
        return Work(parts, {"b": 0.3})

    return step


@pytest.mark.parametrize(
    "cuts",
    [
        [(0, 2), (2, 4), (4, 10)],
        [(4, 9), (0, 1), (1, 4), (9, 10)],
        [(0, 4), (4, 4), (4, 10)],  # a part without terms
    ],
)
def test_any_cut_into_parts_takes_the_same_steps(tmp_path, cuts):
    ends = []
    for name, these in (("two", [(0, 4), (4, 10)]), ("cut", cuts)):
        net = nn.Linear(3, 2)
        nn.init.constant_(net.weight, 0.3)
        nn.init.constant_(net.bias, -0.1)
        train({"net": net}, linear_step(net, these), SETTINGS, tmp_path / name, {})
        ends.append(net.weight.detach().clone())
    assert torch.allclose(*ends, atol=1e-6) and not torch.allclose(ends[0], torch.full((2, 3), 0.3), atol=1e-2)


def test_the_gradient_is_that_of_sums_over_counts(tmp_path):
    net = nn.Linear(3, 1, bias=False)
    nn.init.ones_(net.weight)
    settings = LoopSettings(steps=1, warmup_steps=0, optimiser="adamw", clip_norm=1e9, precision="float32")
    x_43 = torch.tensor([[1.0, 0, 0], [0, 2, 0], [0, 0, 4], [1, 1, 1]])
    parts = [
        Part({"a": 1}, lambda: {"a": net(x_43[:1]).sum()}),
        Part({"a": 3, "b": 2}, lambda: {"a": net(x_43[1:]).sum(), "b": net(x_43[2:]).sum()}),
    ]
    train({"net": net}, lambda at: Work(parts, {"b": 10.0}), settings, tmp_path, {})
    # a: sum of rows / 4 = (0.5, 0.75, 1.25); b: 10 x (rows 3 and 4) / 2 = (5, 5, 25)
    assert rows_of(tmp_path)[0]["gradient_norm"] == pytest.approx(math.dist((5.5, 5.75, 26.25), (0, 0, 0)), rel=1e-5)
    assert rows_of(tmp_path)[0]["loss"] == pytest.approx(2.5 + 10 * 3.5, rel=1e-5)


def test_a_parameter_that_a_step_does_not_use_stays(tmp_path):
    used, unused = nn.Linear(2, 1), nn.Linear(2, 1)
    before = unused.weight.detach().clone()
    part = Part({"a": 1}, lambda: {"a": used(torch.ones(1, 2)).sum()})
    train({"used": used, "unused": unused}, lambda at: Work([part]), SETTINGS, tmp_path, {})
    assert torch.equal(unused.weight, before)


# --- what stops a run ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "counts, value, error, message",
    [
        ({"a": 0, "b": 0}, 1.0, DatasetError, "step 0 has nothing to learn"),
        ({}, 1.0, DatasetError, "step 0 has nothing to learn"),
        ({"a": 1, "b": 0}, math.nan, CheckpointError, "loss became nan at step 0"),
        ({"a": 1, "b": 0}, math.inf, CheckpointError, "loss became -?inf at step 0"),
        ({"a": 1}, 1.0, ValueError, r"counts \['a'\] and sums \['a', 'b'\]"),
    ],
)
def test_a_step_that_cannot_be_taken_is_said(tmp_path, counts, value, error, message):
    net = nn.Linear(2, 1)
    before = net.weight.detach().clone()

    def sums():
        out = net(torch.ones(1, 2)).sum()
        return {"a": out * value, "b": out}

    with pytest.raises(error, match=message):
        train({"net": net}, lambda at: Work([Part(counts, sums)]), SETTINGS, tmp_path, {})
    assert torch.equal(net.weight, before)


def test_a_gradient_that_is_no_number_stops_the_run(tmp_path):
    net = nn.Linear(1, 1)
    part = Part({"a": 1}, lambda: {"a": (net(torch.ones(1, 1)) * 0).sqrt().sum()})
    with pytest.raises(CheckpointError, match="gradient norm became nan at step 0"):
        train({"net": net}, lambda at: Work([part]), SETTINGS, tmp_path, {})


def test_nothing_to_train_is_said(tmp_path):
    with pytest.raises(ConfigError, match="no parameter is to be trained"):
        train({"net": nn.Linear(1, 1).requires_grad_(False)}, lambda at: Work([]), SETTINGS, tmp_path, {})


def test_time_ends_a_run_and_its_schedule(tmp_path):
    modules = make()
    settings = LoopSettings(steps=10_000_000, max_minutes=0.005)
    end = train(modules, step_of(modules), settings, tmp_path, {})
    assert 0 < end.step < 10_000_000 and end.share == 1.0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_run_after_the_step_and_saves(tmp_path, capsys, number):
    whole, cut = make(), make()
    train(whole, step_of(whole), SETTINGS, tmp_path / "whole", {})
    inner = step_of(cut)

    def step(at: Progress):
        if at.step == 4:
            os.kill(os.getpid(), number)
        return inner(at)

    before = signal.getsignal(number)
    with pytest.raises(KeyboardInterrupt):
        train(cut, step, SETTINGS, tmp_path / "cut", {})
    assert signal.getsignal(number) is before
    assert "stopped after step 5 of 12; saved, the same command goes on" in capsys.readouterr().err
    assert json.loads((tmp_path / "cut" / "state" / "state.json").read_text())["step"] == 5
    train(cut, inner, SETTINGS, tmp_path / "cut", {})
    assert torch.equal(cut["net"][0].weight, whole["net"][0].weight)


# --- what is judged ------------------------------------------------------------------------------------------------


def judged(folder, scores, settings):
    """A run whose validations give `scores` in turn; which steps were saved as best, and how the modules stood."""
    modules = make()
    modules["net"][2].eval()  # a part that is kept in evaluation mode while training, such as a frozen tower
    given, modes, saved = iter(scores), [], []

    def validate():
        modes.append((modules["net"].training, torch.is_grad_enabled()))
        return next(given)

    def save_best(into):
        (into / "model").write_text("weights")
        saved.append(json.loads((folder / "metrics.jsonl").read_text().splitlines()[-1])["step"])

    train(modules, step_of(modules), settings, folder, {}, validate, save_best)
    assert set(modes) == {(False, False)}
    assert modules["net"][0].training and not modules["net"][2].training
    assert (folder / "best" / "model").read_text() == "weights" and not (folder / "best.partial").exists()
    return saved


@pytest.mark.parametrize(
    "best, saved",
    [
        ("", [4, 12]),  # means 0.3, 0.2, 0.5
        ("rec", [4, 8]),  # 0.1, 0.4, 0.2
    ],
)
def test_the_best_by_the_chosen_score_is_kept(tmp_path, best, saved):
    scores = [{"rec": 0.1, "seg": 0.5}, {"rec": 0.4, "seg": 0.0}, {"rec": 0.2, "seg": 0.8}]
    settings = replace(SETTINGS, validate_every=4, best=best)
    assert judged(tmp_path, scores, settings) == saved
    rows = [row for row in rows_of(tmp_path) if "validation/rec" in row]
    assert [(row["step"], row["validation/rec"]) for row in rows] == [(4, 0.1), (8, 0.4), (12, 0.2)]
    state = json.loads((tmp_path / "state" / "state.json").read_text())
    assert state["best_step"] == saved[-1]


def test_without_a_pace_the_end_alone_is_judged(tmp_path):
    assert judged(tmp_path, [{"rec": 0.1}], SETTINGS) == [12]


def test_a_score_that_is_not_there_is_said(tmp_path):
    with pytest.raises(ConfigError, match="best is 'ovd', where the validation gives rec"):
        judged(tmp_path, [{"rec": 0.1}], replace(SETTINGS, best="ovd"))


# --- precision, checkpointing, compilation ---------------------------------------------------------------------------


def test_what_is_trained_is_float32_and_what_is_computed_bf16(tmp_path):
    trained, frozen = nn.Linear(4, 4, dtype=torch.bfloat16), nn.Linear(4, 4, dtype=torch.bfloat16).requires_grad_(False)
    seen = []

    def sums():
        out = trained(frozen(torch.ones(2, 4)))
        seen.append(out.dtype)
        return {"a": out.float().square().sum()}

    settings = replace(SETTINGS, precision="bf16")
    train({"t": trained, "f": frozen}, lambda at: Work([Part({"a": 2}, sums)]), settings, tmp_path, {})
    assert set(seen) == {torch.bfloat16}
    assert trained.weight.dtype == torch.float32 and frozen.weight.dtype == torch.bfloat16


def test_gradient_checkpointing_is_set_where_it_can_be(tmp_path):
    from transformers import LlamaConfig, LlamaForCausalLM

    config = LlamaConfig(
        vocab_size=11, hidden_size=8, intermediate_size=8, num_hidden_layers=2, num_attention_heads=2,
        num_key_value_heads=2,
    )  # fmt: skip
    ends = []
    for is_on in (False, True):
        torch.manual_seed(0)
        model = LlamaForCausalLM(config).train()
        runs = []
        model.model.layers[0].mlp.register_forward_pre_hook(lambda *_, runs=runs: runs.append(1))
        ids = torch.arange(10)[None]
        part = Part({"a": 9}, lambda model=model, ids=ids: {"a": model(ids, labels=ids).loss * 9})
        settings = replace(SETTINGS, steps=3, gradient_checkpointing=is_on)
        train({"model": model}, lambda at, part=part: Work([part]), settings, tmp_path / str(is_on), {})
        assert len(runs) == (6 if is_on else 3)  # the forward pass again, in the backward one
        ends.append(model.lm_head.weight.detach())
    assert torch.equal(*ends)


def test_checkpointing_what_cannot_is_said(tmp_path):
    modules = make()
    with pytest.raises(ConfigError, match="no way to do it"):
        train(modules, step_of(modules), replace(SETTINGS, gradient_checkpointing=True), tmp_path, {})


def test_like_layers_are_compiled_in_place():
    from georefer.training.processes import compile_layers

    def block():
        return nn.Sequential(nn.Linear(2, 2), nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]))

    net = nn.ModuleDict({"layers": nn.ModuleList([block(), block()]), "mixed": nn.ModuleList([nn.ReLU(), block()])})
    assert compile_layers(net) == 4  # two blocks (not what is inside them), and two layers inside the mixed list
    assert [layer._compiled_call_impl is not None for layer in net["layers"]] == [True, True]
    assert net["layers"][0][1][0]._compiled_call_impl is None


# --- nothing grows -------------------------------------------------------------------------------------------------


def test_nothing_grows_with_the_number_of_steps(tmp_path):
    modules = make()
    inner, seen = step_of(modules), {}

    def step(at: Progress):
        if at.step in (310, 810):  # caches of the interpreter are full by then
            gc.collect()
            tensors = sum(issubclass(type(o), torch.Tensor) for o in gc.get_objects())
            seen[at.step] = (tensors, sys.getallocatedblocks())
        return inner(at)

    settings = LoopSettings(steps=820, save_every=50, validate_every=50)
    train(modules, step, settings, tmp_path, {}, lambda: {"rec": 0.5})
    (tensors, blocks), (tensors_later, blocks_later) = seen[310], seen[810]
    assert tensors_later == tensors
    assert blocks_later - blocks < 250  # of Python's memory: less than one for every second step
