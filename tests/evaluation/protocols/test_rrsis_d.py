"""RMSIN's measures on masks counted by hand; no reference results of the original were at hand."""

import gzip
import json

import numpy as np
import pytest
from PIL import Image

from georefer.errors import InputError
from georefer.evaluation.protocols.rrsis_d import PROTOCOL, nearest_places, sampled
from georefer.geometry import Mask

SIZE = (4, 6)


def box(x1, y1, x2, y2, size=SIZE):
    dense = np.zeros(size, dtype=bool)
    dense[y1:y2, x1:x2] = True
    return Mask.from_dense(dense).to_coco()


def scored(tmp_path, rows, beside=True, **settings):
    path = tmp_path / "answers.jsonl"
    rows = [{"id": i, "prediction": p, "ground_truth": t} for i, (p, t) in enumerate(rows)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PROTOCOL.score(path, settings, beside)


def test_sampling_is_that_of_pillow():
    rng = np.random.default_rng(0)
    for size in (*range(1, 200), 480, 512, 799, 800, 801, 1000, 1023, 2333, 7617):
        ramp = Image.fromarray(np.arange(size, dtype=np.int32)[None])
        for side in (1, 7, 100, 480, 800):
            resized = np.asarray(ramp.resize((side, 1), Image.Resampling.NEAREST))[0]
            assert (nearest_places(size, side) == resized).all(), (size, side)
    for height, width in ((5, 3), (800, 640), (481, 479)):
        dense = rng.random((height, width)) < 0.5
        resized = np.asarray(Image.fromarray(dense.astype(np.uint8)).resize((480, 480), Image.Resampling.NEAREST))
        found = sampled(Mask.from_dense(dense), (480, 480)).reshape(480, 480).T
        assert (found == (resized == 1)).all()


FULL, NONE = box(0, 0, 6, 4), box(0, 0, 0, 0)
LEFT, RIGHT, MIDDLE = box(0, 0, 4, 4), box(2, 0, 6, 4), box(2, 0, 4, 4)


@pytest.mark.parametrize(
    "prediction, truth, published, strict, reasons",
    [
        (LEFT, LEFT, 1, 1, ()),
        (LEFT, RIGHT, 1 / 3, 1 / 3, ()),  # 480 is a multiple of both sides: nothing changes
        (LEFT, [LEFT], 1, 1, ()),
        (FULL, [LEFT, RIGHT], 2 / 3, 1, ("overlap-lost",)),
        (MIDDLE, [LEFT, RIGHT], 0, 1 / 3, ("overlap-lost",)),
        (FULL, [LEFT, MIDDLE, MIDDLE], 1 / 3, 2 / 3, ("overlap-lost",)),  # the value 3 is lost too
        (NONE, NONE, 0, 1, ("empty-zero",)),
        (None, NONE, 0, 1, ("empty-zero",)),  # null says nothing
        (None, LEFT, 0, 0, ()),
        (LEFT, NONE, 0, 0, ()),
        (box(0, 0, 2, 2, (2, 3)), LEFT, 1, 1, ()),  # the answer of a network of another size
        # of 720 rows the second of every three is not looked at
        (box(0, 0, 480, 481, (720, 720)), box(0, 0, 480, 482, (720, 720)), 1, 481 / 482, ("resized",)),
    ],
)
def test_one_row(tmp_path, prediction, truth, published, strict, reasons):
    scores = scored(tmp_path, [(prediction, truth)])
    (row,) = scores.rows
    assert row.published == pytest.approx(published, abs=1e-9) and row.strict == pytest.approx(strict, abs=1e-9)
    assert row.reasons == reasons and set(reasons) <= set(PROTOCOL.quirks)


def test_the_numbers_are_those_that_the_script_prints(tmp_path):
    # at 6 x 4 cells of 9,600 pixels: IoU 1, 1/3, 1/2, 0
    rows = [(LEFT, LEFT), (LEFT, RIGHT), (box(0, 0, 2, 4), LEFT), (NONE, NONE)]
    scores = scored(tmp_path, rows)
    cells = 480 * 480 // 24
    assert scores.numbers == {
        "answers": {
            "mean IoU": pytest.approx(100 * (1 + 1 / 3 + 1 / 2) / 4),
            "precision@0.5": 50.0,  # IoU of exactly 0.5 counts
            "precision@0.6": 25.0,
            "precision@0.7": 25.0,
            "precision@0.8": 25.0,
            "precision@0.9": 25.0,
            "overall IoU": pytest.approx(100 * (16 + 8 + 8) / (16 + 24 + 16)),
            "seg_total": 4,
            "cum_I": 32 * cells,
            "cum_U": 56 * cells,
            "printed": [
                "Final results:",
                "Mean IoU is 45.83",
                "    precision@0.5 = 50.00",
                *[f"    precision@{t} = 25.00" for t in (0.6, 0.7, 0.8, 0.9)],
                "    overall IoU = 57.14",
            ],
        }
    }
    beside = {b.measure: (b.published, b.strict) for b in scores.beside}
    assert beside["mean IoU"] == pytest.approx((100 * 11 / 24, 100 * 17 / 24))
    assert beside["precision@0.5"] == (50.0, 75.0)
    assert beside["overall IoU"] == pytest.approx((100 * 32 / 56, 100 * 32 / 56))
    assert not scored(tmp_path, rows, beside=False).beside
    assert scored(tmp_path, [(NONE, NONE)]).numbers["answers"]["overall IoU"] is None


def test_another_size_may_be_set(tmp_path):
    row = (box(0, 0, 480, 481, (720, 720)), box(0, 0, 480, 482, (720, 720)))
    assert scored(tmp_path, [row], size="720").rows[0].published == pytest.approx(481 / 482)
    for size in ("0", "-5", "many", "99999"):
        with pytest.raises(InputError, match="no side of an image"):
            scored(tmp_path, [row], size=size)


def test_lists_and_packed_files_are_read(tmp_path):
    rows = [{"id": "a", "prediction": LEFT, "ground_truth": LEFT}]
    for name, text in (("masks.json", json.dumps(rows)), ("masks.jsonl", json.dumps(rows[0]))):
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.gz").write_bytes(gzip.compress(text.encode()))
        assert PROTOCOL.score(folder, {}, False).numbers["masks"]["mean IoU"] == 100


@pytest.mark.parametrize(
    "text, match",
    [
        ('{"id": 1, "prediction": null}', "ground_truth is no COCO"),
        ('{"id": 1, "ground_truth": []}', "parts of several sizes, or none"),
        ('{"id": 1, "ground_truth": {"size": [2, 2], "counts": [1]}}', "ground_truth is no COCO"),
        ('{"id": 1, "ground_truth": {"size": [0, 0], "counts": []}}', "or none"),
        ("", "no rows"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, text, match):
    path = tmp_path / "a.jsonl"
    path.write_text(text)
    with pytest.raises(InputError, match=match):
        PROTOCOL.score(path, {}, False)


def test_repeated_rows_and_unclear_folders_are_refused(tmp_path):
    row = json.dumps({"id": 1, "prediction": LEFT, "ground_truth": LEFT})
    (tmp_path / "a.jsonl").write_text(f"{row}\n{row}\n")
    with pytest.raises(InputError, match="more than once"):
        PROTOCOL.score(tmp_path, {}, False)
    assert PROTOCOL.score(tmp_path, {"partial": "yes"}, False).numbers["a"]["seg_total"] == 2
    (tmp_path / "b.json").write_text("[]")
    with pytest.raises(InputError, match="holds 2 files"):
        PROTOCOL.score(tmp_path, {}, False)
    (tmp_path / "a.jsonl").unlink()
    (tmp_path / "b.json").write_text("{}")
    with pytest.raises(InputError, match="no list of objects"):
        PROTOCOL.score(tmp_path, {}, False)


def test_masks_that_are_none_count_as_empty_in_bounded_time(tmp_path):
    junk = [
        {"size": [4, 6], "counts": "x" * 1_000_000},
        {"size": [99999, 99999], "counts": "1"},
        {"size": [4, 6], "counts": [1, -1, 24]},
        {"size": "ab", "counts": []},
        "mask",
        {"size": [0, 0], "counts": []},
        {"size": [16384, 16384], "counts": [0, 1 << 28]},  # large, but a mask
    ]
    scores = scored(tmp_path, [(mask, LEFT) for mask in junk])
    assert [stop.id for stop in scores.stops] == [0, 1, 2, 3, 4]
    assert [row.published for row in scores.rows[:6]] == [0] * 6
    assert scores.rows[6].published == pytest.approx(2 / 3)
