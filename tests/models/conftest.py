"""Small checkpoints of every family, written and loaded once a session."""

from __future__ import annotations

from functools import cache

import pytest
from tests.data.checkpoints import build

from georefer.models.loading import load


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory):
    """Folder of a family's checkpoint; `true_size` with pictures as large as the released models'."""

    @cache
    def folder(kind, true_size=False):
        return build(kind, tmp_path_factory.mktemp("checkpoints") / kind, true_size=true_size)

    return folder


@pytest.fixture(scope="session")
def loaded(checkpoint):
    """A family's model, loaded from its folder as a user would."""
    return cache(lambda kind, true_size=False: load(checkpoint(kind, true_size)))
