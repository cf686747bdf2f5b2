"""The label audit: each thing that can be wrong is planted once and found once, and a clean dataset stays clean."""

import json

import pytest
import shapely
from tests.data.small import small_dataset, small_questions, small_scene

from georefer.cli import main
from georefer.errors import InputError
from georefer.evaluation.label_audit import (
    LabelSettings,
    audit_labels,
    estimated_tokens,
    label_table,
    shape_findings,
)  # fmt: skip
from georefer.geometry import GeoGrid, Objects
from georefer.scenes import DatasetWriter, Question, Scene

IMAGE = small_scene(0, (100, 100)).image
NONE = shapely.Polygon()


def scene_of(*shapes, labels=None, kind="polygon", id_="s"):
    labels = labels or [f"class {i}" for i in range(len(shapes))]
    return Scene(id_, IMAGE, Objects.of(shapes, labels, kind=kind), GeoGrid.none(100, 100), "test")


def dataset_of(folder, scenes, questions):
    with DatasetWriter(folder) as writer:
        writer.write("test", scenes, questions)
        return writer.finish("")


@pytest.mark.parametrize(
    ("scene", "expected"),
    [
        (scene_of(shapely.box(10, 10, 30, 30)), []),
        (scene_of(shapely.box(-1, 0, 30, 30)), []),  # a pixel over the edge is rounding
        (scene_of(shapely.box(-4, 0, 30, 30)), ["over the edge"]),
        (scene_of(shapely.box(80, 80, 103, 99)), ["over the edge"]),
        (scene_of(shapely.box(100, 10, 120, 30)), ["off the image"]),
        (scene_of(shapely.box(10, -50, 20, -40)), ["off the image"]),
        (scene_of(shapely.box(10, 10, 10, 30)), ["zero area"]),
        (scene_of(shapely.Polygon([(1, 1), (20, 20), (40, 40)])), ["zero area"]),
        (scene_of(NONE), ["zero area"]),
        (scene_of(shapely.box(10, 10, 13.9, 40)), ["tiny"]),
        (scene_of(shapely.box(10, 10, 14, 40)), []),  # exactly what is allowed
        (scene_of(shapely.box(0, 0, 100, 91)), ["huge"]),
        (scene_of(shapely.box(0, 0, 100, 90)), []),
        (scene_of(*[shapely.box(10, 10, 30, 30)] * 2, labels=["a", "a"]), ["duplicate"]),
        (scene_of(*[shapely.box(10, 10, 30, 30)] * 2, labels=["a", "b"]), ["two classes"]),
        (scene_of(shapely.box(10, 10, 30, 30), shapely.box(10, 10, 30, 30.9), labels=["a", "a"]), ["duplicate"]),
        (scene_of(shapely.box(10, 10, 30, 30), shapely.box(10, 10, 30, 32), labels=["a", "a"]), []),  # IoU 0.91
        (scene_of(shapely.Point(5, 5), kind="point"), []),  # has no area to be small
        (scene_of(shapely.Point(500, 5), kind="point"), ["off the image"]),
        (scene_of(shapely.LineString([(5, 5), (50, 5)]), kind="line"), []),
    ],
)
def test_shapes(scene, expected):
    assert [kind for kind, _ in shape_findings(scene, LabelSettings())] == expected


def test_a_clean_dataset_has_nothing_odd_and_its_counts_are_right(tmp_path):
    dataset = small_dataset(tmp_path / "data", 5)
    found = audit_labels(dataset)
    assert found.findings == {"test": {}} and found.errors == 0
    scenes, questions = list(dataset.scenes("test")), dataset.questions("test")
    assert found.scenes == {"test": 5}
    assert sum(found.objects["test"].values()) == sum(len(s.objects) for s in scenes)
    assert sum(found.asked["test"].values()) == len(questions)
    assert found.answers["test"]["presence: yes"] == found.answers["test"]["presence: no"] > 0
    counts = found.objects["test"].values()
    assert found.imbalance("test") == max(counts) / min(counts)
    assert "nothing odd" in label_table(found) and "no errors" in label_table(found)


def presence(id_, scene, label, answer):
    return Question(id_, scene, "presence", {"label": label}, answer_text=answer)


def planted():
    """Scenes with one picture, and questions of which each row plants one finding."""
    a, b = scene_of(shapely.box(10, 10, 30, 30), id_="a"), scene_of(shapely.box(40, 40, 60, 60), id_="b")
    return [a, b], [
        presence("yes", "a", "pool", "yes"),
        presence("no", "b", "pool", "no"),  # the same picture under another name
        presence("again", "b", "tank", "yes"),
        presence("and again", "a", "tank", "yes"),
        Question("lost", "a", "rec", {"expression": "it", "by": "x"}, ("7",)),
        Question("homeless", "c", "rec", {"expression": "it", "by": "x"}, ("0",)),
        Question("strange", "a", "juggling", {}, answer_text="5"),
        presence("maybe", "a", "ship", "maybe"),  # no right answer of this task
    ]


