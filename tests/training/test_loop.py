import json
import math

import pytest
import torch
from torch import nn

from georefer.errors import CheckpointError
from georefer.training.loop import LoopSettings, Progress, learning_rate, train

SETTINGS = LoopSettings(steps=12, save_every=3, warmup_steps=2, learning_rate=0.05)


class Killed(Exception):
    pass


def make(seed=0):
    torch.manual_seed(seed)
    return {"net": nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8), nn.Linear(8, 1))}


def step_of(modules, die_at=None):
    def step(at: Progress):
        if at.step == die_at:
            raise Killed
        x = torch.rand(16, 3)  # from the seed and the step alone
        loss = (modules["net"](x) - x.sum(1, keepdim=True)).square().mean()
        return {"loss": loss, "extra": loss.detach() * 2}

    return step


def test_a_killed_run_ends_bitwise_as_an_uninterrupted_one(tmp_path):
    whole = make()
    train(whole, step_of(whole), SETTINGS, tmp_path / "whole", {"data": "x"})
    first = make()
    (tmp_path / "cut").mkdir()
    with pytest.raises(Killed):
        train(first, step_of(first, die_at=8), SETTINGS, tmp_path / "cut", {"data": "x"})
    second = make(seed=99)  # whatever it starts from, the state replaces it
    end = train(second, step_of(second), SETTINGS, tmp_path / "cut", {"data": "x"})
    assert end.step == 12
    for name, tensor in whole["net"].state_dict().items():
        assert torch.equal(tensor, second["net"].state_dict()[name]), name


@pytest.fixture(autouse=True)
def folders(tmp_path):
    (tmp_path / "whole").mkdir()


def test_it_learns_and_writes_what_it_measures(tmp_path):
    modules = make()
    train(modules, step_of(modules), LoopSettings(steps=200, learning_rate=0.05), tmp_path / "whole", {})
    rows = [json.loads(line) for line in (tmp_path / "whole" / "metrics.jsonl").read_text().splitlines()]
    assert rows[-1]["loss"] < 0.2 * rows[0]["loss"]
    assert rows[0]["extra"] == pytest.approx(2 * rows[0]["loss"], rel=1e-3)


def test_a_state_of_other_data_is_refused(tmp_path):
    modules = make()
    train(modules, step_of(modules), SETTINGS, tmp_path / "whole", {"data": "x"})
    with pytest.raises(CheckpointError, match="another data"):
        train(modules, step_of(modules), SETTINGS, tmp_path / "whole", {"data": "y"})


def test_a_damaged_state_is_said(tmp_path):
    modules = make()
    train(modules, step_of(modules), SETTINGS, tmp_path / "whole", {})
    (tmp_path / "whole" / "state" / "state.safetensors").write_bytes(b"\x00" * 10)
    with pytest.raises(CheckpointError, match="damaged"):
        train(modules, step_of(modules), SETTINGS, tmp_path / "whole", {})


def test_a_kill_between_the_renames_loses_nothing(tmp_path):
    modules = make()
    train(modules, step_of(modules), SETTINGS, tmp_path / "whole", {})
    (tmp_path / "whole" / "state").rename(tmp_path / "whole" / "state.old")
    again = make(seed=5)
    assert train(again, step_of(again), SETTINGS, tmp_path / "whole", {}).step == 12
    assert torch.equal(again["net"][0].weight, modules["net"][0].weight)


def test_a_loss_that_is_no_number_stops_the_run(tmp_path):
    modules = make()

    def step(at):
        return {"loss": modules["net"](torch.rand(4, 3)).sum() * math.nan}

    with pytest.raises(CheckpointError, match="loss became nan at step 0"):
        train(modules, step, SETTINGS, tmp_path / "whole", {})


def test_time_ends_a_run_and_its_schedule(tmp_path):
    modules = make()
    settings = LoopSettings(steps=10_000_000, max_minutes=0.01)
    end = train(modules, step_of(modules), settings, tmp_path / "whole", {})
    assert 0 < end.step < 10_000_000 and end.share == 1.0


def test_the_rate_warms_up_and_falls():
    settings = LoopSettings(learning_rate=1.0, warmup_steps=10, final_rate=0.1)
    rates = [learning_rate(Progress(i, 0, i / 100), settings) for i in range(101)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == max(rates[9:12])
    assert rates[-1] == pytest.approx(0.1)
