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
    """A family's model, loaded from its folder as a user would, without gradients that other tests left on it."""
    once = cache(lambda kind, true_size=False: tiny() if kind == "tiny" else load(checkpoint(kind, true_size)))

    def clean(kind, true_size=False):
        model = once(kind, true_size)
        model.family.model.zero_grad()
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
