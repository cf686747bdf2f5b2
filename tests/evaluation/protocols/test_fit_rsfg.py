"""FIT-RSFG's scorers: every number as the original gave it, its quirks row by row, and the rows that stop it."""

import gzip
import json

import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols import coco_captions, fit_graphs
from georefer.evaluation.protocols.fit_rsfg import PROTOCOL

PARTS = ("complex_comprehension", "fit_vqa", "fit_scene", "hrben")
FILES = {
    "complex_comprehension": "complex_comprehension.jsonl.gz",
    "fit_vqa": "fit_vqa.jsonl",
    "fit_scene": "fit_scene.jsonl.gz",
    "hrben": "hrben.jsonl",
}


def same(found, expected, where=""):
    """Equal to 1e-9, with the same keys, lengths and order."""
    if isinstance(expected, dict):
        assert list(found) == list(expected), where
        for key in expected:
            same(found[key], expected[key], f"{where}/{key}")
    elif isinstance(expected, list):
        assert len(found) == len(expected), where
        for place, (mine, theirs) in enumerate(zip(found, expected, strict=True)):
            same(mine, theirs, f"{where}[{place}]")
    elif isinstance(expected, float):
        assert found == pytest.approx(expected, abs=1e-9), where
    else:
        assert found == expected, where


@pytest.fixture(scope="module")
def fit(golden):
    return golden / "fit"


@pytest.fixture(scope="module")
def expected(fit):
    return json.loads((fit / "expected.json").read_text())


@pytest.mark.shared
def test_the_folder_gives_all_numbers(fit, expected):
    scores = PROTOCOL.score(fit, {}, False)
    same(scores.numbers, {part: expected[part] for part in PARTS})
    assert scores.stops == () and scores.beside == ()
    assert len(scores.rows) == sum(expected[part]["rows"] for part in PARTS)


@pytest.mark.shared
@pytest.mark.parametrize("part", PARTS)
def test_a_single_file_gives_its_part_plain_and_packed_under_any_name(fit, expected, tmp_path, part):
    data = (fit / FILES[part]).read_bytes()
    plain = gzip.decompress(data) if FILES[part].endswith(".gz") else data
    (tmp_path / "a model's.jsonl").write_bytes(plain)
    (tmp_path / "packed.jsonl.gz").write_bytes(gzip.compress(plain))
    settings = {key: str(fit / f"hrben_{key}.json") for key in ("questions", "answers")}
    for name in ("a model's.jsonl", "packed.jsonl.gz"):
        same(PROTOCOL.score(tmp_path / name, settings, False).numbers, {part: expected[part]})


@pytest.mark.shared
def test_every_row_of_a_graph_has_its_recall(fit, expected):
    rows = [json.loads(line) for line in gzip.decompress((fit / FILES[PARTS[0]]).read_bytes()).splitlines()]
    scored = PROTOCOL.score(fit / FILES[PARTS[0]], {}, False).rows
    for task, key in (("task5", "task5"), ("task6", "task6_sgg")):
        found = [one.published for row, one in zip(rows, scored, strict=True) if row["category"] == task]
        recalls = [recall for _, recall in expected[PARTS[0]][key]["recall_per_scored_image"]]
        assert [value for value in found if value is not None] == pytest.approx(recalls, abs=1e-9)


@pytest.mark.shared
def test_strict_scores_differ_for_reasons(fit):
    scores = PROTOCOL.score(fit, {}, True)
    assert len(scores.differing()) > 200
    for row in scores.rows:
        assert set(row.reasons) <= set(PROTOCOL.quirks) and bool(row.reasons) == row.differs, row
    assert {line.part for line in scores.beside} == set(PARTS)
    quirks = json.loads((fit / "quirks.json").read_text())
    row_of = {row.id: row for row in scores.rows if row.part == PARTS[0]}
    for name, reason in {
        "task1:negative_with_boxes": "no-truth-skipped",
        "task1:gt_below_2": "small-boxes",
        "task1:class_in_answer_ignored": "class-ignored",
        "task2:rel_tags_match_themselves": "tags-match",
        "task3:wrong_subject": "wrong-class-free",
        "task4:unknown_class_hits_stadium": "unknown-class",
        "task5:two_boxes_wrong": "misplaced-ends",
        "task5:empty_answer_skipped": "empty-skipped",
        "task5:unknown_equals_unknown": "unknown-equal",
        "task6:unknown_matches_unknown": "unknown-equal",
        "task6:no_prediction_skipped": "empty-skipped",
    }.items():
        for id_ in quirks[name]:
            assert reason in row_of[id_].reasons, (name, row_of[id_])


