"""Scene graphs of an image and of a region: promises in every dialect, FIT-RS' sentences, lines, and strict scores."""

import numpy as np
import pytest
from tests.data.promises import check_promises, frame_of, gold_text, headline, score
from tests.data.related import CLASSES, related_asking, related_scene

from georefer.dialects import DIALECTS, Relation
from georefer.geometry import Frame, Objects
from georefer.scenes import SceneRelation
from georefer.scenes.readers.star import PREDICATES
from georefer.scoring import score_graphs
from georefer.tasks import OBB_FORM, OUTLINE, Asking
from georefer.tasks.graph import MAX_READ, MAX_TOLD, SceneGraph

SCENE = related_scene()
IMAGE, IMAGE_OBB = SceneGraph(), SceneGraph("image-graph-obb", OBB_FORM)
REGION = SceneGraph("region-graph", of_region=True)
REGION_OBB = SceneGraph("region-graph-obb", OBB_FORM, of_region=True)
ALL = (IMAGE, IMAGE_OBB, REGION, REGION_OBB)


def questions_of(task, seed=0, scene=SCENE, **limits):
    return task.questions(scene, related_asking(scene, **limits), np.random.default_rng(seed))


def region(task, id_):
    return next(q for q in questions_of(task) if q.params["region"] == id_)


def counts(row):
    return row["tp"], row["fp"], row["fn"]


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_promises_in_every_dialect(task):
    dialects = [name for name, d in DIALECTS.items() if set(task.form.kinds) & d.kinds]
    assert {"georefer", "geochat-cw"} <= set(dialects) and ("fit-rs" in dialects) == (task.form == OBB_FORM)
    check_promises(task, dialects, questions_of(task), SCENE)


@pytest.mark.parametrize("task", [IMAGE_OBB, REGION_OBB], ids=lambda task: task.name)
@pytest.mark.parametrize("frame", [Frame.resize((512, 512), (700, 300)), Frame.letterbox((512, 512), (900, 448))])
def test_a_graph_in_fit_rs_comes_back_from_every_frame(task, frame):
    for question in questions_of(task):
        text = task.answer(question, SCENE, DIALECTS["fit-rs"], frame)
        assert "<rel>" in text and "|" not in task.prompt(question, DIALECTS["fit-rs"], frame).replace("|<", "")
        row = task.score(DIALECTS["fit-rs"].read(text, frame), question, SCENE)
        assert row["tp"] and (row["fp"], row["fn"]) == (0, 0)


