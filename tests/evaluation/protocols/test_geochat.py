"""GeoChat's accuracy of scenes, worked by hand; no reference results of the original were at hand."""

import gzip
import json

import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.geochat import PROTOCOL


def scored(tmp_path, rows, beside=True, **settings):
    path = tmp_path / "UCmerced.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PROTOCOL.score(path, settings, beside)


def row(answer, class_="DenseResidential", number=0, **more):
    id_ = f"{class_}/{class_}_{number}.tif"
    return {"question_id": id_, "image_id": id_, "answer": answer, "ground_truth": class_, **more}


FOREST = row("Forest", "Forest", 7)


@pytest.mark.parametrize(
    "asked, published, strict, reasons",
    [
        (row("DenseResidential"), 1, 1, ()),
        (row("dense residential."), 1, 1, ()),
        (row("D.ense  Residential"), 1, 1, ()),
        (row("Forest"), 0, 0, ()),
        (row("dense-residential"), 0, 1, ("punctuation",)),
        (row("dense residential\n"), 0, 1, ("punctuation",)),
        (row("This is a dense residential area."), 0, 1, ("whole-answer",)),
        (row("Forest or dense residential"), 0, 0, ()),  # two classes are no answer
        (row("", "DenseResidential"), 0, 0, ()),
        (row("st. lucia", "st. lucia"), 0, 1, ("truth-not-cleaned",)),
        (row("denseresidential", ground_truth="Forest"), 1, 0, ("truth-from-id",)),
        (row("forest", ground_truth="Forest"), 0, 1, ("truth-from-id",)),
    ],
)
def test_one_answer(tmp_path, asked, published, strict, reasons):
    scores = scored(tmp_path, [asked, FOREST])
    first = scores.rows[0]
    assert (first.published, first.strict, first.reasons) == (published, strict, reasons)
    assert set(reasons) <= set(PROTOCOL.quirks)


def test_the_numbers_are_those_that_the_script_prints(tmp_path):
    rows = [row("dense residential", number=1), row("x", number=2), row("dense-residential", number=3)]
    scores = scored(tmp_path, rows)
    assert scores.numbers == {
        "UCmerced": {
            "correct": 1,
            "incorrect": 2,
            "Total": 3,
            "Acc": 1 / 3,
            "printed": ["correct: 1", "incorrect: 2", "Total: 3", f"Acc: {1 / 3}"],
        }
    }
    (beside,) = scores.beside
    assert (beside.part, beside.measure, beside.published, beside.strict) == ("UCmerced", "Acc", 1 / 3, 2 / 3)
    assert not scored(tmp_path, rows, beside=False).beside


def test_rows_at_which_the_script_stops_are_listed(tmp_path):
    rows = [row(None, number=1), row(7, number=2), {"answer": "Forest", "ground_truth": "Forest"}, FOREST]
    scores = scored(tmp_path, rows)
    assert [stop.id for stop in scores.stops] == [rows[0]["question_id"], rows[1]["question_id"], 2]
    assert scores.numbers["UCmerced"]["correct"] == 2 and scores.numbers["UCmerced"]["Total"] == 4
    empty = scored(tmp_path, [])
    assert empty.numbers["UCmerced"]["Acc"] is None and [stop.id for stop in empty.stops] == ["Acc"]


def test_what_has_no_published_scorer_is_refused(tmp_path):
    referring = {"question_id": 1, "answer": "{<1><2><3><4>|<5>}", "ground_truth": "", "obj_ids": [1], "size_group": ""}
    with pytest.raises(InputError, match=r"referring.*no scorer"):
        scored(tmp_path, [referring])
    with pytest.raises(InputError, match="VQA answers without a truth"):
        scored(tmp_path, [{"question_id": 5, "image_id": "5.tif", "answer": "yes"}])
    # beside scenes in one folder they are passed over, and that is said
    (tmp_path / "referring.jsonl").write_text(json.dumps(referring))
    (tmp_path / "UCmerced.jsonl").write_text(json.dumps(FOREST))
    (tmp_path / "AID.jsonl.gz").write_bytes(gzip.compress(json.dumps(FOREST).encode()))
    scores = PROTOCOL.score(tmp_path, {}, True)
    assert set(scores.numbers) == {"UCmerced", "AID"} and "referring.jsonl" in scores.notes[0]


def test_repeated_answers_and_empty_folders_are_refused(tmp_path):
    with pytest.raises(InputError, match="more than once"):
        scored(tmp_path, [FOREST, FOREST])
    assert scored(tmp_path, [FOREST, FOREST], partial="yes").numbers["UCmerced"]["Total"] == 2
    (tmp_path / "none").mkdir()
    with pytest.raises(InputError, match=r"holds no \*.jsonl"):
        PROTOCOL.score(tmp_path / "none", {}, False)


def test_junk_is_read_in_bounded_time(tmp_path):
    junk = ["a " * 500_000, "." * 1_000_000, "aA" * 500_000, "\x00" * 100_000, "forest " * 100_000]
    scores = scored(tmp_path, [row(text, number=i) for i, text in enumerate(junk)] + [FOREST])
    assert [r.published for r in scores.rows] == [0, 0, 0, 0, 0, 1]
