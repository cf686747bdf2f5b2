"""The GroundSet scorer, row by row and in sum, against what the original gave; and its quirks in a line each."""

import gzip
import json
import math

import pandas
import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.groundset import MODELS, PROTOCOL, QUIRKS, score_table
from georefer.evaluation.protocols.groundset_tables import groups_of_tree, read_table

CASES = [(task, model) for task in ("detection", "rec", "phrase", "segment", "vqa") for model in MODELS]


def reference(golden, name):
    path = golden / "groundset" / name
    return json.loads(gzip.decompress(path.read_bytes()))


@pytest.mark.shared
@pytest.mark.parametrize("task, model", CASES)
def test_every_row_and_every_group_is_as_published(golden, task, model):
    if not list((golden / "groundset" / model).glob(f"{task}_*")):
        pytest.skip(f"no reference for {model} in {task}")
    table = read_table(golden / "groundset" / model, task)
    rows = reference(golden, "per_row.json.gz")[f"{model}/{task}"]
    expected = reference(golden, "expected.json.gz")[f"{model}/{task}"]
    assert len(table) == len(rows) > 80
    found = score_table(table, task, model)
    for mine, theirs in zip(found.rows, [row for row in rows if not row.get("skipped")], strict=True):
        assert (mine.tp, mine.fp, mine.fn, mine.tn) == tuple(theirs[k] for k in ("tp", "fp", "fn", "tn")), theirs
        assert task == "phrase" or mine.group == theirs["group"]
        assert mine.best_iou == pytest.approx(theirs.get("iou", ()), abs=1e-9)
    assert not found.stops
    check(found.groups, expected["default"])
    if "exclude_noise" in expected:
        check(score_table(table, task, model, exclude_noise=True).groups, expected["exclude_noise"])


def check(found, expected):
    assert set(found) == set(expected)
    for group, metrics in expected.items():
        for name, value in metrics.items():
            assert math.isclose(found[group][name], value, abs_tol=1e-9), (group, name)


def one(prediction, truth, task="detection", model="finetune"):
    table = pandas.DataFrame(
        [[1, prediction, truth, "Pond", False]], columns=["ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE"]
    )
    scores = score_table(table, task, model)
    (row,) = scores.rows
    return (row.tp, row.fp, row.fn, row.tn), row.best_iou, scores


TRUTH = "[0.1, 0.2, 0.3, 0.4]"


@pytest.mark.parametrize(
    "prediction, truth, model, counts",
    [
        ("[100, 200, 300, 400]", TRUTH, "finetune", (1, 0, 0, 0)),
        ("[100, 200, 300, 400] [100, 200, 300, 400]", TRUTH, "finetune", (1, 1, 0, 0)),
        ("100 200 300 400", TRUTH, "finetune", (0, 0, 1, 0)),  # dropped: no false positive
        ("None", "None", "finetune", (0, 0, 0, 1)),
        ("[0.1, 0.2, 0.3, 0.4]", TRUTH, "llava", (1, 0, 0, 0)),
        ("[0.0, 0.2, 0.3, 0.4]", "[0, 0.2, 0.3, 0.4]", "llava", (0, 1, 1, 0)),  # the edge makes it per mille
        ("<loc0205><loc0102><loc0410><loc0307>", TRUTH, "paligemma", (1, 0, 0, 0)),
        ("{<10><20><30><40>|<90>}", TRUTH, "geochat", (1, 0, 0, 0)),
        ("{<20><30><20><20>|<0>}", TRUTH, "skysense", (1, 0, 0, 0)),
        ("[100, 200, 300, 400, 9]", TRUTH, "finetune", (1, 0, 0, 0)),  # the fifth number is swallowed
    ],
)
def test_quirks(prediction, truth, model, counts):
    assert one(prediction, truth, model=model)[0] == counts