@pytest.mark.parametrize("dialect", [name for name, d in DIALECTS.items() if "hbb" in d.kinds])
def test_objects_of_mixed_classes_keep_their_numbers(dialect):
    """From left to right the classes alternate, and some dialects say those of one class together."""
    boxes = [[x, 20 + x // 2, x + 60, 80 + x // 2] for x in range(10, 400, 80)]
    objects = Objects.from_hbb(boxes, ["ship", "dock", "ship", "car", "dock"])
    relations = tuple(SceneRelation(str(i), "approach", str((i + 1) % 5)) for i in range(5))
    scene = SCENE.__class__("mixed", SCENE.image, objects, SCENE.grid, "test", relations=relations)
    (question,) = questions_of(IMAGE, scene=scene)
    text = gold_text(IMAGE, dialect, question, scene)
    assert counts(score(IMAGE, dialect, text, question, scene)) == (5, 0, 0)


def test_every_end_of_a_relation_is_a_region_and_limits_bound():
    assert {q.params["region"] for q in questions_of(REGION)} == set(SCENE.objects.ids_N)
    for question in questions_of(REGION):
        assert question.params["region"] not in question.answer_ids
    assert len(questions_of(REGION, region_graph=3)) == 3
    assert questions_of(REGION, region_graph=3) == questions_of(REGION, region_graph=3)
    assert [len(questions_of(task, scene=related_scene(left_out="apron"))) for task in (IMAGE, REGION)] == [1, 7]


def test_what_would_be_cut_off_is_not_asked():
    relations = tuple(SceneRelation("car 1", f"p{n}", "car 2") for n in range(MAX_TOLD + 1))
    for kept, asked in ((relations, 0), (relations[1:], 1)):
        scene = SCENE.__class__("many", SCENE.image, SCENE.objects, SCENE.grid, "test", relations=kept)
        assert len(questions_of(IMAGE, scene=scene)) == asked


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_saying_everything_does_not_pay(task):
    """Every predicate between every two objects finds all, and nearly all of it is false."""
    said = task.form.of(SCENE.objects, DIALECTS["georefer"])
    text = DIALECTS["georefer"].write(said, frame_of(SCENE))
    names = [f"{o.label} {n}" for n, o in enumerate(SCENE.objects, 1)]
    used = sorted({r.predicate for r in SCENE.relations}) + [p for p in PREDICATES if "alongside" in p]
    lines = [f"{one} | {name} | {other}" for name in used for one in names for other in names if one != other]
    for question in questions_of(task):
        row = score(task, "georefer", "\n".join([text, *lines]), question, SCENE)
        assert 2 * row["tp"] / (2 * row["tp"] + row["fp"] + row["fn"]) < 0.1
        assert row["contradictory"] > 0


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_saying_a_relation_twice_counts_once(task):
    for question in questions_of(task):
        for dialect in ("georefer", "fit-rs") if task.form == OBB_FORM else ("georefer",):
            text = gold_text(task, dialect, question, SCENE)
            once, lines = score(task, dialect, text, question, SCENE), text.splitlines()
            twice = text + text if dialect == "fit-rs" else "\n".join([*lines, *lines[1:]])
            assert counts(score(task, dialect, twice, question, SCENE)) == counts(once)


@pytest.mark.parametrize(
    ("lines", "tp", "fp"),
    [
        ("car 1 | randomly parked on | apron 2", 1, 0),
        ("- car #1 | Randomly_Parked on | apron 2 ", 1, 0),
        ("1 | randomly parked on | 2", 1, 0),  # the classes are those that the dialect read
        ("apron 2 | randomly parked on | car 1", 0, 1),  # the wrong way round
        ("truck 1 | randomly parked on | apron 2", 0, 1),  # the wrong class
        ("car 1 | randomly parked on | apron 2\ntruck 1 | randomly parked on | apron 2", 1, 1),  # hedged
        ("car 2 | randomly parked on | apron 1", 0, 1),  # the wrong places
        ("car 1 | randomly parked on | apron 9", 0, 1),  # of nothing that was said
        ("car 1 | approach | apron 2", 0, 1),
        ("it | randomly parked on | apron 2", 0, 1),  # nobody asked about it
        ("car | randomly parked on | apron", 0, 0),
        ("car 1 | randomly parked on", 0, 0),
        ("", 0, 0),
    ],
)
def test_lines(lines, tp, fp):
    objects = SCENE.objects.with_ids(["car 1", "apron"]).to_hbb()
    text = DIALECTS["georefer"].write(objects, frame_of(SCENE)) + "\n" + lines
    row = score(IMAGE, "georefer", text, questions_of(IMAGE)[0], SCENE)
    assert counts(row) == (tp, fp, 11 - tp)
    assert row["readable"] == float(tp + fp > 0)
    assert row["recall"] == tp / 11


def test_it_is_the_region_and_a_box_of_the_region_is_it_too():
    question = region(REGION, "ship 1")
    objects = SCENE.objects.with_ids(["dock", "ship 1", "ship 2"]).to_hbb()
    text = DIALECTS["georefer"].write(objects, frame_of(SCENE))
    for name in ("it", "IT", "ship 2"):
        lines = f"\n{name} | parallelly docked at | dock 1\n{name} | docked alongside with | ship 3"
        assert counts(score(REGION, "georefer", text + lines, question, SCENE)) == (2, 0, 0)
    # "it" is no other ship
    wrong = score(REGION, "georefer", text + "\nship 3 | docked alongside with | it", question, SCENE)
    assert counts(wrong) == (0, 1, 2)


def test_sentences_about_it_are_read_and_misses_cost():
    question = region(REGION_OBB, "dock")
    text = gold_text(REGION_OBB, "fit-rs", question, SCENE)
    assert text.startswith("2 <ref>ships</ref>") and text.endswith("are <rel>parallelly docked at</rel> it. ")
    cases = (
        (text, (2, 0, 0)),
        (text.replace("parallelly", "randomly"), (0, 2, 2)),
        (text.replace("ships", "boats"), (0, 2, 2)),
        (text.split(", {")[0].replace("ships", "ship") + ")</rbox> is <rel>parallelly docked at</rel> it. ", (1, 0, 1)),
        (text.replace(" it. ", ". "), (0, 0, 2)),
    )
    for said, expected in cases:
        assert counts(score(REGION_OBB, "fit-rs", said, question, SCENE)) == expected


def test_relations_of_two_opposites_contradict():
    question = region(REGION, "plane 2")
    text = DIALECTS["georefer"].write(SCENE.objects.with_ids(["car 1"]).to_hbb(), frame_of(SCENE))
    row = score(REGION, "georefer", text + "\ncar 1 | approach | it\ncar 1 | away from | it", question, SCENE)
    assert (row["pairs"], row["contradictory"]) == (1, 1)


def test_both_thresholds_are_of_both_ends():
    """A box moved by a third of its side has an IoU of a half: found at 0.25, not at 0.5."""
    question = questions_of(IMAGE)[0]
    objects = SCENE.objects.with_ids(question.answer_ids).to_hbb()
    boxes_N4 = objects.hbb_N4
    moved = boxes_N4 + np.array([[0.4, 0, 0.4, 0]]) * (boxes_N4[:, 2] - boxes_N4[:, 0])[:, None]
    text = gold_text(IMAGE, "georefer", question, SCENE)
    shifted = DIALECTS["georefer"].write(Objects.from_hbb(moved, list(objects.labels_N)), frame_of(SCENE))
    row = score(IMAGE, "georefer", "\n".join([shifted, *text.splitlines()[1:]]), question, SCENE)
    assert (row["recall"], row["recall_low"]) == (0, 1)


def test_pairs_give_the_means_over_predicates():
    question = questions_of(IMAGE)[0]
    text = gold_text(IMAGE, "georefer", question, SCENE).replace("approach", "away from")
    pair = IMAGE.pair(DIALECTS["georefer"].read(text, frame_of(SCENE)), question, SCENE)
    (result,) = score_graphs([pair], PREDICATES, (0.5,))
    assert result.recall == pytest.approx(10 / 11) and result.mean_recall == pytest.approx(7 / 8)
    assert result.mean_recall_all == pytest.approx(7 / 58)
    assert pair.truth.relations[0] == Relation(question.answer_ids.index("plane 1"), "parallelly parked on", 0)


@pytest.mark.parametrize("task", ALL, ids=lambda task: task.name)
def test_junk_is_read_in_bounds(task):
    question = questions_of(task)[-1]
    gold = gold_text(task, "georefer", question, SCENE)
    many = "\n".join(f"car {n % 7} | p{n} | {n % 9}" for n in range(60_000))
    for junk in (many, gold.splitlines()[0] + "\n" + many, "|" * 1_000_000, "it | " * 200_000, "a\n" * 500_000):
        row = score(task, "georefer", junk, question, SCENE)
        assert row["tp"] == 0 and row["fp"] <= MAX_READ
    for junk in ("It is <rel>a</rel> <ref>b</ref>" * 30_000, "<rel>" * 200_000):
        assert score(task, "fit-rs" if task.form == OBB_FORM else "georefer", junk, question, SCENE)["tp"] == 0


def test_what_cannot_be_said_is_refused():
    scene = SCENE.__class__(
        "bars", SCENE.image, SCENE.objects, SCENE.grid, "test", relations=(SceneRelation("car 1", "a | b", "car 2"),)
    )
    with pytest.raises(ValueError, match=r"holds a \|"):
        gold_text(IMAGE, "georefer", questions_of(IMAGE, scene=scene)[0], scene)
    with pytest.raises(ValueError, match="BOX or OBB_FORM"):
        SceneGraph("wrong", OUTLINE)


def test_objects_that_a_dialect_cannot_tell_apart_are_one():
    boxes = Objects.from_hbb(
        [[100, 100, 200, 200], [100.2, 100, 200, 200], [300, 300, 400, 400]], ["car", "car", "tank"]
    )
    relations = tuple(SceneRelation(one, "approach", "2") for one in ("0", "1"))
    scene = SCENE.__class__("same", SCENE.image, boxes, SCENE.grid, "test", relations=relations)
    (question,) = questions_of(IMAGE, scene=scene)
    text = gold_text(IMAGE, "kosmos-2", question, scene)
    assert counts(score(IMAGE, "kosmos-2", text, question, scene)) == (1, 0, 1)


def test_a_benchmark_brings_its_own_words_and_an_empty_scene_is_asked_nothing():
    for task in ALL:
        question = questions_of(task)[0]
        own = question.__class__(question.id, SCENE.id, task.name, {**question.params, "prompt": "[grounding] it"})
        assert task.prompt(own, DIALECTS["georefer"], frame_of(SCENE)) == "[grounding] it"
        empty = SCENE.__class__("empty", SCENE.image, Objects.none(), SCENE.grid, "test", relations=SCENE.relations)
        assert task.questions(empty, Asking(CLASSES), np.random.default_rng(0)) == []
    assert headline(IMAGE, [score(IMAGE, "georefer", "none", questions_of(IMAGE)[0], SCENE)], "recall") == 0
