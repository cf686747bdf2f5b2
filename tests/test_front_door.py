"""What `import georefer` offers: a change here is a change for users."""

import pytest

import georefer


def test_every_name_of_the_front_door_opens():
    for name in georefer.__all__:
        assert getattr(georefer, name) is not None
    assert set(dir(georefer)) == set(georefer.__all__)


def test_the_names_are_these():
    assert set(georefer.__all__) == {
        "Dataset", "Frame", "GeoGrid", "Objects", "Question", "Scene", "__version__", "ask", "build", "evaluate",
        "load_model", "load_settings", "open_dataset", "open_imagery", "score_answers", "sft", "sweep", "synthesize",
    }  # fmt: skip


def test_an_unknown_name_lists_the_known_ones():
    with pytest.raises(AttributeError, match=r"georefer has no 'buidl'; it has: .*build"):
        georefer.buidl  # noqa: B018
