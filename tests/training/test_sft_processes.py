"""Fine-tuning by two processes is fine-tuning by one."""

import os
import subprocess
import sys
from pathlib import Path

import torch
from safetensors.torch import load_file
from tests.data.area import make_area, small_recipe
from tests.data.checkpoints import build as build_checkpoint

from georefer.building.build import build
from georefer.models import load_model

ROOT = Path(__file__).parents[2]
RECIPE = """
[batch]
images_per_step = 5
questions_per_image = 3
tokens_at_once = 200
[tune]
rank = 2
dropout = 0.0
[validate]
share = 0.3
per_task = 2
max_new_tokens = 4
[loop]
steps = 6
learning_rate = 1e-2
warmup_steps = 1
validate_every = 3
"""


def test_two_processes_learn_what_one_learns(tmp_path):
    make_area(tmp_path, side=320)
    dataset = build(small_recipe(tmp_path), tmp_path / "dataset").folder
    start = build_checkpoint("llava", tmp_path / "start")
    (tmp_path / "sft.toml").write_text(RECIPE)
    verb = ["georefer", "sft", str(tmp_path / "sft.toml")]
    more = ["--dataset", str(dataset), "--start", str(start)]
    launch = ["accelerate.commands.launch", "--config_file", str(ROOT / "recipes/accelerate/ddp.yaml"),
              "--num_processes", "2", "--main_process_port", "0", "-m"]  # fmt: skip
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    for out, before in (("one", []), ("two", launch)):
        command = [sys.executable, "-m", *before, *verb, str(tmp_path / out), *more]
        done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=240)
        assert done.returncode == 0, done.stderr[-2000:]
        assert done.stderr.count("wrote ") == 1  # one process speaks and writes
    for kept in ("model", "best"):
        one, two = (load_file(tmp_path / out / kept / "adapter_model.safetensors") for out in ("one", "two"))
        assert one.keys() == two.keys()
        assert max(float((one[name] - two[name]).abs().max()) for name in one) < 1e-6
    moved = load_file(tmp_path / "two" / "model" / "adapter_model.safetensors")
    assert any(torch.count_nonzero(weight) for name, weight in moved.items() if "lora_B" in name)
    load_model(tmp_path / "two" / "model")
