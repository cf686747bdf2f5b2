"""`georefer parity` prints a table or JSON, and says by its exit code whether all ways agree."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from tests.data.checkpoints import build

from georefer.cli import main
from georefer.imagery.write import write_png
from georefer.models import load_model
from georefer.serving import running


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("parity")
    build("qwen2_vl", made / "model")
    write_png(made / "chip.png", np.random.default_rng(1).integers(0, 256, (60, 100, 3), dtype=np.uint8))
    return made


def asked(folder, *more):
    return main(["parity", str(folder / "model"), "--image", str(folder / "chip.png"), "--prompt", "where?",
                 "--tokens", "4", *more])  # fmt: skip


def test_table(folder, capsys):
    assert asked(folder, "--answer", "[1, 2, 3, 4]", "--merged", str(folder / "model")) == 0
    out = capsys.readouterr().out
    assert all(way in out for way in ("transformers", "training", "our decoding", "merged"))


def test_json_and_exit_code_where_they_part(folder, capsys):
    other = shutil.copytree(folder / "model", folder / "other", dirs_exist_ok=True)
    settings = json.loads((other / "processor_config.json").read_text())
    settings["image_processor"]["size"] = {"shortest_edge": 3136, "longest_edge": 3136}
    (other / "processor_config.json").write_text(json.dumps(settings))
    assert asked(folder, "--merged", str(other), "--json") == 1
    found = json.loads(capsys.readouterr().out)
    assert not found["agrees"] and {"image size", "ids", "scores"} <= set(found["ways"][3]["differs"])


def test_a_served_model_is_compared_too(folder, capsys):
    with running(load_model(folder / "model")) as address:
        assert asked(folder, "--http", address, "--json") == 0
    ways = {way["name"]: way for way in json.loads(capsys.readouterr().out)["ways"]}
    assert ways["http"]["answer"] == ways["transformers"]["answer"]
    build("qwen2_5_vl", folder / "another")
    with running(load_model(folder / "another")) as address:
        assert asked(folder, "--http", address, "--json") == 1


def test_what_cannot_be_compared(folder, capsys):
    assert asked(folder, "--merged", str(folder / "nothing")) == 2
    assert main(["parity", str(folder / "model"), "--image", str(folder / "no.png"), "--prompt", "x"]) == 2
    assert "no.png" in capsys.readouterr().err