@pytest.mark.shared
def test_rows_that_stop_the_original_are_scored_and_listed(fit, tmp_path):
    cases = [json.loads(line) for line in (fit / "crashes.jsonl").read_text().splitlines()]
    ordinary = gzip.decompress((fit / FILES[PARTS[0]]).read_bytes()).decode().splitlines()
    rows = [case["row"] for case in cases if "row" in case]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join([*ordinary, *map(json.dumps, rows)]))
    scores = PROTOCOL.score(path, {}, True)
    assert len(rows) == 10 and [stop.id for stop in scores.stops] == [row["question_id"] for row in rows]
    for case in (case for case in cases if "rows" in case and not case["file_level"].startswith("rsrc")):
        path.write_text("\n".join(map(json.dumps, case["rows"])))
        task = {"vqa": "fit_vqa", "scene": "fit_scene", "hrben": "hrben"}[case["file_level"].split(":")[0]]
        assert PROTOCOL.score(path, {"task": task}, True).stops, case


# --- made-up rows -----------------------------------------------------------------------------------------

BOX, FAR, NEAR = "{<20><20><9><6>|<10>}", "{<60><60><9><6>|<30>}", "{<21><20><9><6>|<10>}"
SMALL = "{<20><20><1><6>|<10>}"


def one_car(box=BOX):
    return f"There is 1 car in the image: <rbox>({box})</rbox>"


def graph(box=BOX, predicate="adjacent", target=FAR, subject="car", object_="bridge"):
    return f"{named(subject, box)} is <rel>{predicate}</rel> {named(object_, target)}. "


def named(label, boxes):
    return f"<ref>{label}</ref><rbox>({boxes})</rbox>"


def region(*sentences, about="car"):
    return f"A fully visible small {about} on the left part of the image. " + "".join(f"{said}. " for said in sentences)


def it_is(predicate, label, box):
    return f"It is <rel>{predicate}</rel> 1 {named(label, box)}"


def relation(subject, predicate, object_):
    return f"subject: {subject}, object: {object_}, the relation is <rel>{predicate}</rel>"


def write(folder, rows):
    path = folder / "answers.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def scored(folder, *rows, beside=True, **settings):
    """Scores of rows (task, truth, answer)."""
    made = [{"question_id": i, "category": t, "ground_truth": g, "answer": a} for i, (t, g, a) in enumerate(rows)]
    return PROTOCOL.score(write(folder, made), settings, beside)


WRONG = [
    it_is("over", "bridge", BOX),
    it_is("adjacent", "car", "{<9><90><9><9>|<9>}"),
    it_is("around", "truck", "{<5><50><9><9>|<10>}"),
]
THREE = [
    it_is("over", "bridge", BOX),
    it_is("adjacent", "car", FAR),
    it_is("around", "truck", "{<80><20><12><9>|<45>}"),
]


