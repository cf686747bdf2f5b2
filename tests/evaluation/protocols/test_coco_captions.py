"""COCO's caption scores against what the original gave, its quirks in a row each, and what it stops at."""

import gzip
import json
import math

import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.coco_captions import PROTOCOL

TEXT = "A small road crosses the harbor"


def scored(tmp_path, *rows, beside=False, **settings):
    path = tmp_path / "captions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return PROTOCOL.score(path, settings, beside)


def item(id_, caption, *references):
    return {"id": id_, "caption": caption, "references": list(references)}


def assert_near(found, expected, where=""):
    if isinstance(expected, dict):
        for name, value in expected.items():
            assert_near(found[name], value, f"{where}/{name}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (a, b) in enumerate(zip(found, expected, strict=True)):
            assert_near(a, b, f"{where}/{place}")
    else:
        assert math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9), (where, found, expected)


@pytest.mark.shared
def test_equals_the_original(golden):
    expected = json.loads(gzip.decompress((golden / "captions" / "expected.json.gz").read_bytes()))
    scores = PROTOCOL.score(golden / "captions", {}, True)
    for part in ("1_reference", "3_reference"):
        for words, measures in expected[part].items():
            for name, values in measures.items():
                if name == "meteor" and name not in scores.numbers[part][words]:
                    assert any("METEOR" in note for note in scores.notes)
                else:
                    assert_near(scores.numbers[part][words][name], values, f"{part}/{words}/{name}")
    for package in ("sacrebleu", "rouge_score"):
        if package in scores.numbers:
            assert_near(scores.numbers[package], expected[package], package)
    assert not scores.stops and len(scores.rows) == 600
    assert all(bool(row.reasons) == row.differs and set(row.reasons) <= set(PROTOCOL.quirks) for row in scores.rows)
    assert {row.reasons for row in scores.differing()} == {("mixed-references",)}


@pytest.mark.shared
def test_odd_corpora_are_as_the_original_has_them(golden, tmp_path):
    lines = (golden / "captions" / "crashes.jsonl").read_text().splitlines()
    expected = {(row["case"], row["metric"]): row.get("corpus") for row in map(json.loads, lines)}
    odd = {
        "single item corpus": [item(1, "five words that are alike", "five words that are alike")],
        "empty caption": [item(1, "", TEXT)],
        "empty reference": [item(1, "two words", "")],  # CIDEr raises there
    }
    for case, rows in odd.items():
        found = scored(tmp_path, *rows).numbers["1_reference"]["whitespace_lower"]
        for metric in ("bleu", "rouge_l", "cider"):
            assert_near(found[metric]["corpus"], expected[case, metric] or 0, f"{case}/{metric}")


def test_several_references_are_a_part_of_their_own(tmp_path):
    scores = scored(tmp_path, item(1, TEXT, TEXT, "x"), item(2, "b", "c", "b"))
    one, two = scores.numbers["1_reference"]["ptb"], scores.numbers["2_reference"]["ptb"]
    assert one["rouge_l"]["per_sample"] == pytest.approx([1, 0])
    assert two["rouge_l"]["per_sample"] == pytest.approx([1, 1])
    assert one["bleu"]["per_sample"][0] == pytest.approx([1, 0]) and len(one["bleu"]["corpus"]) == 4
    assert one["cider"]["per_sample"] == pytest.approx([10, 0])
    assert [(row.part, row.id, row.published) for row in scores.rows] == [
        ("1_reference", 1, 1), ("1_reference", 2, 0), ("2_reference", 1, 1), ("2_reference", 2, 1),
    ]  # fmt: skip


def test_words_are_tokenized_or_plain(tmp_path):
    numbers = scored(tmp_path, item(1, "A road.", "a road"), item(2, "x", "y")).numbers["1_reference"]
    assert numbers["ptb"]["rouge_l"]["per_sample"][0] == 1
    assert numbers["whitespace_lower"]["rouge_l"]["per_sample"][0] == pytest.approx(0.5)


def test_answers_of_fit_and_packed_files(tmp_path):
    rows = [{"question_id": n, "answer": TEXT, "ground_truth": TEXT} for n in (7, 8)]
    path = tmp_path / "answers.jsonl.gz"
    path.write_bytes(gzip.compress("\n".join(map(json.dumps, rows)).encode()))
    for place in (path, tmp_path):
        scores = PROTOCOL.score(place, {}, False)
        assert [row.id for row in scores.rows] == [7, 8]
        assert scores.numbers["1_reference"]["ptb"]["bleu"]["corpus"] == pytest.approx([1] * 4)


