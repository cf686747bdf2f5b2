"""Adapter folders: small, without pickles, bound to their base's weights, and readable by peft itself."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS

from georefer.errors import CheckpointError
from georefer.models import Ask, adapter, load_model
from georefer.models.loading import load
from georefer.models.packed import forward_packed, pack
from georefer.training.adapters import TuneSettings, prepare

IMAGE = np.random.default_rng(1).integers(0, 256, (60, 100, 3), dtype=np.uint8)
GROUNDSET = ("frozen", "full", "lora")


def logits(model):
    batch = pack([[model.group((100, 60), [("where?", "[1, 2]"), ("is there a ship?", "yes")], 0)]],
                 model.pixels([IMAGE]), pad_id=model.speech.pad_id)  # fmt: skip
    with torch.inference_mode():
        return forward_packed(model.family, batch)[0]


def trained(folder, way=GROUNDSET, **more):
    """A model with adapters, everything trained moved away from where it began."""
    model = load(folder)
    prepare(model.family, TuneSettings(*way, rank=4, alpha=8, **more))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.family.bare.parameters():
            if parameter.requires_grad:
                parameter.add_(0.05 * torch.randn_like(parameter))
    model.family.model.eval()
    return model


@pytest.mark.parametrize("kind", KINDS)
def test_saved_and_loaded_again(checkpoint, loaded, kind, tmp_path):
    model = trained(checkpoint(kind))
    model.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [adapter.CONFIG_FILE, adapter.WEIGHTS_FILE, "georefer.json"]
    again = load_model(tmp_path)
    assert torch.equal(logits(again), logits(model))
    assert not torch.allclose(logits(again), logits(loaded(kind)), atol=1e-2)
    assert (again.dialect, again.system) == (model.dialect, model.system)
    assert again.name.startswith(f"{kind}-") and again.name != loaded(kind).name
    grown = {n for n, p in again.family.bare.named_parameters() if p.requires_grad}
    assert grown == {n for n, p in model.family.bare.named_parameters() if p.requires_grad}
    assert not any(m.training for m in again.family.model.modules())
    asks = [Ask(IMAGE, "where?")]
    assert again.generate(asks, 6) == model.generate(asks, 6)


@pytest.mark.parametrize("kind", ["llava_next", "qwen3_vl", "gemma3"])
def test_peft_alone_reads_the_folder(checkpoint, kind, tmp_path):
    """Parameters trained in full come in with the adapters, loose ones of LLaVA-NeXT too."""
    from peft import PeftModel

    model = trained(checkpoint(kind))
    model.save(tmp_path)
    other = load(checkpoint(kind))
    other.family.model = PeftModel.from_pretrained(other.family.model, tmp_path).eval()
    assert torch.equal(logits(other), logits(model))
    named = json.loads((tmp_path / adapter.CONFIG_FILE).read_text())
    assert named["base_model_name_or_path"] == str(checkpoint(kind))
    assert len(named["target_modules"]) == 21 and all(p.count(".") > 4 for p in named["target_modules"])


def test_a_tower_trained_in_full_with_its_statistics(checkpoint, tmp_path):
    model = trained(checkpoint("llava"), ("full", "frozen", "lora"))
    model.save(tmp_path / "a")
    again = load_model(tmp_path / "a")
    assert torch.equal(logits(again), logits(model))
    assert adapter.whole_parts(again.family) == {"vision"}
    again.save(tmp_path / "b")
    assert torch.equal(logits(load_model(tmp_path / "b")), logits(model))


def test_buffers_of_what_is_trained_in_full_are_kept(checkpoint):
    model = trained(checkpoint("llava"), ("full", "frozen", "lora"))
    model.family.bare.model.vision_tower.register_buffer("running", torch.ones(3))
    model.family.bare.model.language_model.register_buffer("running", torch.ones(3))
    kept = adapter.trained_tensors(model.family)
    assert [n for n in kept if "running" in n] == ["base_model.model.model.vision_tower.running"]


def test_four_bits_answer_as_they_were_trained(checkpoint, tmp_path):
    pytest.importorskip("bitsandbytes")
    model = trained(checkpoint("llava"), quantise="nf4")
    model.save(tmp_path / "a")
    again = load_model(tmp_path / "a")
    assert torch.allclose(logits(again), logits(model), atol=1e-4)
    again.save(tmp_path / "b")  # rounding twice is rounding once
    assert torch.equal(logits(load_model(tmp_path / "b")), logits(again))


def test_dialect_and_system_of_the_adapter(checkpoint, tmp_path):
    model = load(checkpoint("llava"), dialect="groundset", system="A chat.")
    prepare(model.family, TuneSettings(rank=2, alpha=2))
    model.save(tmp_path)
    again = load_model(tmp_path)
    assert (again.dialect.name, again.system) == ("groundset", "A chat.")
    assert again.prefix((60, 60)).ids == model.prefix((60, 60)).ids
    assert load_model(tmp_path, dialect="georefer", system="").system == ""


def test_a_base_given_by_relative_path_moves_along(checkpoint, tmp_path, monkeypatch):
    shutil.copytree(checkpoint("llava"), tmp_path / "all" / "base")
    monkeypatch.chdir(tmp_path / "all")
    model = trained("base")
    model.save(tmp_path / "all" / "runs" / "adapter")
    monkeypatch.chdir(tmp_path)
    Path("all").rename("moved")
    assert json.loads((tmp_path / "moved/runs/adapter/georefer.json").read_text())["base"] == "../../base"
    assert torch.equal(logits(load_model("moved/runs/adapter")), logits(model))


def test_the_digest_is_of_weights_not_of_files(checkpoint, tmp_path):
    model = load(checkpoint("llava"))
    model.save(tmp_path / "whole")
    model.family.bare.save_pretrained(tmp_path / "parts", max_shard_size="50KB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 3
    found = adapter.digest(tmp_path / "whole")
    assert adapter.digest(tmp_path / "parts") == found and len(found) == 16
    with torch.no_grad():
        model.family.bare.lm_head.weight[7, 3] += 0.01
    model.save(tmp_path / "other")
    assert adapter.digest(tmp_path / "other") != found


def change(folder, file, **values):
    read = json.loads((folder / file).read_text())
    (folder / file).write_text(json.dumps({**read, **values}))


def other_weights(folder):
    from safetensors.torch import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    tensors[next(n for n in tensors if "lm_head" in n)] *= 1.01
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})


def without(folder, start):
    from safetensors.torch import load_file, save_file

    kept = {n: t for n, t in load_file(folder / adapter.WEIGHTS_FILE).items() if start not in n}
    save_file(kept, folder / adapter.WEIGHTS_FILE)


CONFIG = adapter.CONFIG_FILE


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda a, b: shutil.rmtree(b), "base model of the adapter .* cannot be had"),
        (lambda a, b: other_weights(b), "other weights than those"),
        (lambda a, b: change(a, "georefer.json", base="nobody/nothing"), "cannot be had"),
        (lambda a, b: change(a, "georefer.json", base=str(a)), "cannot be had"),  # an adapter of itself
        ((lambda a, b: (change(a, "georefer.json", base=""), change(a, CONFIG, base_model_name_or_path=None))),
         "names no base model"),
        (lambda a, b: (a / "georefer.json").write_text("[1]"), "georefer.json"),
        (lambda a, b: (a / CONFIG).write_text("{" * 100_000), "not JSON"),
        (lambda a, b: (a / CONFIG).write_text("[" * 100_000), "not JSON"),
        (lambda a, b: change(a, CONFIG, peft_type="IA3"), "plain LoRA is expected"),
        (lambda a, b: change(a, CONFIG, use_dora=True), "use_dora"),
        (lambda a, b: change(a, CONFIG, layer_replication=[[0, 10**9]]), "layer_replication"),
        (lambda a, b: change(a, CONFIG, bias="all"), "bias all"),
        (lambda a, b: change(a, CONFIG, r=10**9), "r 1000000000"),
        (lambda a, b: change(a, CONFIG, r=8), "of another shape"),
        (lambda a, b: without(a, "layers.1.mlp.up_proj.lora_B"), "missing"),
        (lambda a, b: without(a, "lora_"), "none at all"),
        (lambda a, b: (a / adapter.WEIGHTS_FILE).write_bytes(b"\x80\x04 pickled"), "cannot be read"),
        (lambda a, b: (a / adapter.WEIGHTS_FILE).unlink(), "cannot be read"),
    ],
)  # fmt: skip
def test_folders_that_do_not_belong_together(checkpoint, tmp_path, spoil, message, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    base = shutil.copytree(checkpoint("llava"), tmp_path / "base")
    trained(base).save(tmp_path / "adapter")
    spoil(tmp_path / "adapter", base)
    with pytest.raises(CheckpointError, match=message) as error:
        load(tmp_path / "adapter")
    assert len(str(error.value)) < 1200 and "\n" not in str(error.value)


def test_an_adapter_for_another_model(checkpoint, tmp_path):
    trained(checkpoint("llava")).save(tmp_path)
    change(tmp_path, "georefer.json", base=str(checkpoint("idefics3")), base_digest="")
    with pytest.raises(CheckpointError, match=r"layers that its base .* does not have"):
        load_model(tmp_path)


def test_what_a_stranger_s_file_says_is_not_obeyed(checkpoint, tmp_path):
    """Patterns of layers, classes to import, ways to begin: layers are read from the weights."""
    model = trained(checkpoint("llava"))
    model.save(tmp_path)
    change(tmp_path, CONFIG, target_modules="(a+)+$", init_lora_weights="eva", modules_to_save=["lm_head"],
           auto_mapping={"parent_library": "antigravity", "base_model_class": "x"})  # fmt: skip
    assert torch.equal(logits(load_model(tmp_path)), logits(model))


def test_an_adapter_without_a_base_to_name(checkpoint, tmp_path):
    model = trained(checkpoint("llava"))
    model.family.bare.name_or_path = ""
    with pytest.raises(CheckpointError, match="save the base model"):
        model.save(tmp_path)
    assert not list(tmp_path.iterdir())


def test_the_shipped_model_takes_an_adapter_too(tmp_path):
    from georefer.models.merging import BOUND, merge

    model = load_model("tiny-synthetic")
    prepare(model.family, TuneSettings(rank=4, alpha=8))
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.family.bare.parameters():
            if parameter.requires_grad:
                parameter.add_(0.02 * torch.randn_like(parameter))
    model.family.model.eval()
    model.save(tmp_path / "adapter")
    assert torch.equal(logits(load_model(tmp_path / "adapter")), logits(model))
    assert merge(tmp_path / "adapter", tmp_path / "merged").stored_difference < BOUND
    assert torch.allclose(logits(load_model(tmp_path / "merged")), logits(model), atol=1e-3)
