import json
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from georefer.geometry import AnyRes, Frame
from georefer.geometry.frame import smart_resize

sides = st.integers(8, 5000)
sizes = st.tuples(sides, sides)
small = st.tuples(st.integers(28, 2000), st.integers(28, 2000))
RULES = {
    "resize": Frame.resize,
    "letterbox": Frame.letterbox,
    "letterbox, corner": lambda scene, size: Frame.letterbox(scene, size, centred=False),
    "square padded": lambda scene, size: Frame.square_padded(scene, size[0]),
    "centre crop": Frame.centre_crop,
    "smart resize 28": lambda scene, size: Frame.qwen(scene),
    "smart resize 32": lambda scene, size: Frame.qwen(scene, factor=32, min_pixels=65_536, max_pixels=16_777_216),
    "groundset 672": lambda scene, size: Frame.groundset(scene),
}
LLAVA_16 = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]


@pytest.mark.parametrize("rule", RULES)
@given(scene=sizes, size=small)
def test_there_and_back(rule, scene, size):
    if max(scene) / min(scene) > 200:
        return
    frame = RULES[rule](scene, size)
    assert frame.rule == rule and (frame.scene_width, frame.scene_height) == scene
    xy = np.array([[0, 0], [scene[0], scene[1]], [scene[0] / 3, scene[1] / 7], [-5.5, 3 * scene[1]]])
    for there, back in ((frame.to_model, frame.from_model), (frame.to_numbers, frame.from_numbers)):
        assert np.abs(back(there(xy)) - xy).max() <= 1e-9 * max(scene)
    assert Frame(**frame.describe()) == frame
    assert json.loads(json.dumps(asdict(frame))) == asdict(frame)


@given(scene=sizes)
def test_qwen_sides_are_multiples_within_the_limits(scene):
    if max(scene) / min(scene) > 50:
        return
    wide, high = smart_resize(scene, factor=28, min_pixels=3136, max_pixels=1_003_520)
    assert wide % 28 == high % 28 == 0 and 3136 <= wide * high <= 1_003_520


@pytest.mark.shared
def test_qwen_resizes_as_transformers_does(golden):
    rows = json.loads((golden / "dialects" / "smart_resize.json").read_text())
    assert len(rows) == 160
    for row in rows:
        limits = {name: row[name] for name in ("factor", "min_pixels", "max_pixels")}
        if "exception" in row:
            with pytest.raises(ValueError, match="aspect"):
                smart_resize((row["width"], row["height"]), **limits)
        else:
            found = smart_resize((row["width"], row["height"]), **limits)
            assert found == (row["out_width"], row["out_height"]), row


def test_a_square_is_padded_before_it_is_resized():
    frame = Frame.square_padded((333, 516), 336)
    # 183 scene pixels are missing; the odd one is on the right
    assert (frame.x, frame.y, frame.extent_width) == (-91, 0, 516)
    assert frame.to_model(np.array([[0, 0]])).tolist() == [[91 * 336 / 516, 0]]


def test_a_letterbox_keeps_the_shape():
    frame = Frame.letterbox((1000, 500), (640, 640))
    assert frame.to_model(np.array([[0, 0], [1000, 500]])).tolist() == [[0, 160], [640, 480]]
    corner = Frame.letterbox((1000, 500), (640, 640), centred=False)
    assert corner.to_model(np.array([[0, 0], [1000, 500]])).tolist() == [[0, 0], [640, 320]]


def test_a_centre_crop_loses_the_ends():
    frame = Frame.centre_crop((1000, 500), (224, 224))
    assert frame.to_model(np.array([[500, 250]])).tolist() == [[112, 112]]
    assert frame.to_model(np.array([[0, 0]]))[0, 0] == -112
    # shorter side to 256 first, then the middle 224: what CLIP's evaluation does
    assert Frame.centre_crop((500, 500), (224, 224), shortest=256).extent_width == pytest.approx(437.5)


def test_numbers_count_along_what_is_shown():
    frame = Frame.resize((640, 480), (336, 336))
    assert frame.to_numbers(np.array([[0, 0], [640, 480]])).tolist() == [[0, 0], [1000, 1000]]
    assert frame.step_px == (0.64, 0.48)
    assert frame.to_numbers(np.array([[640, 480]]), (336, 100)).tolist() == [[336, 100]]
    # a model that counts the pixels of its own resized image
    own = Frame.resize((1000, 500), (504, 252), (504, 252))
    assert own.to_numbers(np.array([[1000, 500]])).tolist() == [[504, 252]]


@given(scene=sizes)
def test_anyres_tiles_cover_the_scene_once(scene):
    view = AnyRes.of(scene, LLAVA_16)
    assert view.base.size == (336, 336) and len(view.tiles) == view.columns * view.rows
    first, last = view.tiles[0], view.tiles[-1]
    assert first.x <= 1e-9 and first.y <= 1e-9
    assert last.x + last.extent_width >= scene[0] - 1e-6 and last.y + last.extent_height >= scene[1] - 1e-6
    for left, right in zip(view.tiles, view.tiles[1:], strict=False):
        if right.y == left.y:
            assert right.x == pytest.approx(left.x + left.extent_width)
    point = np.array([[scene[0] * 0.4, scene[1] * 0.6]])
    holders = [t for t in view.tiles if (t.to_model(point) >= 0).all() and (t.to_model(point) < 336).all()]
    assert len(holders) == 1
    assert np.allclose(holders[0].from_model(holders[0].to_model(point)), point)


@pytest.mark.parametrize(
    "scene", [(672, 672), (800, 600), (333, 517), (4000, 2250), (100, 900), (1024, 1000), (64, 48)]
)
def test_anyres_takes_the_size_that_llava_takes(scene):
    library = pytest.importorskip("transformers.image_processing_utils")
    wide, high = scene
    best = library.select_best_resolution((high, wide), [(h, w) for w, h in LLAVA_16])
    patch = library.get_patch_output_size(np.zeros((high, wide, 3)), best, "channels_last")
    view = AnyRes.of(scene, LLAVA_16)
    assert (view.rows * 336, view.columns * 336) == tuple(best)
    first = view.tiles[0]
    pad = ((best[1] - patch[1]) // 2, (best[0] - patch[0]) // 2)
    assert first.to_model(np.array([[0.0, 0.0]]))[0] == pytest.approx(pad)
    assert first.to_model(np.array([[float(wide), float(high)]]))[0] == pytest.approx(
        (pad[0] + patch[1], pad[1] + patch[0])
    )


@pytest.mark.parametrize("bad", [((0, 5), (3, 3), 1000), ((5, 5), (3, 0), 1000), ((5, 5), (3, 3), 0)])
def test_sizes_must_be_positive(bad):
    with pytest.raises(ValueError, match="positive"):
        Frame.resize(*bad)


def test_errors_name_what_was_found():
    with pytest.raises(ValueError, match="aspect limit of 200"):
        Frame.qwen((1000, 4))
    with pytest.raises(ValueError, match="multiples of 336"):
        AnyRes.of((100, 100), [(300, 300)])
