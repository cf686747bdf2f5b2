"""What the state folder holds, and what it refuses."""

import json
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from georefer.errors import CheckpointError
from georefer.training.loop import LoopSettings, Part, Work, train

SETTINGS = LoopSettings(steps=4, save_every=2, warmup_steps=0, precision="float32")


class Net(nn.Module):
    """A frozen base, an adapter that is trained, statistics, and a buffer that no checkpoint keeps."""

    def __init__(self, width=4):
        super().__init__()
        self.base = nn.Linear(3, 64).requires_grad_(False)
        self.adapter = nn.Linear(64, width)
        self.norm = nn.BatchNorm1d(width)
        self.register_buffer("scratch", torch.zeros(1000), persistent=False)

    def forward(self, x):
        return self.norm(self.adapter(self.base(x)))


def go(net, folder, identity=None, **changes):
    def step(at):
        x = torch.rand(8, 3)
        return Work([Part({"a": 8}, lambda: {"a": (net(x) - x.sum(1, keepdim=True)).square().sum()})])

    return train({"net": net}, step, replace(SETTINGS, **changes), folder, identity or {"data": "x"})


@pytest.mark.parametrize(
    "optimiser, moments", [("adamw", {"exp_avg", "exp_avg_sq", "step"}), ("muon", {"mean", "square", "step"})]
)
def test_it_holds_what_is_trained_and_no_frozen_weight(tmp_path, optimiser, moments):
    net = Net()
    go(net, tmp_path, optimiser=optimiser)
    held = load_file(tmp_path / "state" / "state.safetensors")
    statistics = {f"module/net.norm.{name}" for name in ("running_mean", "running_var", "num_batches_tracked")}
    trained = {f"net.{part}.{name}" for part in ("adapter", "norm") for name in ("weight", "bias")}
    assert {name for name in held if name.startswith("module/")} == statistics | {f"module/{t}" for t in trained}
    assert {name.rsplit("/", 1)[1] for name in held if name.startswith("optimiser/net.norm.bias/")} == moments
    assert {name.split("/")[1] for name in held if name.startswith("optimiser/")} == trained
    assert torch.equal(held["module/net.adapter.weight"], net.adapter.weight)
    assert sorted(p.name for p in (tmp_path / "state").iterdir()) == ["state.json", "state.safetensors"]


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_every_optimiser_goes_on_bitwise(tmp_path, optimiser):
    torch.manual_seed(3)
    whole, cut = Net(), Net()
    cut.load_state_dict(whole.state_dict())
    go(whole, tmp_path / "whole", optimiser=optimiser, steps=6, schedule="constant")
    go(cut, tmp_path / "cut", optimiser=optimiser, steps=4, schedule="constant")
    other = Net()
    other.base.load_state_dict(whole.base.state_dict())
    assert go(other, tmp_path / "cut", optimiser=optimiser, steps=6, schedule="constant").step == 6
    assert all(torch.equal(tensor, other.state_dict()[name]) for name, tensor in whole.state_dict().items())


def test_weights_that_share_memory_are_kept_once(tmp_path):
    nets = [nn.ModuleDict({"one": nn.Linear(3, 3), "two": nn.Linear(3, 3)}) for _ in range(2)]
    for net in nets:
        net["two"].weight = net["one"].weight

    def step_of(net):
        return lambda at: Work([Part({"a": 1}, lambda: {"a": net["two"](net["one"](torch.ones(1, 3))).sum()})])

    for net in nets:
        train({"net": net}, step_of(net), SETTINGS, tmp_path, {})
    assert nets[1]["two"].weight is nets[1]["one"].weight and torch.equal(nets[0]["one"].weight, nets[1]["one"].weight)


def test_a_state_of_other_data_is_refused(tmp_path):
    go(Net(), tmp_path, {"data": "x", "base": "1"})
    with pytest.raises(CheckpointError, match="different base, data"):
        go(Net(), tmp_path, {"data": "y"})


@pytest.mark.parametrize(
    "file, content",
    [
        ("state.safetensors", b"\x00" * 10),
        ("state.safetensors", b""),
        ("state.json", b"{"),
        ("state.json", b"[]"),
        ("state.json", b'{"step": 2}'),
        ("state.json", b'{"identity": {"data": "x"}, "steps": 2}'),
        ("state.json", b"\xff\xfe"),
    ],
)
def test_a_damaged_state_is_said(tmp_path, file, content):
    go(Net(), tmp_path)
    (tmp_path / "state" / file).write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        go(Net(), tmp_path)


def test_a_state_of_another_shape_is_refused(tmp_path):
    go(Net(), tmp_path)
    with pytest.raises(
        CheckpointError, match=r"damaged \(module/net\.adapter\.weight is torch\.float32 \(4, 64\), expected"
    ):
        go(Net(width=5), tmp_path)


def test_a_state_of_other_parts_is_refused(tmp_path):
    go(Net(), tmp_path)
    net = Net()
    net.base.requires_grad_(True)
    with pytest.raises(CheckpointError, match=r"other tensors than the model trains, such as module/net\.base\.bias"):
        go(net, tmp_path)


@pytest.mark.parametrize("folder", ["state", "best"])
def test_a_kill_between_the_renames_loses_nothing(tmp_path, folder):
    def step(at):
        return Work([Part({"a": 1}, lambda: {"a": net(torch.rand(8, 3)).square().sum()})])

    def run():
        save = lambda into: (into / "kept").write_text("x")  # noqa: E731
        return train({"net": net}, step, SETTINGS, tmp_path, {}, lambda: {"score": 1.0}, save)

    net = Net()
    run()
    trained = net.adapter.weight.detach().clone()
    (tmp_path / folder).rename(tmp_path / f"{folder}.old")
    net.adapter = nn.Linear(64, 4)
    assert run().step == 4
    assert torch.equal(net.adapter.weight, trained)
    assert (tmp_path / folder).is_dir() and not (tmp_path / f"{folder}.old").exists()


def test_the_state_says_where_it_stands(tmp_path):
    go(Net(), tmp_path, {"data": ["a", "b"]})
    values = json.loads((tmp_path / "state" / "state.json").read_text())
    assert values["step"] == 4 and values["identity"] == {"data": ["a", "b"]} and values["best_score"] is None
