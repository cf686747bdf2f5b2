"""Geo-R1's REC and GRES against what the originals gave, their quirks in a line each, and what strict scoring says."""

import gzip
import json

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.geo_r1 import PROTOCOL, rec_iou
from georefer.evaluation.protocols.geo_r1_parsers import read_ovd, read_sft
from georefer.training.rewards.published.geo_r1 import clip_to_box, read_gres, read_rl


def expected_of(golden):
    return json.loads(gzip.decompress((golden / "geo-r1" / "expected.json.gz").read_bytes()))


def check(found, expected, where=""):
    """Equal to 1e-9, with all keys but notes."""
    if isinstance(expected, dict):
        assert set(found) == {key for key in expected if not key.endswith("_note")}, where
        for key in found:
            check(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, pair in enumerate(zip(found, expected, strict=True)):
            check(*pair, f"{where}/{place}")
    elif isinstance(expected, bool | str | None):
        assert found == expected, where
    else:
        assert found == pytest.approx(expected, abs=1e-9), where


PARTS = {"rec", "ovd_constant", "ovd_scored", "gres", "extract_answer", "extract_answer_od"}


@pytest.mark.shared
@pytest.mark.parametrize("beside", [False, True])
def test_all_numbers_are_as_published(golden, beside):
    scores = PROTOCOL.score(golden / "geo-r1", {}, beside)
    assert set(scores.numbers) == PARTS
    expected = expected_of(golden)
    for part, numbers in scores.numbers.items():
        check(numbers, expected[part], part)
    json.dumps(scores.numbers)
    raised = sum(isinstance(v, dict) for v in expected["extract_answer"]["test_ovd_nwpu_eval"])
    assert len([s for s in scores.stops if s.part == "extract_answer"]) == raised > 100
    if beside:
        assert {row.part for row in scores.differing()} >= {"rec", "gres", "ovd_constant", "ovd_scored"}
        assert all(row.reasons and set(row.reasons) <= set(PROTOCOL.quirks) for row in scores.differing())
        assert not any(row.reasons for row in scores.rows if not row.differs)


@pytest.mark.shared
@pytest.mark.parametrize(
    "name, part",
    [
        ("rec_results.json.gz", "rec"),
        ("ovd_constant_pred.json", "ovd_constant"),
        ("gres_results.jsonl", "gres"),
        ("rewards_od.jsonl.gz", "extract_answer_od"),
    ],
)
def test_a_single_file_gives_its_part_alone(golden, name, part):
    scores = PROTOCOL.score(golden / "geo-r1" / name, {}, False)
    assert set(scores.numbers) == {part}
    check(scores.numbers[part], expected_of(golden)[part])


@pytest.mark.shared
def test_single_functions_are_as_published(golden):
    expected = expected_of(golden)
    for row in expected["gres_parse"]:
        if isinstance(row["parsed"], dict):
            with pytest.raises(AttributeError):
                read_gres(row["content"])
            read_gres(row["content"], lenient=True)
        else:
            assert read_gres(row["content"]) == row["parsed"]
    for row in expected["gres_clip"]:
        assert clip_to_box(np.ones(row["mask_shape"], dtype=bool), row["bbox"]).sum() == row["kept"]


# --- parsers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "content, rl, sft, ovd",
    [
        ('<answer>{"bbox_2d": [1, 2, 3, 4]}</answer>', [1, 2, 3, 4], [1, 2, 3, 4], TypeError),  # the list is of numbers
        ("<answer>{[1, 2, 3, 4] [5, 6, 7, 8]}</answer>", [5, 6, 7, 8], [1, 2, 3, 4], []),  # last, first
        ("<answer>[1, 2, 3, 4]</answer>", [0, 0, 0, 0], [1, 2, 3, 4], TypeError),  # no braces
        ('[{"bbox_2d": ["1", 2.9, 3, 4]}]', [0, 0, 0, 0], [0, 0, 0, 0], [[1, 2, 3, 4]]),  # texts and cut numbers
        ('```json\n[{"bbox_2d": [1, 2, 3]}]\n```', [0, 0, 0, 0], [0, 0, 0, 0], []),  # three numbers
        ("[ -1 , .5 ,3.25, 4]", [0, 0, 0, 0], [-1, 0.5, 3.25, 4], []),
        ("None", [0, 0, 0, 0], [0, 0, 0, 0], []),
    ],
)
def test_three_parsers_read_three_ways(content, rl, sft, ovd):
    assert read_rl(content) == rl and read_sft(content) == sft
    if ovd is TypeError:
        with pytest.raises(TypeError):
            read_ovd(content)
        assert read_ovd(content, lenient=True) == []
    else:
        assert read_ovd(content) == ovd