@pytest.mark.parametrize(
    "task, truth, answer, published, strict, reasons",
    [
        ("task1", one_car(), one_car(NEAR), 1.0, 1.0, ()),
        ("task1", one_car(), one_car(FAR), 0.0, 0.0, ()),
        ("task1", one_car(), one_car().replace("car", "ship"), 1.0, 0.0, ("class-ignored",)),
        ("task1", one_car(), f"{one_car()} {SMALL}", 1.0, 2 / 3, ("small-boxes",)),
        ("task1", one_car(SMALL), one_car(SMALL), None, 1.0, ("small-boxes",)),
        ("task1", "I'm sorry, there is none.", one_car(), None, 0.0, ("no-truth-skipped",)),
        ("task1", "I'm sorry, there is none.", "I'm sorry, there is none.", None, 1.0, ("no-truth-skipped",)),
        ("task1", one_car() + " ... due to the context length", one_car(), None, None, ()),
        ("task1", one_car().replace("car", "ufo"), one_car().replace("car", "ufo"), 0.0, 1.0, ("unknown-class",)),
        # both answers have the first truth for their best, and the second one would do for the other
        (
            "task1", "There are 2 cars in the image: {<20><20><10><10>|<0>}, {<24><20><10><10>|<0>}",
            "{<20><20><10><10>|<0>}, {<21><20><10><10>|<0>}", 0.5, 1.0, ("best-truth-only",),
        ),
        ("task2", "a <over> b, a <adjacent> b", "a <over> b", 2 / 3, 2 / 3, ()),
        ("task2", "a <rel>over</rel> b", "a <rel>around</rel> b", 1.0, 0.0, ("tags-match",)),
        ("task2", "a <over> b", "a <Over> b", 0.0, 1.0, ("names-exact",)),
        ("task3", relation("car", "over", "dock"), relation("car", "over", "dock"), 1.0, 1.0, ()),
        ("task3", relation("car", "over", "dock"), relation("ship", "over", "dock"), None, 0.0, ("wrong-class-free",)),
        ("task3", relation("car", "over", "dock"), "no idea", None, 0.0, ("wrong-class-free",)),
        ("task3", relation("car", "over", "dock"), relation("Car", "over", "dock"), None, 1.0, None),
        ("task4", f"({BOX})", f"<ref>ship</ref><rbox>({BOX})</rbox>", 1.0, 1.0, ()),
        ("task4", f"({BOX})", f"({BOX}, {BOX})", 1.0, 1.0, ()),  # the same box twice is one
        (
            "task4", f"The categories: {named('cars', f'{BOX}, {FAR}')}, {named('ship', NEAR)}",
            named("car", BOX) + named("cars", FAR) + named("ship", NEAR), 0.4, 1.0, ("classes-shifted",),
        ),
        ("task4", f"categories: {named('stadium', BOX)}", named("ufo", BOX), 1.0, 0.0, ("unknown-class",)),
        ("task5", region(*THREE), region(*THREE), 1.0, 1.0, ()),
        ("task5", region(*THREE), region(*THREE, about="ship"), 1.0, 0.0, ("region-class",)),
        # the second object is looked up where the region is, so any box is right
        ("task5", region(*THREE), region(*WRONG), 2 / 3, 1 / 3, ("misplaced-ends",)),
        ("task5", region(*THREE), "", None, 0.0, ("empty-skipped",)),
        ("task5", region(), region(*THREE), None, None, ()),
        ("task5", region(it_is("zap", "ufo", BOX)), region(it_is("hit", "thing", BOX)), 1.0, 0.0, ("unknown-equal",)),
        ("task6", graph(), graph(NEAR), 1.0, 1.0, ()),
        ("task6", graph(), graph(FAR), 0.0, 0.0, ()),
        ("task6", graph(), graph(predicate="over"), 0.0, 0.0, ()),
        ("task6", graph(), "nothing", None, 0.0, ("empty-skipped",)),
        ("task6", graph(), graph(target=SMALL), None, 0.0, ("small-boxes",)),
        ("task6", graph(subject="ufo"), graph(subject="thing"), 1.0, 0.0, ("unknown-equal",)),
        ("task6", graph() + graph(NEAR), graph(), 1.0, 0.5, ("many-to-many",)),  # one triplet, two truths
        ("task6", graph(), graph().upper(), 1.0, 1.0, ()),
    ],
)  # fmt: skip
def test_quirks_of_complex_comprehension(tmp_path, task, truth, answer, published, strict, reasons):
    (row,) = scored(tmp_path, (task, truth, answer)).rows
    assert row.published == (None if published is None else pytest.approx(published))
    assert row.strict == (None if strict is None else pytest.approx(strict))
    if reasons is not None:
        assert row.reasons == reasons
    assert bool(row.reasons) == row.differs


