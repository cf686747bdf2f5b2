"""GroundSet's caption scorer against what the original gave, and its quirks in a line each."""

import gzip
import json

import numpy as np
import pandas
import pytest

from georefer.evaluation.protocols.groundset_caption import (
    QUIRKS,
    clean,
    compare_captions,
    nltk_words,
    score_captions,
    sentence_bleu,
    stops_of,
)


def table(*pairs):
    rows = [(number, said, true, None, False) for number, (said, true) in enumerate(pairs)]
    return pandas.DataFrame(rows, columns=["ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE"])


@pytest.mark.shared
def test_equals_the_original(golden):
    folder = golden / "groundset"
    expected = json.loads(gzip.decompress((folder / "expected.json.gz").read_bytes()))["finetune/caption"]
    answers = pandas.read_csv(folder / "finetune" / "caption_0.csv.gz", sep="\t")
    numbers, rows = score_captions(answers)
    assert set(numbers) == set(expected)
    assert numbers["cleaned_captions"] == expected["cleaned_captions"]
    for name in set(expected) - {"cleaned_captions"}:
        assert np.allclose(numbers[name], expected[name], rtol=1e-12, atol=1e-12), name
    assert [row.published for row in rows] == numbers["cider_per_row"]
    assert [row.id for row in rows] == answers["ID"].tolist()
    compared, (beside,) = compare_captions(answers)
    assert np.isclose(beside.published, expected["cider_reported_x100"])
    assert all(bool(row.reasons) == row.differs and set(row.reasons) <= set(QUIRKS) for row in compared)


@pytest.mark.parametrize(
    "said, left",
    [
        ("A  House ", "a house"),
        ("<p>a house</p><delim>", "a house"),
        ("a [10, 20.5, -3] house", "a house"),
        ("a [10, x] house", "a [10, x] house"),
        ("a {<10><20>} house {<1><2>|<45>}", "a house"),
        ("a (10, 20) <box> house", "a (10, 20) <box> house"),  # neither is known to the original
        ("a\thouse\n", "a\thouse"),  # only blanks are squeezed
    ],
)
def test_answers_are_cleaned(said, left):
    assert clean(said) == left


def test_one_row_at_a_time_is_no_cider():
    same = ("a road by a house", "a road by a house")
    numbers, rows = score_captions(table(same))
    assert numbers["cider_per_row"] == pytest.approx([10])  # one document: the corpus' CIDEr is 0
    assert numbers["corpus_cider_d_per_row"] == [0] and [row.published for row in rows] == pytest.approx([10])
    numbers, _ = score_captions(table(("a road near a house.", "a road near a house ."), same))
    # 6 words in the truth, 5 of them with the dot glued on; overlaps of 1- to 4-grams 4, 3, 2, 1
    cosines = [6 / (np.sqrt(7 * 8)), 3 / np.sqrt(4 * 5), 2 / np.sqrt(3 * 4), 1 / np.sqrt(2 * 3)]
    assert numbers["cider_per_row"][0] == pytest.approx(10 * np.mean(cosines) * np.exp(-1 / 72))


def test_rows_say_why_they_differ():
    plain = ("a pond in a park", "a pond in a park")
    rows, (beside,) = compare_captions(table(plain, ("a road near a house.", "a road near a house ."), plain))
    assert "glued-punctuation" in rows[1].reasons and rows[1].strict == pytest.approx(10)
    assert not rows[0].differs and not rows[0].reasons
    assert beside.published < beside.strict == pytest.approx(1000)
    rows, _ = compare_captions(table(("a ship", "a <p>ship</p> [1, 2]"), ("a red car stands", "a red car stands")))
    assert "cleaned-answer" in rows[0].reasons and rows[0].published < rows[0].strict


@pytest.mark.parametrize(
    "text, words",
    [
        ("a road. the end.", "a road. the end ."),  # one sentence: dots within it stay
        ("it's [120, 5] can't", "it 's [ 120 , 5 ] ca n't"),
        ('the "big" one', "the `` big '' one"),
        ("cannot, 'tis 1,000 12:30 a:b", "can not , ' tis 1,000 12:30 a : b"),
        ("wait... what?! <p>x</p>", "wait ... what ? ! < p > x < /p >"),
        ("dogs' and 'cats' – so", "dogs ' and ' cats ' – so"),
        ("", ""),
    ],
)
def test_words_are_those_of_nltk(text, words):
    assert nltk_words(text) == words.split()


@pytest.mark.parametrize(
    "said, true, value",
    [
        ("a b c d", "a b c d", 1),
        ("a b c d", "a b c d e", np.exp(-1 / 4)),  # too short
        ("x", "a b", 0),
        ("", "a b", 0),
        ("a b c d", "a b c x", (3 / 4 * 2 / 3 * 1 / 2 * 2.2250738585072014e-308) ** 0.25),  # nearly nothing, not 0
        ("a", "a", 2.2250738585072014e-308**0.75),  # a right word alone is short of n-grams
    ],
)
def test_bleu_has_no_smoothing(said, true, value):
    assert sentence_bleu(said.split(), true.split()) == pytest.approx(value, rel=1e-9, abs=0)


def test_where_the_script_stops():
    odd = table(("a", None), (None, "a"), ("a", "a"))
    assert list(stops_of(odd)) == [0]
    assert score_captions(odd)[0]["cider_per_row"][:2] == [0, 0]
    assert list(stops_of(table((1, "a"), (2, "b")))) == [0, 1]  # a column of numbers
    assert score_captions(table((1, "1")))[0]["cider_per_row"] == pytest.approx([2.5])


def test_hostile_answers_are_read_in_bounded_time():
    junk = ["[1," * 30_000, "{<1>" * 30_000, "." * 100_000, "' " * 50_000, "a." * 50_000, ": " * 50_000]
    numbers, _ = score_captions(table(*((text, "a house") for text in junk)))
    assert numbers["cider_per_row"] == [0] * len(junk)
