"""Reinforcement by two processes is reinforcement by one, also where they were killed and go on, as many or fewer."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.data.area import make_area, small_recipe
from tests.data.checkpoints import build as build_checkpoint

from georefer.building.build import build
from georefer.config import load_settings
from georefer.training.grpo import grpo
from georefer.training.grpo_settings import GrpoSettings

ROOT = Path(__file__).parents[2]
LAUNCH = ["accelerate.commands.launch", "--config_file", str(ROOT / "recipes/accelerate/ddp.yaml"),
          "--num_processes", "2", "--main_process_port", "0", "-m"]  # fmt: skip
RECIPE = """
method = "gdpo" # compares what all processes earned
updates = 2
kl_weight = 0.05
std_floor = 0.0
[rewards]
"REWARDS:short" = 1.0
"REWARDS:even" = 0.5
[task_weights]
detection = 0
[draw]
answers = 3
max_new_tokens = 10
thoughts = "never"
[batch]
images_per_step = 5
questions_per_image = 2
tokens_at_once = 250
[tune]
rank = 2
[loop]
steps = 6
save_every = 3
learning_rate = 1e-2
warmup_steps = 0
metrics_every = 1
"""
REWARDS = """
import os
from pathlib import Path

def short(answer):
    # the third batch is not drawn: a state was saved between the two steps that learn from the second
    if any(Path(os.environ.get("DIES", "/nowhere")).glob("rollouts/00000001-*.json")):
        os._exit(9)
    return max(0, 1 - len(answer.text) / 200)

def even(answer):
    return float(len(answer.text) % 2)
"""


def adapter(folder):
    return load_file(folder / "model" / "adapter_model.safetensors")


def said(folder):
    """Every question that was answered, with its answers and what they earned above their group."""
    rows = [json.loads(line) for path in folder.glob("rollouts*.jsonl") for line in path.read_text().splitlines()]
    answers = {(row["step"], row["question"]): [a["text"] for a in row["answers"]] for row in rows}
    assert len(answers) == len(rows)  # none twice
    above = {(row["step"], row["question"]): [a["advantage"] for a in row["answers"]] for row in rows}
    return answers, [above[key] for key in sorted(above)]


def metrics(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{name: row[name] for name in ("step", "loss", "kl", "clipped", "reward", "equal_groups")} for row in rows]


def test_two_processes_learn_what_one_learns(tmp_path):
    make_area(tmp_path, side=320)
    dataset = build(small_recipe(tmp_path), tmp_path / "dataset").folder
    start = build_checkpoint("llava", tmp_path / "start")
    rewards, recipe = tmp_path / "rewards.py", tmp_path / "grpo.toml"
    rewards.write_text(REWARDS)
    recipe.write_text(RECIPE.replace("REWARDS", str(rewards)))
    settings = replace(load_settings(GrpoSettings, recipe), dataset=(dataset,), start=str(start))
    grpo(settings, tmp_path / "one")

    command = [sys.executable, "-m", *LAUNCH, "georefer", "grpo", str(recipe), str(tmp_path / "two"),
               "--dataset", str(dataset), "--start", str(start)]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    dying = {**environment, "DIES": str(tmp_path / "two")}
    killed = subprocess.run(command, capture_output=True, text=True, env=dying, timeout=240)
    assert killed.returncode != 0
    assert json.loads((tmp_path / "two" / "state" / "state.json").read_text())["step"] == 3, killed.stderr[-2000:]
    shutil.copytree(tmp_path / "two", tmp_path / "fewer")
    done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stderr.count("wrote ") == 1  # one process speaks and writes
    assert len((tmp_path / "two" / "rollouts-1.jsonl").read_text().splitlines()) > 3  # each its own questions
    grpo(settings, tmp_path / "fewer")  # one process goes on from two

    one, answers = adapter(tmp_path / "one"), said(tmp_path / "one")
    assert max(float(weight.abs().max()) for name, weight in one.items() if "lora_B" in name) > 1e-2
    for out in ("two", "fewer"):
        other = adapter(tmp_path / out)
        assert one.keys() == other.keys()
        assert max(float((one[name] - other[name]).abs().max()) for name in one) < 1e-5, out
        assert said(tmp_path / out)[0] == answers[0]
        assert torch.allclose(torch.tensor(said(tmp_path / out)[1]), torch.tensor(answers[1]), atol=1e-4)
        for row, theirs in zip(metrics(tmp_path / "one"), metrics(tmp_path / out), strict=True):
            assert theirs == pytest.approx(row, abs=1e-5)