def test_average_precision_depends_on_the_order_of_the_text(tmp_path):
    for answer, ap in ((f"{BOX} {FAR} {FAR}", 1.0), (f"{FAR} {FAR} {BOX}", 1 / 3)):
        found = scored(tmp_path, ("task1", one_car(), answer), beside=False).numbers[PARTS[0]]["task1"]
        assert found["mean_ap"] == pytest.approx(ap, abs=1e-6)
        assert found["per_class"]["car"] == {
            "ap": found["mean_ap"], "gts": 1, "dets": 3, "recall_last": 1.0
        }  # fmt: skip


def test_over_is_missing_from_the_mean_and_unknown_predicates_close_the_list(tmp_path):
    rows = [("task6", graph(predicate=name), graph(predicate=name)) for name in ("over", "connect", "zaps")]
    found = scored(tmp_path, *rows, beside=False).numbers[PARTS[0]]["task6_sgg"]
    values = found["mean_recall_lists"]["sgdet_mean_recall_list"]["1000"]
    assert [place for place, value in enumerate(values) if value] == [1, 57]  # connect is 2 of 58, and one line off
    assert found["mean_recall"]["sgdet_mean_recall"]["2000"] == pytest.approx(2 / 58)
    assert found["returned_recall"] == 1.0


def test_only_so_many_first_triplets_count(tmp_path):
    truth, wrong = graph(predicate="connect"), graph(predicate="connect", box=FAR)
    found = scored(tmp_path, ("task6", truth, wrong * 1200 + truth), beside=False).numbers[PARTS[0]]["task6_sgg"]
    assert found["returned_recall"] == 0.0  # that of the first 1000
    assert found["mean_recall"]["sgdet_mean_recall"] == {"1000": 0.0, "1500": 1 / 58, "2000": 1 / 58}
    lines = scored(tmp_path, ("task6", truth, wrong * 1200 + truth), beside=False).numbers[PARTS[0]]["printed"]
    assert any("R @ 1000: 0.0000;     R @ 1500: 1.0000;     R @ 2000: 1.0000;" in line for line in lines)


def test_pairs_are_measured_in_blocks(tmp_path, monkeypatch):
    boxes = ", ".join(f"{{<{10 * i}><20><9><6>|<10>}}" for i in range(1, 9))
    rows = [("task1", one_car(boxes), f"{boxes}, {boxes}"), ("task6", graph(boxes), graph(boxes) * 2)] * 3
    rows = [(task, truth, f"{answer} {i}") for i, (task, truth, answer) in enumerate(rows)]
    at_once = scored(tmp_path, *rows).numbers
    monkeypatch.setattr(fit_graphs, "MOST_PAIRS", 5)
    assert scored(tmp_path, *rows).numbers == at_once
    assert at_once[PARTS[0]]["task1"]["per_class"]["car"]["recall_last"] == 1.0


def test_a_row_whose_numbers_are_odd_is_a_stop_and_keeps_its_other_boxes(tmp_path):
    six = "{<20><20><9><6><3>|<10>}"
    for row, value in [
        (("task1", one_car(), f"{six} {BOX}"), 1.0),
        (("task1", one_car(six), BOX), None),
        (("task4", f"({BOX})", f"({six}, {BOX})"), None),  # six numbers and a score are dropped without a word
        (("task6", graph(), graph(target=f"{FAR}, {BOX}")), 1.0),
        (("task6", graph(), graph() + "<ref>a</ref><ref>b</ref><ref>c</ref><rel>over</rel>"), 1.0),
        (("task6", graph(), graph(f"{{<20><20><9><6>}}, {BOX}")), 1.0),
        (("task5", region(THREE[0]), region(it_is("over", "bridge", f"{six}, {BOX}"))), 1.0),
    ]:
        scores = scored(tmp_path, row)
        own = [stop for stop in scores.stops if stop.id == 0]
        if row[0] == "task4":
            assert not own and scores.rows[0].published == 1.0
        else:
            assert len(own) == 1 and scores.rows[0].published == value, row