@pytest.mark.parametrize(
    "junk",
    ["<answer>", "[1,", "{", "```json", "9", "[" * 3, "<think></think>", '{"a":', "[ ", "} ]", "\n", "[1, 2, 3, 4"],
)
def test_a_megabyte_of_junk_is_read_in_time(junk):
    text = junk * (1_000_000 // len(junk))
    for wrapped in (text, f"<answer>{{{text}}}</answer>", f"```json{text}```"):
        assert read_rl(wrapped) == [0, 0, 0, 0] and read_sft(wrapped) == [0, 0, 0, 0]
        read_ovd(wrapped, lenient=True)
        read_gres(wrapped, lenient=True)


# --- REC -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "predicted, truth, iou",
    [
        ([0, 0, 10, 10], [0, 0, 10, 10], 1.0),
        ([0, 0, 10, 10], [9, 0, 19, 10], 0.0),  # one pixel is shared
        ([0, 0, 10, 10], [8, 0, 18, 10], 20 / 180),  # two are
        (["0", "0", "10", "10"], [0, 0, 10, 10], 1.0),
        ([10, 10, 0, 0], [0, 0, 10, 10], 0.0),
        ([0, 0, 10], [0, 0, 10, 10], 0.0),
        (None, [0, 0, 10, 10], 0.0),
        ([0, 0, 0, 0], [0, 0, 0, 0], 0.0),
    ],
)
def test_iou_of_one_box(predicted, truth, iou):
    assert rec_iou(predicted, truth) == pytest.approx(iou)


def write_rec(folder, answers, unique=None):
    truth = [0, 0, 10, 10]
    rows = [{"image": "a", "question": f"q{k}", "ground_truth": truth, "extracted_answer": a} for k, a in answers]
    (folder / "rec_results.json").write_text(json.dumps({"results": rows}))
    if unique is not None:
        tests = [{"image": "a", "problem": f"q{k}", "is_unique": flag} for k, flag in unique]
        (folder / "rec_testset.json").write_text(json.dumps(tests))
    return folder


def test_rec_rows_and_their_reasons(tmp_path):
    answers = {
        "right": ([0, 0, 10, 10], 1.0, 1.0, ()),
        "half": ([0, 0, 10, 5], 0.0, 1.0, ("strictly-above",)),
        "swapped": ([10, 10, 0, 0], 0.0, 1.0, ("swapped-corners",)),
        "wrong": ([50, 50, 60, 60], 0.0, 0.0, ()),
        "text": (["x", 0, 10, 10], 0.0, 0.0, ()),
    }
    folder = write_rec(tmp_path, [(k, a[0]) for k, a in answers.items()], [("right", True), ("half", False)])
    scores = PROTOCOL.score(folder, {}, True)
    rec = scores.numbers["rec"]
    assert rec["all"]["0.5"] == {"accuracy": 20.0, "correct": 1} and rec["rows"] == 5
    assert rec["unique"]["n"] == rec["non_unique"]["n"] == 1
    assert rec["printed_all"][1] == "- Acc @ IoU > 0.50 :  20.00%  (1 / 5)"
    for row, (_, published, strict, reasons) in zip(scores.rows, answers.values(), strict=True):
        assert (row.published, row.strict, row.reasons) == (published, strict, reasons)
    assert [stop.id for stop in scores.stops] == [4]
    assert "3 rows are not in the test list" in scores.notes[0]
    by_measure = {b.measure: (b.published, b.strict) for b in scores.beside}
    assert by_measure["acc@0.5"] == (20.0, 60.0)


def test_tiny_boxes_lose_by_one_pixel(tmp_path):
    rows = [{"image": "a", "question": "q", "ground_truth": [0, 0, 1, 1], "extracted_answer": [0, 0, 1, 1]}]
    (tmp_path / "rec_results.json").write_text(json.dumps({"results": rows}))
    (row,) = PROTOCOL.score(tmp_path, {}, True).rows
    assert (row.published, row.strict, row.reasons) == (0.0, 1.0, ("one-pixel",))


