"""A small dataset for every test of the room."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "data"))

from small import small_dataset

from georefer.evaluation import truth_from
from georefer.models.fake import FakeModel


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("small") / "dataset")


@pytest.fixture(scope="session")
def oracle(dataset):
    """A model that is always right, in text exact to a thousandth of the image."""
    return FakeModel(truth_from(dataset, "test"))