def test_whole_tasks_that_are_missing_stop_the_original(tmp_path):
    stops = scored(tmp_path, ("task2", "a <over> b", "a <over> b")).stops
    assert [(stop.id, stop.why.split()[3]) for stop in stops] == [(None, "task1"), (None, "task4"), (None, "task6")]


# --- words ------------------------------------------------------------------------------------------------


def vqa(*rows):
    return [{"question_id": i, "category": c, "ground_truth": t, "answer": a} for i, (c, t, a) in enumerate(rows)]


def test_vqa_folds_the_case_and_nothing_else(tmp_path):
    rows = vqa(
        ("presence", "Yes", "yes"), ("presence", "yes", "Yes."), ("colour", "red", " red"), ("colour", "red", "x")
    )
    scores = PROTOCOL.score(write(tmp_path, rows), {}, True)
    assert scores.numbers["fit_vqa"]["printed"] == [
        "Category-wise accuracies:", "Overall Acc: 25.00%", "colour: 0/2 (0.00%)", "presence: 1/2 (50.00%)"
    ]  # fmt: skip
    assert [(row.published, row.strict, row.reasons) for row in scores.rows] == [
        (1.0, 1.0, ()), (0.0, 1.0, ("punctuation",)), (0.0, 1.0, ("spaces",)), (0.0, 0.0, ()),
    ]  # fmt: skip
    assert (
        PROTOCOL.score(write(tmp_path, vqa(("Colour", "a", "a"))), {}, False).stops[0].why.endswith("a capital letter")
    )


def test_scene_questions_are_told_by_their_last_sentence(tmp_path):
    one, many = "Answer in one word or a short phrase.", "Answer with all applicable classes separated by commas."
    rows = [
        ("What? Which?", "a", "a"),  # the original stops at a first question without an ending
        (f"What? {one}", "Gas station", "gas_station"),
        ("What else?", "dock", "dock"),  # taken for one of the kind before
        (f"What? {many}", "car, ship", "Car,ship,"),
        (f"What? {many}", "car, ship", ""),
    ]
    made = [{"question_id": i, "question": q, "ground_truth": t, "answer": a} for i, (q, t, a) in enumerate(rows)]
    scores = PROTOCOL.score(write(tmp_path, made), {}, True)
    assert scores.numbers["fit_scene"]["multi"] | {"f1": 0} == {
        "precision": 0.5, "recall": 0.5, "f1": 0, "tp": 2, "fp": 2, "fn": 2
    }  # fmt: skip
    assert scores.numbers["fit_scene"]["printed"][:4] == [
        "correct_scene: 1", "incorrect_scene: 1", "Total: 2", "Scene Classify Accuracy: 0.5"
    ]  # fmt: skip
    assert [(row.published, row.strict, row.reasons) for row in scores.rows] == [
        (None, None, ()), (0.0, 1.0, ("punctuation",)), (1.0, None, ("mode-reused",)),
        (pytest.approx(0.8), 1.0, ("empty-label",)), (0.0, 0.0, ()),
    ]  # fmt: skip
    assert [stop.id for stop in scores.stops] == [0]


def test_hrben_joins_its_truths(tmp_path):
    questions = [{"id": 0, "type": "presence"}, {"id": 1, "type": "comp"}, {"id": 2, "type": "count"}]
    (tmp_path / "my_questions.json").write_text(json.dumps({"questions": questions}))
    with gzip.open(tmp_path / "my_answers.json.gz", "wt") as file:
        json.dump({"answers": [{"id": 0, "answer": "no"}, {"id": 2, "answer": "3"}]}, file)
    path = write(tmp_path, [{"question_id": i, "answer": a} for i, a in enumerate(("No", "", "3", "yes"))])
    for where in (path, tmp_path):
        scores = PROTOCOL.score(where, {}, True)
        assert scores.numbers["hrben"]["printed_combine"] == ["No 1 answer!", "No 3 answer!", "No 3 type!", "done!"]
        assert scores.numbers["hrben"]["printed"][-2:] == ["Average Acc: 1.0", "Overall Acc: 1.0"]
        assert [row.reasons for row in scores.rows] == [(), ("missing-truth",), (), ()]
        assert [stop.id for stop in scores.stops] == [2, 3]
    (tmp_path / "my_questions.json").unlink()
    with pytest.raises(InputError, match=r"--set questions=FILE"):
        PROTOCOL.score(path, {}, False)


