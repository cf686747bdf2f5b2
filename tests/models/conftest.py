"""Small checkpoints of every family, written and loaded once a session."""

from __future__ import annotations

from functools import cache

import pytest
from tests.data.checkpoints import build

from georefer.models.loading import load
from georefer.models.tiny import TinySettings, create_tiny


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a family's checkpoint; `true_size` with pictures as large as the released models'."""

    @cache
    def folder(kind, true_size=False):
        return build(kind, tmp_path_factory.mktemp("checkpoints") / kind, true_size=true_size)

    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint):
    """A family's model, loaded from its folder as a user would, without what other tests left on it.

    That is gradients, the training mode and another attention.
    """

    @cache
    def once(kind, true_size):
        model = tiny() if kind == "tiny" else load(checkpoint(kind, true_size))
        configs = {id(part.config): part.config for part in model.family.model.modules() if hasattr(part, "config")}
        return model, [(config, config._attn_implementation_internal) for config in configs.values()]

    def clean(kind, true_size=False):
        model, attention = once(kind, true_size)
        model.family.model.eval().zero_grad()
        for config, name in attention:
            config._attn_implementation_internal = name
        return model

    return clean


def tiny():
    """A tiny model of lively weights, in evaluation mode: batch statistics would join its images."""
    settings = TinySettings(
        image_size=32, numbers=32, width=32, heads=2, text_layers=2, text_mlp=48,
        stem_widths=(8, 8, 16), stem_blocks=(0, 0, 0), initializer_range=0.5, seed=3,
    )  # fmt: skip
    made = create_tiny(settings, ["where is the red building? [1, 2, 3, 4]", "find every tank, none"])
    made.family.model.eval()
    return made