def test_segments_and_presence_have_quirks_too():
    assert one("{<20><20><50><50>}", "[0.2, 0.2, 0.5, 0.2, 0.5, 0.5]", "segment")[0] == (0, 0, 1, 0)  # no braces here
    assert one("[200, 200, 200, 200]", "None", "segment")[0] == (0, 1, 0, 0)  # a point counts, unlike in detection
    assert one("[5, 5]", "None", "segment", "paligemma")[0] == (0, 0, 0, 1)  # the original stops
    assert one("not sure", "no", "vqa")[0] == (0, 0, 0, 1)
    assert one("I see no pond", "no", "vqa")[0] == (0, 1, 0, 0)


@pytest.mark.parametrize("task", ["detection", "rec", "segment"])
def test_endless_digits_are_no_box(task):
    nines = "9" * 400
    for said in (f"[{nines}, 1, 2, 3]", f"{{<1><2><3><4>|<{nines}>}}", f"[1, 2, 3, 4, 5, {nines}]"):
        assert one(said, "None", task, "geochat")[0] == (0, 0, 0, 1)


def test_where_the_original_stops_is_said():
    counts, best, scores = one("[100, 200, 300, 400]", "[0.5, 0.5, 0.5, 0.5]")
    assert (
        counts == (0, 1, 1, 0)
        and best == (0.0,)
        and scores.stops == {1: "a truth that spans nothing beside a prediction"}
    )


def test_groups_come_from_the_second_level():
    tree = {"elements": {"Artificial": {"Building": {"Religious": ["Church"]}, "Heritage": ["Church", "Fort"]}}}
    groups = groups_of_tree(tree)
    assert {name: groups[name] for name in ("building", "religious", "church")} == dict.fromkeys(
        ("building", "religious", "church"), "building"
    )
    assert groups["heritage"] == groups["fort"] == "heritage"


def test_bad_input_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match=r"holds no detection_<number>\.csv"):
        read_table(tmp_path, "detection")
    (tmp_path / "rec_0.csv").write_text("ID\tPREDICTION\n1\tx\n")
    with pytest.raises(InputError, match="has no column GROUND_TRUTH, CLASS, NOISE"):
        read_table(tmp_path, "rec")
    with pytest.raises(InputError, match="knows no model 'gpt'"):
        score_table(pandas.DataFrame(columns=["ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE"]), "rec", "gpt")


def table_of(*rows):
    """(id, prediction, truth) of ordinary rows as a table."""
    return pandas.DataFrame(
        [[id_, prediction, truth, "Pond", False] for id_, prediction, truth in rows],
        columns=["ID", "PREDICTION", "GROUND_TRUTH", "CLASS", "NOISE"],
    )


@pytest.mark.shared
def test_rows_at_which_the_original_stops_are_scored_and_listed(golden):
    cases = [json.loads(line) for line in (golden / "groundset" / "crashes.jsonl").read_text().splitlines()]
    cases = [case for case in cases if "prediction" in case]
    assert len(cases) > 40
    for case in cases:
        table = table_of((7, case["prediction"], case["ground_truth"]), (8, "[1, 2, 3, 4]", TRUTH))
        table.loc[0, "CLASS"] = case["cls"]
        found = score_table(table, case["task"], case["model"])
        assert list(found.stops) == [7], case
        assert all(row is not None for row in found.all_rows) and math.isfinite(found.groups["ALL"].popitem()[1])


def test_a_file_of_numbers_alone_stops_the_original_as_a_whole():
    assert list(score_table(table_of((1, 5, "yes"), (2, 7, "no")), "vqa", "gemma").stops) == ["all"]
    assert not score_table(table_of((1, None, TRUTH)), "detection", "gemma").stops


@pytest.mark.shared
def test_the_order_in_which_marks_are_stripped_is_that_of_the_reference(golden):
    cases = json.loads((golden / "groundset" / "vqa_hash_order.json").read_text())["rows"]
    for text, by_seed in cases.items():
        (row,) = score_table(table_of((1, text, "yes" if "y" in text else "no")), "vqa", "gemma").rows
        assert bool(row.tp + row.tn) == by_seed["0"], text