def test_each_planted_mistake_is_found_once_with_its_place(tmp_path):
    found = audit_labels(dataset_of(tmp_path / "data", *planted()))
    counts, examples = found.findings["test"], found.examples["test"]
    assert counts == {
        "contradiction": 1, "repetition": 1, "unknown object": 2, "unknown task": 1, "gold below full": 1,
    }  # fmt: skip
    assert "yes" in examples["contradiction"][0] and "no" in examples["contradiction"][0]
    assert "Is there a pool?" in examples["contradiction"][0]
    assert {e.split(":")[0] for e in examples["unknown object"]} == {"lost", "homeless"}
    assert examples["unknown task"] == ["strange: juggling"] and examples["gold below full"][0].startswith("maybe: 0")
    assert found.errors == 5  # a repetition wastes time, no more
    json.loads(json.dumps(found.to_json(), allow_nan=False))
    table = label_table(found)
    assert "(note) repetition" in table and "5 errors" in table
    assert table.index("contradiction") < table.index("(note)")


def test_answers_that_a_dialect_cannot_hold(tmp_path):
    # 0.3 of a pixel in 1000 is lost on a grid of 0 to 1000, so the right answer does not score
    scene = Scene(
        "s", IMAGE, Objects.from_hbb([[400.0, 400.0, 400.3, 400.3]], ["dot"]), GeoGrid.none(4000, 4000), "test"
    )
    asked = [Question("q", "s", "detection", {"label": "dot"}, ("0",))]
    found = audit_labels(dataset_of(tmp_path / "a", [scene], asked), LabelSettings(dialect="groundset"))
    assert found.findings["test"].keys() - {"tiny"} == {"gold below full"}
    # boxes are all that this dialect says: outlines are left out, and said to be
    small = small_scene(1)
    outlines = small_questions(small, ("res",))
    found = audit_labels(dataset_of(tmp_path / "b", [small], outlines), LabelSettings(dialect="kosmos-2"))
    assert found.findings["test"] == {"left out: the dialect says no such shapes": len(outlines)}
    assert found.errors == 0


def test_long_answers_are_found_by_the_budget_or_by_ones_own_tokenizer(tmp_path):
    scene = small_scene(2)
    dataset = dataset_of(tmp_path / "data", [scene], small_questions(scene, ("detection",)))
    assert "too long" not in audit_labels(dataset).findings["test"]
    tight = audit_labels(dataset, LabelSettings(budget=10))
    assert tight.findings["test"]["too long"] > 0 and "tokens" in tight.examples["test"]["too long"][0]
    assert audit_labels(dataset, count_tokens=lambda text: 5000).findings["test"]["too long"] == len(
        dataset.questions("test")
    )


@pytest.mark.parametrize(
    ("text", "tokens"),
    [("", 0), ("none", 1), ("[12, 345]", 8), ("swimming pool", 3), ("a_b", 3), ("Fußgänger", 2)],
)
def test_estimated_tokens(text, tokens):
    assert estimated_tokens(text) == tokens


def test_examples_and_splits_are_bounded_by_what_is_asked_for(tmp_path):
    scenes, _ = planted()
    asked = [presence(f"q{i}", "a", "pool", "maybe") for i in range(9)]
    dataset = dataset_of(tmp_path / "data", scenes, asked)
    found = audit_labels(dataset, LabelSettings(examples=2), ["test"])
    assert found.findings["test"]["gold below full"] == 9 and len(found.examples["test"]["gold below full"]) == 2
    with pytest.raises(InputError, match="no split val"):
        audit_labels(dataset, splits=["val"])
    for wrong in ({"dialect": "klingon"}, {"budget": 0}, {"same": 0}):
        with pytest.raises(ValueError, match=r"klingon|expected"):
            LabelSettings(**wrong)


def test_a_scene_of_thousands_of_copies_is_not_compared_pair_by_pair():
    # 4.5 million pairs
    scene = scene_of(*[shapely.box(10, 10, 30, 30)] * 3000, labels=["a"] * 3000)
    found = list(shape_findings(scene, LabelSettings()))
    assert {kind for kind, _ in found} == {"duplicate"} and len(found) == 10_000


def test_the_verb_prints_writes_and_fails_where_asked(tmp_path, capsys):
    dataset_of(tmp_path / "bad", *planted())
    small_dataset(tmp_path / "good", 3)
    assert main(["audit", str(tmp_path / "good"), "--labels", "--fail-on-leak"]) == 0
    assert main(["audit", str(tmp_path / "bad"), "--labels", "--json", str(tmp_path / "found.json")]) == 0
    assert "contradiction" in capsys.readouterr().out
    written = json.loads((tmp_path / "found.json").read_text())
    assert written["bad"]["errors"] == 5 and written["bad"]["settings"]["dialect"] == "georefer"
    assert main(["audit", str(tmp_path / "bad"), str(tmp_path / "good"), "--labels", "--fail-on-leak"]) == 1
    assert main(["audit", str(tmp_path / "bad"), "--labels", "--dialect", "klingon"]) == 2
    assert "no dialect 'klingon'" in capsys.readouterr().err
