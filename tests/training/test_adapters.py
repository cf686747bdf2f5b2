"""Adapters: exactly what is named is trained, in every family; frozen parts stay as they are, bit for bit."""

from __future__ import annotations

from functools import cache
from itertools import product

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS, build
from torch import nn
from torch.nn import functional as F
from transformers.modeling_layers import GradientCheckpointingLayer

from georefer.config import load_settings, to_plain
from georefer.errors import ConfigError, InputError
from georefer.models import adapter
from georefer.models.loading import load
from georefer.models.packed import forward_packed, pack
from georefer.training.adapters import PARTS, TuneSettings, checkpoint_layers, prepare, train_mode

TURNS = [("where is the tank?", "[1, 2, 30, 40]"), ("is there a ship?", "yes")]
IMAGE = np.random.default_rng(1).integers(0, 256, (60, 100, 3), dtype=np.uint8)
NO_LINEAR_PROJECTOR = {"gemma3"}  # a bare matrix
SHARED_HEAD = {"gemma3", "paligemma", "florence2"}


@pytest.fixture(scope="module")
def fresh(tmp_path_factory):
    """A family's model as just loaded: these tests change it."""
    folder = cache(lambda kind: build(kind, tmp_path_factory.mktemp("checkpoints") / kind))
    return lambda kind: load(folder(kind))


def settings(vision, projector, language, **more):
    return TuneSettings(vision, projector, language, **{"rank": 4, "alpha": 8, "dropout": 0.0, **more})


def loss_of(model):
    batch = pack([[model.group((100, 60), TURNS, 0)]], model.pixels([IMAGE]), pad_id=model.speech.pad_id)
    logits_MV, _ = forward_packed(model.family, batch)
    return F.cross_entropy(logits_MV, batch.targets_M)


def step(model):
    """Of an optimiser that is given all parameters, frozen ones too, and pulls hard at every weight it may."""
    optimiser = torch.optim.AdamW(model.family.model.parameters(), lr=0.05, weight_decay=0.5)
    train_mode(model.family)
    loss_of(model).backward()
    optimiser.step()


def values(model):
    return {name: tensor.clone() for name, tensor in model.family.bare.state_dict().items()}


WAYS = [
    ("frozen", "full", "lora"),  # GroundSet's
    ("frozen", "frozen", "lora"),
    ("frozen", "full", "frozen"),  # LLaVA's first stage
    ("lora", "frozen", "frozen"),
    ("full", "lora", "full"),
    ("full", "frozen", "lora"),
]


SEVERAL = ["llava_next", "qwen3_vl", "gemma3"]  # loose parameters, a merger in the tower, tied embeddings


@pytest.mark.parametrize(
    ("kind", "way"),
    [*product(KINDS, WAYS[:1]), *product(SEVERAL, WAYS[1:])],
    ids=lambda v: v if isinstance(v, str) else "-".join(v),
)
def test_frozen_means_frozen(fresh, kind, way):
    if way[1] == "lora" and kind in NO_LINEAR_PROJECTOR:
        return
    model, by_part = fresh(kind), dict(zip(PARTS, way, strict=True))
    made = prepare(model.family, settings(*way))
    before = values(model)
    step(model)
    changed = {name for name, tensor in values(model).items() if not torch.equal(tensor, before[name])}
    for name in before:
        tuning = by_part[model.family.part_of(name)]
        if tuning == "frozen" or (tuning == "lora" and not adapter.is_factor(name)):
            assert name not in changed, f"{name} is {tuning}"
    # what is named does change, but for layers whose output the family does not use
    trained = {name for name, p in model.family.bare.named_parameters() if p.requires_grad}
    assert changed >= {n for n in trained if model.family.part_of(n) != "vision"}
    assert len(changed & trained) > 0.6 * len(trained)
    assert made.trained == sum(p.numel() for p in model.family.model.parameters() if p.requires_grad)
    assert set(made.full) == {name for name in trained if not adapter.is_factor(name)}


