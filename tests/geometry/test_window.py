from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry import tile


@given(st.integers(1, 300), st.integers(1, 300), st.integers(1, 80), st.data())
def test_tiles_cover_every_pixel_and_stay_inside(width, height, size, data):
    overlap = data.draw(st.integers(0, size - 1))
    if (size - overlap) * 40 < max(width, height):
        return  # thousands of windows prove nothing more
    seen = np.zeros((height, width), dtype=int)
    for window in tile(width, height, size, overlap):
        x1, y1, x2, y2 = window.box
        assert 0 <= x1 < x2 <= width and 0 <= y1 < y2 <= height
        assert (window.width, window.height) == (min(size, width), min(size, height))
        seen[y1:y2, x1:x2] += 1
    assert seen.min() >= 1


def test_neighbours_overlap_at_least_as_asked():
    xs = sorted({w.x for w in tile(1000, 100, 128, 32)})
    assert all(b - a <= 96 for a, b in pairwise(xs))
    assert xs[-1] == 1000 - 128


def test_an_overlap_as_large_as_the_tile_is_refused():
    with pytest.raises(ValueError, match="overlap"):
        tile(10, 10, 4, 4)
