"""CircularEval by its definition: letters, texts, rotations; no reference results exist."""

import json

import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.mmbench_circular import GROUP, PROTOCOL, infer_choice

OPTIONS = {"A": "a red car", "B": "a ship", "C": "bridge", "D": "dock"}


@pytest.mark.parametrize(
    "said, letter",
    [
        ("C", "C"),
        ("(C).", "C"),
        ("The answer is C", "C"),
        ("c", ""),  # capitals only
        ("A truck near something", "A"),  # the article
        ("C or D", ""),  # two letters, and no text
        ("I see the bridge", "C"),  # an option's text
        ("a bridge and a dock", ""),  # two texts
        ("BRIDGE", "C"),  # whatever the case
        ("Cannot determine the answer", "Z"),
        ("Failed to obtain answer via API", ""),
        ("Z", "Z"),
        ("", ""),
        ("answer_C", ""),
    ],
)
def test_letters_and_texts(said, letter):
    assert infer_choice(said, OPTIONS) == letter


def rotations(index, texts, right, said):
    """Rows of a question asked in all rotations; `said` are the predictions."""
    rows = []
    for shift, words in enumerate(said):
        order = texts[shift:] + texts[:shift]
        row = {"index": index + shift * GROUP, "answer": "ABCD"[order.index(right)], "prediction": words}
        rows.append(row | dict(zip("ABCD", order, strict=False)))
    return rows


TEXTS = ["car", "ship", "bridge", "dock"]
TRUTHS = ["A", "D", "C", "B"]  # of "car"


def score(folder, rows, beside=True):
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PROTOCOL.score(path, {}, beside)


@pytest.mark.parametrize(
    "said, published, strict, reasons",
    [
        (TRUTHS, 1.0, 1.0, ()),
        (["A", "D", "C", "A"], 0.0, 0.0, ()),  # one rotation is wrong
        (["a", "d", "c", "b"], 0.0, 1.0, ("unparsed",)),
        (["A car", "D", "C", "B"], 1.0, 1.0, ()),
        (["A", "The car", "car", "B"], 1.0, 1.0, ()),  # texts
        (["A ship; no, car", "D", "C", "B"], 1.0, 0.0, ("prefetch",)),
        (["A"], 1.0, None, ("rotations-unchecked",)),  # a single row passes
        (["A", "D", "C"], 1.0, None, ("rotations-unchecked",)),
    ],
)
def test_a_question_counts_if_all_its_rotations_do(tmp_path, said, published, strict, reasons):
    scores = score(tmp_path, rotations(7, TEXTS, "car", said))
    (row,) = scores.rows
    assert (row.id, row.published, row.strict, row.reasons) == (7, published, strict, reasons)
    assert scores.numbers["mmbench_circular"]["accuracy"] == {"none": {"Overall": published}}
    assert set(row.reasons) <= set(PROTOCOL.quirks)


def test_a_question_without_its_first_row_vanishes(tmp_path):
    rows = rotations(7, TEXTS, "car", TRUTHS)[1:] + rotations(8, TEXTS, "car", TRUTHS)
    scores = score(tmp_path, rows)
    assert scores.numbers["mmbench_circular"]["questions"] == 1 and "1 questions were passed over" in scores.notes[0]
    assert {row.id: (row.published, row.strict) for row in scores.rows} == {7: (None, None), 8: (1.0, 1.0)}


def test_accuracy_by_split_and_category(tmp_path):
    rows = []
    for index, (split, fine, said) in enumerate(
        [("dev", "ocr", TRUTHS), ("dev", "ocr", ["B"] * 4), ("test", "logo", TRUTHS)]
    ):
        extra = {"split": split, "category": fine, "l2-category": "logic_reasoning"}
        rows += [row | extra for row in rotations(index, TEXTS, "car", said)]
    assert score(tmp_path, rows, beside=False).numbers["mmbench_circular"] == {
        "rows": 12,
        "questions": 3,
        "accuracy": {"dev": {"Overall": 0.5, "LR": 0.5, "ocr": 0.5}, "test": {"Overall": 1.0, "LR": 1.0, "logo": 1.0}},
    }


def test_tables_of_text_drop_options_that_pandas_takes_for_blank(tmp_path):
    header = "index\tA\tB\tC\tanswer\tprediction\n"
    (tmp_path / "answers.tsv").write_text(header + "3\tcar\tNone\tdock\tA\tNone, car\n1000003\tcar\t\t\tB\t\n")
    scores = PROTOCOL.score(tmp_path, {}, True)
    assert scores.numbers["mmbench_circular"]["accuracy"] == {"none": {"Overall": 0.0}}  # the blank answer is wrong
    (tmp_path / "answers.tsv").write_text(header + "3\tcar\tNone\tdock\tA\tNone of the others, car\n")
    assert PROTOCOL.score(tmp_path, {}, False).numbers["mmbench_circular"]["accuracy"]["none"]["Overall"] == 1.0


def test_bad_tables_are_one_sentence(tmp_path):
    path = tmp_path / "x.tsv"
    for text, words in [
        ("index\tA\n1\tx\n", "has no answer, prediction, B"),
        ("index\tA\tB\tanswer\tprediction\nx\ta\tb\tA\tA\n", "a whole number was expected"),
        ("index\tA\tB\tanswer\tprediction\n1.5\ta\tb\tA\tA\n", "a whole number was expected"),
        ("index\tA\tB\tanswer\tprediction\n", "holds no rows"),
        ("", "is no table"),
    ]:
        path.write_text(text)
        with pytest.raises(InputError, match=words):
            PROTOCOL.score(path, {}, False)
    (tmp_path / "y.csv").write_text("")
    with pytest.raises(InputError, match="holds 2 tables"):
        PROTOCOL.score(tmp_path, {}, False)


def test_a_megabyte_of_answer_is_scored(tmp_path):
    junk = ["A " * 500_000, "(" * 1_000_000, "car" * 330_000, "not " * 250_000]
    (row,) = score(tmp_path, rotations(1, TEXTS, "car", junk)).rows
    assert row.published == 0.0 and row.strict == 0.0