def test_what_is_no_answer_file_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="holds no answer file"):
        PROTOCOL.score(tmp_path, {}, False)
    with pytest.raises(InputError, match="does not look like answers"):
        PROTOCOL.score(write(tmp_path, [{"x": 1}]), {}, False)
    with pytest.raises(InputError, match="is no part of FIT-RSFG"):
        PROTOCOL.score(tmp_path, {"task": "x"}, False)
    row = {"question_id": 1, "category": "task2", "ground_truth": "<a>", "answer": "<a>"}
    with pytest.raises(InputError, match="answers 1 questions more than once"):
        PROTOCOL.score(write(tmp_path, [row, row]), {}, False)
    assert PROTOCOL.score(write(tmp_path, [row, row]), {"partial": "yes"}, False).numbers
    with pytest.raises(InputError, match="None for ground_truth, and text was expected"):
        PROTOCOL.score(write(tmp_path, [row | {"ground_truth": None}]), {}, False)
    scores = PROTOCOL.score(write(tmp_path, [row | {"answer": None}]), {}, False)
    assert scores.stops[0].why == "the answer is no text" and scores.rows[0].published == 0.0
    write(tmp_path, [row])
    (tmp_path / "other.jsonl").write_text(json.dumps(row))
    with pytest.raises(InputError, match="both answers to complex_comprehension"):
        PROTOCOL.score(tmp_path, {}, False)


JUNK = [
    "{", "}", "<", ">", "{<", ">}", "{<>}", "<rel>", "</rel>", "<ref>", "<rbox>", "<ref></ref><rbox>(", "</ref><rbox>(",
    "subject: ", "object: ,", ". it is <rbox>", "\n{<1>", "{<20><20><9><6>|<10>}", "<ref>car</ref><rbox>({<9>})",
    "it is <rel>over</rel> <ref>car</ref><rbox>({<9><9><9><9>|<9>})</rbox>. ", "There is 1 ", ", ", "9" * 400,
    "{<nan><inf><1e999><-3>|<1e300>}",
]  # fmt: skip


@pytest.mark.parametrize("task", ["task1", "task2", "task3", "task4", "task5", "task6"])
def test_a_megabyte_of_junk_is_read_in_linear_time(tmp_path, task):
    truth = {
        "task1": one_car(), "task2": "a <over> b", "task3": relation("a", "over", "b"), "task4": f"({BOX})",
        "task5": region(THREE[0]), "task6": graph(),
    }[task]  # fmt: skip
    rows = [(task, truth, (junk * (1_000_000 // len(junk)))) for junk in JUNK]
    assert len(scored(tmp_path, *rows, beside=False).rows) == len(JUNK)
    few = [(task, truth, (junk * (100_000 // len(junk)))) for junk in JUNK]
    assert len(scored(tmp_path, *few).rows) == len(JUNK)


def test_captions_are_scored_as_coco_scores_them(tmp_path):
    said = {"1": "a large airport with two runways", "2": "many cars in a parking lot"}
    true = {"1": "a large airport with three runways", "2": "cars are parked in a lot"}
    rows = [{"question_id": k, "image_id": f"{k}.png", "answer": said[k], "ground_truth": true[k]} for k in said]
    file = tmp_path / "answers.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    scores = PROTOCOL.score(file, {}, True)
    (part,) = scores.numbers
    plain = [{"id": k, "caption": said[k], "references": [true[k]]} for k in said]
    other = tmp_path / "captions.jsonl"
    other.write_text("".join(json.dumps(row) + "\n" for row in plain))
    expected = coco_captions.PROTOCOL.score(other, {}, False).numbers["1_reference"]["ptb"]
    assert part == "fit_caption" and expected["cider"]["corpus"] > 0
    assert {name: scores.numbers[part][name] for name in expected} == expected
    assert {row.part for row in scores.rows} == {line.part for line in scores.beside} == {part}
