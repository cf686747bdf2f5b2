"""Runs in processes of their own: several end as one, one killed anywhere goes on, and the launch files are read."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from tests.training import many_processes

from georefer.errors import ConfigError

ROOT = Path(__file__).parents[2]
LAUNCH = ROOT / "recipes" / "accelerate"
SCRIPT = str(Path(__file__).with_name("many_processes.py"))
STEPS = 20


def run(*command):
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    done = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, env=environment, timeout=240
    )
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return done, lines


def launch(config, *arguments):
    return run(
        "-m", "accelerate.commands.launch", "--config_file", LAUNCH / config, "--num_processes", "2",
        "--main_process_port", "0", SCRIPT, *arguments,
    )  # fmt: skip


def losses(folder):
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [(row["step"], row.get("loss", row.get("validation/score"))) for row in rows]


@pytest.mark.parametrize(
    "config, every, begun",
    [
        ("ddp.yaml", 3, 0),  # some steps and some processes have no side loss
        ("fsdp2.yaml", 1, 10),  # by gloo, with accelerate's choice of device replaced; goes on from one process's state
    ],
)
def test_two_processes_end_as_one(tmp_path, config, every, begun):
    # one process, with other parts: 7 rows by 3, where two have 4 and 3 rows by 2
    many_processes.run(tmp_path / "one", STEPS, part_rows=3, every=every)
    if begun:
        with pytest.raises(many_processes.Stopped):
            many_processes.run(tmp_path / "two", STEPS, begun + 3, every=every)
        assert json.loads((tmp_path / "two" / "state" / "state.json").read_text())["step"] == begun
    done, said = launch(config, tmp_path / "two", STEPS)
    assert done.returncode == 0, done.stderr
    assert sorted((one["rank"], one["world"]) for one in said) == [(0, 2), (1, 2)]
    assert [bool(one["written"]) for one in sorted(said, key=lambda one: one["rank"])] == [True, False]
    for file in ("net.safetensors", "state/state.safetensors", "best/net.safetensors"):
        one, two = (load_file(tmp_path / name / file) for name in ("one", "two"))
        assert one.keys() == two.keys()
        assert all(torch.allclose(one[name], two[name], rtol=0, atol=1e-6) for name in one), file
    start = many_processes.make()["net"].head.weight
    assert (load_file(tmp_path / "two" / "net.safetensors")["head.weight"] - start).abs().max() > 0.05
    alone, shared = losses(tmp_path / "one"), losses(tmp_path / "two")
    assert [step for step, _ in alone] == [step for step, _ in shared]
    assert [value for _, value in alone] == pytest.approx([value for _, value in shared], rel=1e-4)


def test_a_run_killed_anywhere_ends_bitwise_as_one_that_was_not(tmp_path):
    done, said = run(Path(__file__).with_name("killed_anywhere.py"), tmp_path)
    assert done.returncode == 0, done.stderr
    assert said[0]["wrong"] == [] and said[0]["kills"] > 15


def test_processes_that_do_not_see_each_other_are_refused(tmp_path, monkeypatch):
    many_processes.run(tmp_path, 1)
    monkeypatch.setenv("WORLD_SIZE", "2")
    with pytest.raises(ConfigError, match="2 processes were launched, where this one sees 1"):
        many_processes.run(tmp_path, 1)


def test_shards_without_a_gpu_are_refused(tmp_path, monkeypatch):
    if torch.accelerator.is_available():
        pytest.skip("this machine has a GPU")
    many_processes.run(tmp_path, 1)
    monkeypatch.setenv("ACCELERATE_USE_FSDP", "true")
    with pytest.raises(ConfigError, match="which need GPUs, where none is found"):
        many_processes.run(tmp_path, 1)


@pytest.mark.parametrize(
    "file, kind, more",
    [
        ("ddp.yaml", "MULTI_GPU", {}),
        ("fsdp2.yaml", "FSDP", {"fsdp_version": 2, "fsdp_reshard_after_forward": True}),
        ("deepspeed-zero2.yaml", "DEEPSPEED", {"zero_stage": 2}),
        ("deepspeed-zero3.yaml", "DEEPSPEED", {"zero_stage": 3}),
    ],
)
def test_launch_files_are_read_by_accelerate(file, kind, more):
    from accelerate.commands.config.config_args import load_config_from_file

    config = load_config_from_file(str(LAUNCH / file))
    assert config.distributed_type.value == kind and config.num_processes == 8
    held = {**getattr(config, "fsdp_config", {}), **getattr(config, "deepspeed_config", {})}
    assert {key: held.get(key) for key in more} == more
    # what recipes decide, the launch leaves alone
    assert config.mixed_precision == "no"
    assert held.get("gradient_accumulation_steps", 1) == 1 and not held.get("fsdp_activation_checkpointing")
