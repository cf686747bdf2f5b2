"""A small dataset for every test of the room."""

import pytest
from tests.data.small import small_dataset

from georefer.evaluation import truth_from
from georefer.models.fake import FakeModel


@pytest.fixture(scope="session")
def dataset(tmp_path_factory):
    return small_dataset(tmp_path_factory.mktemp("small") / "dataset")


@pytest.fixture(scope="session")
def oracle(dataset):
    """A model that is always right, in text exact to a thousandth of the image."""
    return FakeModel(truth_from(dataset, "test"))
