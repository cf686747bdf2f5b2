"""Learning rates over a run, and over the parts of a model."""

import pytest
from torch import nn

from georefer.errors import ConfigError
from georefer.training.optimisers import make_optimiser, set_rate
from georefer.training.processes import trained
from georefer.training.schedule import LoopSettings, learning_rate
from georefer.training.work import Progress


def rates(**changes):
    settings = LoopSettings(steps=100, learning_rate=1.0, **changes)
    return [learning_rate(Progress(i, 0, i / 100), settings) for i in range(101)]


@pytest.mark.parametrize(
    "schedule, middle, end",
    [
        ("cosine", 0.55, 0.1),
        ("linear", 0.55, 0.1),
        ("constant", 1.0, 1.0),
    ],
)
def test_the_rate_warms_up_and_falls(schedule, middle, end):
    found = rates(schedule=schedule, warmup_steps=10, final_rate=0.1)
    assert found[0] == pytest.approx(0.1)
    assert max(found) == max(found[9:12])
    assert found[50] == pytest.approx(middle) and found[100] == pytest.approx(end)


def test_a_line_is_straight_and_a_cosine_is_not():
    line, cosine = rates(schedule="linear", final_rate=0.0), rates(schedule="cosine", final_rate=0.0)
    assert line[75] == pytest.approx(0.25) and cosine[75] == pytest.approx(0.1464, abs=1e-3)


def test_warm_up_as_a_share():
    found = rates(schedule="constant", warmup_share=0.2, warmup_steps=1)
    assert found[0] == pytest.approx(0.05) and found[9] == pytest.approx(0.5) and found[19] == found[100] == 1.0
    assert rates(schedule="constant", warmup_share=0.0)[0] == 1.0


def test_warm_up_as_a_share_of_time():
    settings = LoopSettings(
        steps=10**6, max_minutes=10, learning_rate=1.0, warmup_share=0.1, schedule="constant"
    )  # fmt: skip
    assert learning_rate(Progress(50, 0.5, 0.05), settings) == pytest.approx(0.5)
    assert learning_rate(Progress(100, 1.0, 0.1), settings) == 1.0


@pytest.mark.parametrize(
    "changes",
    [
        {"steps": 0}, {"save_every": 0}, {"metrics_every": 0}, {"validate_every": -1}, {"warmup_share": 1.0},
        {"final_rate": 1.5}, {"clip_norm": 0.0},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(changes):
    with pytest.raises(ValueError):
        LoopSettings(**changes)


def model():
    tower = nn.ModuleDict({"projector": nn.Linear(2, 2), "vision": nn.Linear(2, 2), "frozen": nn.Linear(2, 2)})
    tower["frozen"].requires_grad_(False)
    return nn.ModuleDict({"model": nn.ModuleDict({"tower": tower, "projector_norm": nn.LayerNorm(2)})})


@pytest.mark.parametrize("optimiser", ["adamw", "muon"])
def test_parts_of_a_model_have_their_own_rate(optimiser):
    named = trained(model())
    # the longest path that fits decides; a name counts as a whole, so that projector is not projector_norm
    settings = LoopSettings(optimiser=optimiser, rates={"projector": 2.0, "tower": 0.1, "model.tower.vision.bias": 0.0})
    made = make_optimiser(named, settings)
    set_rate(made, 0.5)
    found = {id(p): group for group in made.param_groups for p in group["params"]}
    of_name = {name.removeprefix("model."): found[id(p)] for name, p in named.items()}
    assert {name: group["lr"] for name, group in of_name.items()} == {
        "tower.projector.weight": 1.0, "tower.projector.bias": 1.0,
        "tower.vision.weight": 0.05, "tower.vision.bias": 0.0,
        "projector_norm.weight": 0.5, "projector_norm.bias": 0.5,
    }  # fmt: skip
    assert of_name["tower.projector.weight"]["weight_decay"] == 0.01
    assert of_name["tower.projector.bias"]["weight_decay"] == of_name["projector_norm.weight"]["weight_decay"] == 0.0
    assert len(found) == len(named)


def test_a_rate_for_what_is_not_trained_is_refused():
    with pytest.raises(ConfigError, match="rates names frozen, where no trained parameter"):
        make_optimiser(trained(model()), LoopSettings(rates={"frozen": 0.1}))


def test_settings_come_from_a_recipe(tmp_path):
    from georefer.config import load_settings

    (tmp_path / "loop.toml").write_text(
        'schedule = "linear"\nwarmup_share = 0.03\ntrack = ["tensorboard", "trackio"]\nprecision = "bf16"\n'
        'best = "rec"\n[rates]\nprojector = 0.1\n'
    )
    settings = load_settings(LoopSettings, tmp_path / "loop.toml")
    assert settings.rates == {"projector": 0.1} and settings.track == ("tensorboard", "trackio")
    (tmp_path / "bad.toml").write_text('schedule = "stairs"\n')
    with pytest.raises(ConfigError, match="stairs"):
        load_settings(LoopSettings, tmp_path / "bad.toml")
