"""`georefer merge`: a plain checkpoint that scores as the adapter did, or none."""

from __future__ import annotations

import shutil

import pytest
import torch
from tests.data.checkpoints import build

from georefer.cli import main
from georefer.models import load_model, merging
from georefer.models.loading import load
from georefer.models.merging import BOUND, merge, probe
from georefer.training.adapters import TuneSettings, prepare

SEVERAL = ["llava_next", "qwen3_vl", "gemma3", "idefics3"]


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A run's folder with an adapter that changes what the model says."""

    def made(kind, precision=torch.float32, **more):
        folder = tmp_path_factory.mktemp(kind)
        base = build(kind, folder / "base")
        if precision != torch.float32:
            load(base, precision=precision).save(base)
        model = load(base, precision=torch.float32)
        prepare(model.family, TuneSettings("lora", "full", "lora", rank=4, alpha=8, **more))
        torch.manual_seed(0)
        with torch.no_grad():
            for parameter in model.family.bare.parameters():
                if parameter.requires_grad:
                    parameter.add_(0.05 * torch.randn_like(parameter))
        model.save(folder / "run" / "model")
        return folder / "run"

    return made


@pytest.mark.parametrize("kind", SEVERAL)
def test_merged_is_plain_and_equal(trained, kind, tmp_path, capsys):
    run = trained(kind)
    assert main(["merge", str(run), str(tmp_path / "merged")]) == 0
    assert "wrote" in capsys.readouterr().out
    assert not (tmp_path / "merged" / "adapter_config.json").exists() and not list(tmp_path.glob("*.partial"))
    model, plain = load_model(run / "model"), load_model(tmp_path / "merged")
    assert not hasattr(plain.family.model, "peft_config")
    assert merging.apart(probe(model), probe(plain)) < BOUND / 10
    assert merging.apart(probe(model), probe(load_model(run.parent / "base"))) > 0.01  # the adapter does something
    assert (plain.dialect, plain.system) == (model.dialect, model.system)


def test_stored_as_the_base_is(trained, tmp_path, capsys):
    assert main(["merge", str(trained("llava", torch.bfloat16) / "model"), str(tmp_path / "merged")]) == 0
    out = capsys.readouterr().out
    assert "stored as bfloat16" in out
    from safetensors.torch import load_file

    assert {t.dtype for t in load_file(tmp_path / "merged" / "model.safetensors").values()} == {torch.bfloat16}


def test_four_bits_merge_into_what_was_trained(trained, tmp_path):
    pytest.importorskip("bitsandbytes")
    run = trained("llava", quantise="nf4")
    made = merge(run, tmp_path / "merged")
    assert made.difference < BOUND and made.stored_difference < BOUND


def test_a_merge_that_differs_is_not_kept(trained, tmp_path, monkeypatch, capsys):
    """Scores beyond the bound: here the bound is what was found, made smaller."""
    run = trained("llava")
    found = merge(run, tmp_path / "merged").difference
    assert found > 0
    monkeypatch.setattr(merging, "BOUND", found / 2)
    assert main(["merge", str(run), str(tmp_path / "other")]) == 2
    assert "nothing was kept" in capsys.readouterr().err
    assert not list(tmp_path.glob("other*"))


def test_folders_that_cannot_be_merged(trained, tmp_path, capsys):
    run = trained("llava")
    assert main(["merge", str(run.parent / "base"), str(tmp_path / "merged")]) == 2
    assert "holds no adapter_config.json" in capsys.readouterr().err
    (tmp_path / "there").mkdir()
    assert main(["merge", str(run), str(tmp_path / "there")]) == 2
    assert "is there already" in capsys.readouterr().err
    shutil.rmtree(run.parent / "base")
    assert main(["merge", str(run), str(tmp_path / "merged")]) == 2
    assert "cannot be had" in capsys.readouterr().err and not list(tmp_path.glob("merged*"))
