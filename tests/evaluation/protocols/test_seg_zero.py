"""Seg-Zero's rewards: every row as the originals gave it, quirk by quirk, and what an answer deserves instead."""

import gzip
import json

import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.seg_zero import FILE, PROTOCOL
from georefer.training.rewards.published.seg_zero import seg_reward

TRUTH = "<box>(100,100),(200,200)</box><points>(120,120),(180,180)</points>"


def answer(box=(100, 100, 200, 200), one=(120, 120), two=(180, 180), keys=("bbox", "points_1", "points_2")):
    said = dict(zip(keys, (list(box), list(one), list(two)), strict=True))
    return f"<think>t</think> <answer>{json.dumps(said)}</answer>"


@pytest.mark.shared
@pytest.mark.parametrize("beside", [False, True])
def test_every_row_is_as_published(golden, beside):
    expected = json.loads(gzip.decompress((golden / "geo-r1" / "expected.json.gz").read_bytes()))["segzero"]
    scores = PROTOCOL.score(golden / "geo-r1", {}, beside)
    assert scores.numbers == {"segzero": expected} and len(scores.rows) == expected["rows"] == 200
    if beside:
        assert len(scores.differing()) > 50
        assert all(row.reasons and set(row.reasons) <= set(PROTOCOL.quirks) for row in scores.differing())
        assert not any(row.reasons for row in scores.rows if not row.differs)


@pytest.mark.parametrize(
    "content, free, restricted",
    [
        (answer(), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1)),
        (answer(one=(180, 180), two=(120, 120)), (1, 1, 1, 1, 1), (1, 1, 1, 1, 1)),  # either order of points
        (answer(keys=("bbox_2d", "point_1", "point_2")), (1, 1, 1, 1, 0), (1, 0, 0, 0, 0)),  # nearness wants "points"
        (answer(keys=("BBOX", "Points_1", "Points_2")), (1, 1, 1, 1, 1), (1, 0, 0, 0, 0)),
        (answer(box=(100, 100, 200, 160)), (1, 1, 1, 0, 0), (1, 1, 1, 0, 0)),  # mean distance is 10: not below
        (answer(box=(100, 100, 200, 161)), (1, 1, 1, 1, 0), (1, 1, 1, 1, 0)),
        (answer(box=(100, 100, 200, 149)), (1, 1, 0, 0, 0), (1, 1, 0, 0, 0)),  # 50 rows of 101
        (answer(one=(99, 120)), (1, 1, 1, 1, 0), (1, 1, 1, 1, 0)),  # outside the box that was said
        (answer(box="abcd"), (1, 1, 0, 0, 0), (1, 1, 0, 0, 0)),  # four letters have the form
        (answer(box=(1, 2, 3)), (1, 0, 0, 0, 0), (1, 0, 0, 0, 0)),
        ("<think>t</think><answer>none</answer>", (1, 0, 0, 0, 0), (1, 0, 0, 0, 0)),
        ('<think>{"bbox": [1, 2, 3, 4]}</think>' + answer()[17:], (1, 0, 0, 0, 0), (1, 0, 0, 0, 0)),  # in the thought
        (answer() + " done", (0, 1, 1, 1, 1), (0, 1, 1, 1, 1)),
        (answer().replace('"', "'"), (1, 0, 0, 0, 0), (1, 0, 0, 0, 0)),
        ("{}" + answer(), (0, 1, 1, 1, 1), (0, 1, 1, 1, 1)),  # empty braces are passed over
        ("", (0, 0, 0, 0, 0), (0, 0, 0, 0, 0)),
    ],
)
def test_parts_of_the_reward(content, free, restricted):
    for restrict, parts in ((False, free), (True, restricted)):
        reward = seg_reward(content, TRUTH, restrict)
        assert tuple(reward.values()) == (sum(parts), *parts)


def test_an_iou_of_exactly_one_half_is_not_above_it():
    # the last pixel is counted in: 10 x 5 of 10 x 10
    small = "<box>(0,0),(9,9)</box>"
    assert seg_reward(answer(box=(0, 0, 9, 4)), small)["iou"] == 0
    assert seg_reward(answer(box=(0, 0, 9, 5)), small)["iou"] == 1


@pytest.mark.parametrize("solution", ["", "<box>(1,2),(3,4)", f"<box>({'9' * 5000},1),(2,3)</box>"])
def test_without_a_readable_truth_the_form_is_all(solution):
    assert tuple(seg_reward(answer(), solution).values()) == (2, 1, 1, 0, 0, 0)


def write(path, cases):
    lines = [json.dumps({"id": k, "content": c, "solution": s}) for k, (c, s, *_) in enumerate(cases)]
    path.write_bytes(gzip.compress("\n".join(lines).encode()))


def test_rows_say_why_they_differ(tmp_path):
    cases = [
        (answer(), TRUTH, 1.0, 1.0, ()),
        (answer(box=(100, 100, 200, 165)), TRUTH, 0.8, 0.65, ("points", "steps")),
        ("<think>t</think><answer>nothing</answer>", TRUTH, 0.2, 0.0, ("form",)),
        (answer(), "", 0.4, 0.0, ("form",)),
        ("<think>t</think><answer>[]</answer>", "", 0.2, 1.0, ("form", "no-target")),
        ("{}" + answer().replace('"', "'"), TRUTH, 0.0, 1.0, ("first-braces",)),
    ]
    write(tmp_path / f"{FILE}.gz", cases)
    scores = PROTOCOL.score(tmp_path, {}, True)
    for row, (*_, published, strict, reasons) in zip(scores.rows, cases, strict=True):
        assert (row.published, row.strict) == pytest.approx((published, strict)), row
        assert set(reasons) <= set(row.reasons) and bool(reasons) == row.differs, row
    assert scores.beside[0].published == pytest.approx(2.6 / 6)
    write(tmp_path / "own.jsonl.gz", cases[:1])
    assert PROTOCOL.score(tmp_path / "own.jsonl.gz", {}, False).numbers["segzero"]["rows"] == 1


def test_bad_files_are_refused(tmp_path):
    with pytest.raises(InputError, match="holds none of"):
        PROTOCOL.score(tmp_path, {}, False)
    (tmp_path / FILE).write_text('{"id": 1, "content": "", "solution": ""}\n' * 2)
    with pytest.raises(InputError, match="more than once"):
        PROTOCOL.score(tmp_path, {}, False)
    assert PROTOCOL.score(tmp_path, {"partial": "yes"}, False).numbers["segzero"]["seg"]["total"] == [0, 0]


@pytest.mark.parametrize("junk", ["{", "{}", '{"bbox": [1', "<think>", "</think> ", "<box>(1,"])
def test_a_megabyte_of_junk_is_scored_in_time(junk):
    text = junk * (1_000_000 // len(junk))
    assert seg_reward(text, TRUTH)["iou"] == 0
    seg_reward("{" + text + "}", text)