@pytest.mark.parametrize("kind", KINDS)
def test_every_linear_layer_of_the_decoder_by_its_full_path(fresh, kind):
    model = fresh(kind)
    before = {name for name, m in model.family.bare.named_modules() if isinstance(m, nn.Linear)}
    at = next(name for name, m in model.family.bare.named_modules() if m is model.family.decoder)
    made = prepare(model.family, settings("frozen", "frozen", "lora"))
    assert set(made.adapted) == {name for name in before if name.startswith(f"{at}.") and ".layers." in name}
    assert len(made.adapted) >= 3 * 7 and adapter.adapted_paths(model.family) == list(made.adapted)
    assert set(model.family.model.peft_config["default"].target_modules) == set(made.adapted)
    assert f"{made.trained:,} of" in str(made) and f"{len(made.adapted)} layers" in str(made)


def test_a_bare_name_would_have_trained_the_tower(fresh):
    """The mistake of the published baseline, which the full paths above do not make."""
    from peft import LoraConfig, get_peft_model

    model = fresh("llava_next")
    get_peft_model(model.family.model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"]))
    hit = {model.family.part_of(name) for name in adapter.adapted_paths(model.family)}
    assert hit == {"vision", "language"}


@pytest.mark.parametrize("kind", KINDS)
def test_parts(fresh, kind):
    family = fresh(kind).family
    found = {part: {n for n, _ in family.bare.named_parameters() if family.part_of(n) == part} for part in PARTS}
    assert all(found.values())
    inside = {id(p) for p in family.decoder.parameters()} | {id(p) for p in family.bare.lm_head.parameters()}
    assert {id(family.bare.get_parameter(name)) for name in found["language"]} == inside
    assert any("patch_embed" in name or "conv" in name for name in found["vision"])
    assert not any("projector" in name or "merger" in name or "connector" in name for name in found["vision"])


@pytest.mark.parametrize("kind", KINDS)
def test_adapters_on_the_head_only_when_asked(fresh, kind):
    model = fresh(kind)
    if kind in SHARED_HEAD:
        with pytest.raises(InputError, match="also the embeddings"):
            prepare(model.family, settings("frozen", "frozen", "lora", lm_head=True))
        return
    assert "lm_head" in prepare(model.family, settings("frozen", "frozen", "lora", lm_head=True)).adapted


@pytest.mark.parametrize(
    ("kind", "way"),
    [*product(KINDS, WAYS[:1]), *product(SEVERAL, [("full", "full", "full"), ("frozen", "full", "frozen")])],
)
def test_gradients_are_equal_when_layers_are_computed_again(fresh, kind, way):
    model = fresh(kind)
    prepare(model.family, settings(*way, dropout=0.3 if "lora" in way else 0.0))

    def gradients():
        train_mode(model.family)
        torch.manual_seed(3)  # adapters drop the same inputs
        model.family.model.zero_grad()
        counted = count_layers(model.family)
        loss_of(model).backward()
        found = {n: p.grad.clone() for n, p in model.family.model.named_parameters() if p.grad is not None}
        return found, counted()

    plain, once = gradients()
    checkpoint_layers(model.family)
    again, twice = gradients()
    assert 3 <= once == twice / 2  # each layer of the decoder is computed a second time
    assert plain.keys() == again.keys() and len(plain) >= 1
    assert any(bool(g.any()) for g in plain.values())
    worst = max(float((again[name] - g).norm() / (g.norm() + 1e-12)) for name, g in plain.items())
    assert worst < 1e-6


def count_layers(family):
    seen = []
    layers = [m for m in family.decoder.modules() if isinstance(m, GradientCheckpointingLayer)]
    handles = [m.self_attn.register_forward_hook(lambda *_: seen.append(1)) for m in layers]

    def end():
        for handle in handles:
            handle.remove()
        return len(seen)

    return end


class Normed(nn.Module):
    """A part of a vision tower with statistics, dropout and a layer to adapt."""

    def __init__(self, first):
        super().__init__()
        self.first, self.norm, self.drop = first, nn.BatchNorm2d(32), nn.Dropout(0.5)

    @property
    def weight(self):
        return self.first.weight

    def forward(self, pixels):
        return self.drop(self.norm(self.first(pixels)))


@pytest.mark.parametrize(
    ("vision", "statistics_move", "drops"),
    [("frozen", False, False), ("lora", False, True), ("full", True, True)],
)
def test_statistics_of_a_frozen_tower_stay(fresh, vision, statistics_move, drops):
    model = fresh("llava")
    embeddings = model.family.bare.model.vision_tower.embeddings
    embeddings.patch_embedding = Normed(embeddings.patch_embedding)
    prepare(model.family, settings(vision, "full", "lora"))
    before = values(model)
    step(model)
    moved = {n for n, t in values(model).items() if "running" in n or "batches" in n if not torch.equal(t, before[n])}
    assert bool(moved) == statistics_move
    assert embeddings.patch_embedding.drop.training == drops
    assert model.family.bare.model.language_model.training and model.family.bare.training


def test_a_model_trained_in_full_without_adapters(fresh):
    model = fresh("qwen2_vl")
    made = prepare(model.family, settings("full", "full", "full"))
    assert made.trained == made.parameters and not made.adapted and not adapter.is_adapted(model.family)


@pytest.mark.parametrize("kind", sorted(NO_LINEAR_PROJECTOR))
def test_a_part_without_layers_to_adapt(fresh, kind):
    with pytest.raises(InputError, match="projector of a model of type 'gemma3' has no linear layers"):
        prepare(fresh(kind).family, settings("frozen", "lora", "lora"))


def test_beginning_is_the_base_model_and_repeatable(fresh):
    plain, model, other = fresh("qwen2_5_vl"), fresh("qwen2_5_vl"), fresh("qwen2_5_vl")
    for init in ("gaussian", "kaiming"):
        model, other = fresh("qwen2_5_vl"), fresh("qwen2_5_vl")
        drawn = torch.random.get_rng_state()
        prepare(model.family, settings("lora", "full", "lora", init=init), seed=5)
        assert torch.equal(torch.random.get_rng_state(), drawn)
        torch.rand(3)
        prepare(other.family, settings("lora", "full", "lora", init=init), seed=5)
        with torch.no_grad():
            assert torch.equal(loss_of(plain), loss_of(model))
        assert all(torch.equal(t, values(other)[n]) for n, t in values(model).items())


def test_prepared_twice_goes_on_and_nothing_else(fresh):
    model = fresh("internvl")
    first = prepare(model.family, settings("frozen", "full", "lora"))
    step(model)
    before = values(model)
    again = prepare(model.family, settings("frozen", "full", "lora"))
    assert (again.adapted, again.full, again.trained) == (first.adapted, first.full, first.trained)
    assert all(torch.equal(t, before[n]) for n, t in values(model).items())
    for other in (settings("frozen", "full", "lora", rank=8), settings("lora", "full", "lora")):
        with pytest.raises(InputError, match="came with an adapter of rank 4"):
            prepare(model.family, other)


@pytest.mark.parametrize("kind", ["llava", "gemma3"])
def test_four_bits(fresh, kind):
    pytest.importorskip("bitsandbytes")
    model, plain, rounded = fresh(kind), fresh(kind), fresh(kind)
    made = prepare(model.family, settings("frozen", "full", "lora", quantise="nf4"))
    adapter.round_to_nf4(rounded.family, made.adapted)
    with torch.no_grad():
        off, exact = (abs(float(loss_of(m) - loss_of(model))) for m in (plain, rounded))
    assert exact < 1e-5 < off  # as good as the base with rounded weights, and these are other ones
    packed = model.family.bare.get_submodule(made.adapted[0]).base_layer.weight
    assert (
        packed.dtype == torch.uint8
        and packed.numel() == plain.family.bare.get_submodule(made.adapted[0]).weight.numel() // 2
    )
    before = values(model)
    step(model)
    changed = {name for name, tensor in values(model).items() if not torch.equal(tensor, before[name])}
    assert changed and all(adapter.is_factor(n) or model.family.part_of(n) == "projector" for n in changed)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"vision": "frozen", "projector": "frozen", "language": "frozen"}, "all frozen"),
        ({"language": "full", "quantise": "nf4"}, "four bits"),
        ({"language": "frozen", "lm_head": True}, "lm_head"),
        ({"rank": 0}, "rank"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_settings_that_cannot_be(wrong, message):
    with pytest.raises(ValueError, match=message):
        TuneSettings(**wrong)


def test_settings_from_toml(tmp_path):
    recipe = tmp_path / "tune.toml"
    recipe.write_text('vision = "lora"\nrank = 64\nquantise = "nf4"\n')
    read = load_settings(TuneSettings, recipe)
    assert read == TuneSettings(vision="lora", rank=64, quantise="nf4")
    assert to_plain(read)["projector"] == "full"
    recipe.write_text('vision = "lora-ish"\n')
    with pytest.raises(ConfigError, match="'frozen', 'full', 'lora'"):
        load_settings(TuneSettings, recipe)