def test_the_test_list_may_lie_elsewhere_and_be_packed(tmp_path):
    (tmp_path / "a").mkdir()
    write_rec(tmp_path / "a", [("k", [0, 0, 10, 10])])
    data = json.dumps([{"image": "a", "problem": "qk", "is_unique": True}]).encode()
    (tmp_path / "list.json.gz").write_bytes(gzip.compress(data))
    file = tmp_path / "a" / "rec_results.json"
    assert "unique" not in PROTOCOL.score(file, {}, False).numbers["rec"]
    numbers = PROTOCOL.score(file, {"testset": str(tmp_path / "list.json.gz")}, False).numbers["rec"]
    assert numbers["unique"]["0.9"] == {"accuracy": 100.0, "correct": 1} and numbers["non_unique"]["n"] == 0


def test_repeated_and_broken_rec_files_are_refused(tmp_path):
    folder = write_rec(tmp_path, [("k", [0, 0, 10, 10]), ("k", [0, 0, 1, 1])])
    with pytest.raises(InputError, match="more than once"):
        PROTOCOL.score(folder, {}, False)
    assert PROTOCOL.score(folder, {"partial": "yes"}, False).numbers["rec"]["rows"] == 2
    (tmp_path / "rec_results.json").write_text("[]")
    with pytest.raises(InputError, match="has no list 'results'"):
        PROTOCOL.score(folder, {}, False)
    with pytest.raises(InputError, match=r"holds no rec_results\.json"):
        PROTOCOL.score(tmp_path / "nothing", {}, False)


# --- GRES ------------------------------------------------------------------------------------------------


def write_gres(folder, counts):
    rows = [{"id": k, "category": "ab"[k % 2], "intersection": i, "union": u} for k, (i, u) in enumerate(counts)]
    (folder / "gres_results.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_right_empty_answer_is_nothing_as_published_and_one_in_truth(tmp_path):
    scores = PROTOCOL.score(write_gres(tmp_path, [(0, 0), (5, 10), (0, 20)]), {}, True)
    gres = scores.numbers["gres"]
    assert gres["overall_gIoU"] == pytest.approx(0.5 / 3) and gres["overall_cIoU"] == pytest.approx(5 / 30)
    assert gres["per_category"]["a"] == {"count": 2.0, "gIoU": 0.0, "cIoU": 0.0}
    assert gres["printed"] == ["** 总体 gIoU: 0.1667 **", "** 总体 cIoU: 0.1667 **"]
    assert [(r.id, r.reasons) for r in scores.differing()] == [(0, ("union-empty",))]
    assert {b.measure: b.strict for b in scores.beside} == pytest.approx({"gIoU": 0.5, "cIoU": 5 / 30})


@pytest.mark.parametrize("counts", [(3, 2), (-1, 2), (None, 2), (True, 2), (float("nan"), 1)])
def test_impossible_pixel_counts_are_refused(tmp_path, counts):
    with pytest.raises(InputError):
        PROTOCOL.score(write_gres(tmp_path, [counts]), {}, False)


def test_parsers_over_reward_rows_say_why_a_box_is_not_the_one_said(tmp_path):
    contents = {
        '<answer>{"bbox_2d": [1, 2, 30, 40]}</answer>': (1.0, 1.0, ()),
        '<answer>[{"bbox_2d": [1, 2, 30, 40]}, {"bbox_2d": [5, 6, 70, 80]}]</answer>': (1, 0, ("first-or-last-box",)),
        '<answer>{"bbox_2d": [1.5, 2, 30, 40]}</answer>': (0.0, 1.0, ("whole-numbers",)),
        '<answer>{"size": [1, 2, 30, 40]}</answer>': (1.0, 0.0, ("any-numbers",)),
    }
    lines = [json.dumps({"id": k, "content": c, "solution": ""}) for k, c in enumerate(contents)]
    (tmp_path / "rewards_rec.jsonl").write_text("\n".join(lines))
    rows = PROTOCOL.score(tmp_path, {}, True).rows
    assert [(r.published, r.strict, r.reasons) for r in rows] == list(contents.values())