# --- quirks ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("mark", ["\r", "\x0b", "\x0c", "\u2028", "\u2029"])
def test_a_line_break_shifts_all_later_captions(tmp_path, mark):
    rows = [item(1, "a ship", "a ship"), item(2, f"a{mark}car", "a car"), item(3, "two roads", "two roads")]
    scores = scored(tmp_path, *rows, beside=True)
    first, second, third = scores.rows
    assert not first.differs
    assert second.published < second.strict == 1 and second.reasons == ("line-break",)
    assert (third.published, third.strict, third.reasons) == (0, 1, ("line-break",))  # it got "car"
    assert "1 items (as 2)" in scores.notes[0]
    assert scores.beside[0].published < scores.beside[0].strict == 1


def test_a_newline_shifts_nothing(tmp_path):
    scores = scored(tmp_path, item(1, "a\nship", "a ship"), item(2, "a car", "a car"), beside=True)
    assert [row.published for row in scores.rows] == [1, 1] and not scores.differing()


def test_the_next_caption_decides_on_a_letters_dot(tmp_path):
    rows = [item(1, "plan B.", "plan b."), item(2, "The end", "x")]
    scores = scored(tmp_path, *rows, beside=True)
    assert scores.rows[0].reasons == ("next-line",)
    assert scores.rows[0].published < scores.rows[0].strict == 1


def test_best_precision_and_recall_of_different_references(tmp_path):
    scores = scored(tmp_path, item(1, "a b", "a b c d", "a"), beside=True)
    row = scores.rows[-1]
    assert row.published == 1 > row.strict and row.reasons == ("mixed-references",)


def test_nothing_said_of_nothing(tmp_path):
    scores = scored(tmp_path, item(1, "...", "!."), item(2, ".", ","), item(3, "a", "b"), beside=True)
    assert (scores.rows[1].published, scores.rows[1].strict) == (1, 0)
    assert scores.rows[1].reasons == ("empty-word",)


def test_one_item_has_no_cider(tmp_path):
    assert scored(tmp_path, item(1, TEXT, TEXT)).numbers["1_reference"]["ptb"]["cider"]["corpus"] == 0


# --- stops and refusals ----------------------------------------------------------------------------------


def test_where_the_original_stops(tmp_path):
    scores = scored(
        tmp_path, item(1, None, "a"), item(2, 5, "5"), item(3, "a"), item(4, "a\ud800", "a"), item(5, "a", "a")
    )
    assert [stop.id for stop in scores.stops] == [1, 2, 3, 4]
    assert [row.id for row in scores.rows] == [1, 2, 4, 5]
    assert [row.published for row in scores.rows] == [0, 1, 1, 1]
    empty = scored(tmp_path, item(1, "a", ""), item(2, "a", "."))
    assert [stop.why[:5] for stop in empty.stops] == ["cider"]
    assert empty.numbers["1_reference"]["ptb"]["cider"]["corpus"] == 0


def test_repeated_ids_are_refused(tmp_path):
    rows = [item(1, "a", "a"), item(1, "b", "a")]
    with pytest.raises(InputError, match="answers 1 questions more than once"):
        scored(tmp_path, *rows)
    scores = scored(tmp_path, *rows, partial="yes")
    assert [row.published for row in scores.rows] == [1] and len(scores.stops) == 1
    assert len(scored(tmp_path, item(1, "a", "a"), item("1", "a", "a")).rows) == 2  # a number is no text


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="has the fields id, text"):
        scored(tmp_path, {"id": 1, "text": "a"})
    with pytest.raises(InputError, match="holds no caption with a reference"):
        scored(tmp_path)
    with pytest.raises(InputError, match=r"holds 0 JSON Lines files where captions\.jsonl"):
        PROTOCOL.score(tmp_path / "none", {}, False)


def test_hostile_captions_are_read_in_bounded_time(tmp_path):
    junk = ["a," * 20_000, "<a " * 15_000, "'" * 40_000, "\r" * 40_000, "x@" * 20_000, "b. " * 10_000]
    scores = scored(tmp_path, *(item(n, text, TEXT) for n, text in enumerate(junk)))
    assert [row.published for row in scores.rows] == [pytest.approx(0, abs=0.2)] * len(junk)
