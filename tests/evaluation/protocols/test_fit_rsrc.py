"""FIT-RSRC's scorer: letters as the original finds them, and questions that need all their rotations."""

import json

import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.fit_rsrc import PROTOCOL, extract_choice_label


@pytest.mark.shared
def test_all_numbers_are_as_published(golden):
    expected = json.loads((golden / "fit" / "expected.json").read_text())["fit_rsrc"]
    for form, text, letter in expected.pop("extract_choice_label"):
        assert extract_choice_label(text) == letter, form
    for path in (golden / "fit", golden / "fit" / "fit_rsrc.jsonl.gz"):
        scores = PROTOCOL.score(path, {}, True)
        assert scores.numbers == {"fit_rsrc": expected} and scores.stops == ()
    assert len(scores.rows) == 285 and len(scores.differing()) > 50
    for row in scores.rows:
        assert set(row.reasons) <= set(PROTOCOL.quirks) and bool(row.reasons) == row.differs, row


def score(folder, groups, beside=True):
    """`groups` are (category, truths, answers), one letter or text for each rotation."""
    rows = [
        {"question_id": i, "category": category, "ground_truth": truth, "answer": said}
        for i, (category, truths, answers) in enumerate(groups)
        for truth, said in zip(truths, answers, strict=True)
    ]
    path = folder / "any name.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PROTOCOL.score(path, {}, beside)


@pytest.mark.parametrize(
    "text, letter",
    [("C", "C"), ("c", None), ("A truck; C", "A"), ("answer_C", None), ("not B, C", "B"), ("C1", None), ("F", None)],
)
def test_the_first_capital_alone_is_the_letter(text, letter):
    assert extract_choice_label(text) == letter


@pytest.mark.parametrize(
    "truths, answers, published, strict, reasons",
    [
        ("ABCD", "ABCD", 1.0, 1.0, ()),
        ("ABCD", "abcd", 1.0, 1.0, ()),  # a bare small letter is equal
        ("ABCD", "ABCA", 0.0, 0.0, ()),
        ("ABCDE", "ABCDE", 1.0, 1.0, ()),  # five options
        ("aBCD", ["(A)", "B.", "[C]", "D: the dock"], 1.0, 1.0, ()),
        ("ABCD", ["A", "B", "c.", "answer_D"], 0.0, 1.0, ("letters-missed",)),
        ("ABCD", ["A", "B", "A truck is parked; C", "D"], 0.0, 1.0, ("first-capital",)),
        ("ABCD", ["A", "B", "C or B", "D"], 1.0, 0.0, ("first-capital",)),
        ("ABC", "ABC", 1.0, None, ("rotations-unchecked",)),
        ("C", "C", 1.0, None, ("rotations-unchecked",)),  # a single row passes
        ("AACD", "AACD", 1.0, None, ("rotations-unchecked",)),
    ],
)
def test_a_question_needs_all_its_rotations(tmp_path, truths, answers, published, strict, reasons):
    (row,) = score(tmp_path, [("exist", truths, answers)]).rows
    assert (row.published, row.strict, row.reasons) == (published, strict, reasons)


def test_numbers_and_what_stops_the_original(tmp_path):
    groups = [("Object", "AB", "AB"), ("object", "A", "B"), ("exist", "A", "A"), ("colour", "A", "A")]
    scores = score(tmp_path, groups)
    assert scores.numbers["fit_rsrc"]["printed"] == [
        "correct: 2", "incorrect: 1", "Total: 3", "", "Category-wise accuracies:", "relationship: 0/0 (nan%)",
        "object: 1/2 (50.00%)", "subject: 0/0 (nan%)", "exist: 1/1 (100.00%)",
    ]  # fmt: skip
    assert [(stop.id, stop.why.split()[-1]) for stop in scores.stops] == [
        (3, "counted"), (None, "relationship"), (None, "subject")
    ]  # fmt: skip


def test_one_id_of_two_categories_is_two_questions(tmp_path):
    rows = [
        {"question_id": 1, "category": c, "ground_truth": "A", "answer": a}
        for c, a in (("exist", "A"), ("object", "B"))
    ]
    path = tmp_path / "x.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    assert [row.published for row in PROTOCOL.score(path, {}, False).rows] == [1.0, 0.0]


def test_what_cannot_be_read_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="holds 0 answer files of fit_rsrc"):
        PROTOCOL.score(tmp_path, {}, False)
    path = tmp_path / "x.jsonl"
    path.write_text("")
    with pytest.raises(InputError, match="holds no rows"):
        PROTOCOL.score(path, {}, False)
    path.write_text('{"question_id": 1}')
    with pytest.raises(InputError, match="has None for category"):
        PROTOCOL.score(path, {}, False)


def test_a_megabyte_of_answer_is_scored(tmp_path):
    junk = ["A " * 500_000, "x" * 1_000_000, "(" * 1_000_000, "not B, " * 140_000]
    (row,) = score(tmp_path, [("exist", "ABCD", junk)]).rows
    assert row.published == 0.0 and row.strict == 0.0
