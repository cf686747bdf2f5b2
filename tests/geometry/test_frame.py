import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry import Frame

sizes = st.tuples(st.integers(1, 5000), st.integers(1, 5000))


@given(sizes, sizes, st.integers(1, 2000))
def test_there_and_back(scene, size, numbers):
    frame = Frame.resize(scene, size, numbers)
    xy = np.array([[0, 0], [scene[0], scene[1]], [scene[0] / 3, scene[1] / 7]])
    assert np.allclose(frame.from_numbers(frame.to_numbers(xy)), xy)


def test_corners_are_zero_and_all_numbers():
    frame = Frame.resize((640, 480), (336, 336))
    assert frame.to_numbers(np.array([[0, 0], [640, 480]])).tolist() == [[0, 0], [1000, 1000]]
    assert frame.step_px == (0.64, 0.48)


def test_sides_may_speak_different_numbers():
    # a model that counts the pixels of its own resized image
    frame = Frame.resize((1000, 500), (504, 252), (504, 252))
    assert frame.to_numbers(np.array([[1000, 500]])).tolist() == [[504, 252]]


@pytest.mark.parametrize("bad", [((0, 5), (3, 3), 1000), ((5, 5), (3, 0), 1000), ((5, 5), (3, 3), 0)])
def test_sizes_must_be_positive(bad):
    with pytest.raises(ValueError, match="positive"):
        Frame.resize(*bad)