STRICT = [
    # task, model, prediction, truth, F1 of the row as published and by strict scoring, and the quirk behind it
    ("detection", "finetune", "[100, 200, 300, 400] {<1><2><3><4>}", TRUTH, 1, 2 / 3, "first-pattern"),
    ("detection", "finetune", "[100, 200, 300, 400, 9]", TRUTH, 1, 0, "fifth"),
    ("detection", "finetune", "[100, 200, 300, 400] [1, 2, 3]", TRUTH, 1, 2 / 3, "dropped"),
    ("rec", "finetune", "[100, 200, 300, 400] [5, 5, 5, 5]", TRUTH, 1, 2 / 3, "dropped"),
    ("phrase", "paligemma", "[205, 102, 410, 307, 8, 8]", TRUTH, 1, 0, "fifth"),
    # both look at the first truth, which overlaps them more; the second would do for one of them
    (
        "detection",
        "finetune",
        "[0, 0, 100, 100] [0, 0, 100, 90]",
        "[0, 0, 0.1, 0.1], [0, 0, 0.1, 0.06]",
        0.5,
        1,
        "own-best",
    ),
    ("detection", "finetune", "None", "[0.5, 0.5, 0.5, 0.5]", 0, 1, "empty-truth"),
    ("segment", "finetune", "[0, 0, 400, 400, 400, 0, 0, 400]", "[0.4, 0, 0.22, 0.2, 0.4, 0.4]", 1, 0, "one-lobe"),
    ("vqa", "gemma", "I see no pond", "no", 0, 1, "first-letters"),
    ("vqa", "gemma", "not sure", "no", 1, 0, "first-letters"),
    ("vqa", "gemma", "yes", "yes.", 0, 1, "exact-yes"),
    ("classification", "gemma", "a pond", "pond", 0, 1, "exact-label"),
]


@pytest.mark.parametrize("task, model, prediction, truth, published, strict, quirk", STRICT)
def test_what_strict_scoring_sees_otherwise_is_laid_at_one_door(
    tmp_path, task, model, prediction, truth, published, strict, quirk
):
    folder = tmp_path / model
    folder.mkdir()
    ordinary = (2, "None", "None") if task not in ("vqa", "classification") else (2, "no", "no")
    table_of((1, prediction, truth), ordinary).to_csv(folder / f"{task}_0.csv", sep="\t", index=False)
    odd, plain = PROTOCOL.score(tmp_path, {}, True).rows
    assert (odd.published, odd.strict) == pytest.approx((published, strict))
    assert odd.reasons == (quirk,) and not plain.reasons and plain.published == plain.strict == 1


def test_a_run_has_one_scale(tmp_path):
    (tmp_path / "gemini").mkdir()
    rows = [(i, "[0.1, 0.2, 0.3, 0.4]", TRUTH) for i in range(5)] + [(5, "[0, 0.2, 0.3, 0.4]", "[0, 0.2, 0.3, 0.4]")]
    table_of(*rows).to_csv(tmp_path / "gemini" / "rec_0.csv", sep="\t", index=False)
    *_, edge = PROTOCOL.score(tmp_path / "gemini", {}, True).rows
    assert (edge.published, edge.strict, edge.reasons) == (0, 1, ("by-look",))


def test_every_quirk_is_shown_or_said():
    shown = {case[-1] for case in STRICT} | {"by-look"}
    # these two are of whole classes and of measures, not of a row's answer
    assert shown | {"excluded", "over-predictions"} == set(QUIRKS)


def test_a_megabyte_of_anything_is_read_at_once():
    for text in ("[1, " * 250_000, "[" * 10**6, "{<1>" * 250_000, "<loc0001>" * 110_000, "9" * 10**6, " " * 10**6):
        for task in ("detection", "segment", "vqa"):
            assert len(score_table(table_of((1, text, TRUTH)), task, "finetune").rows) == 1
