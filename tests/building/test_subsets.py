"""Few-shot subsets: nested, counted per class, repeatable, and away from the other splits."""

import hashlib
import json

import numpy as np
import pytest
from affine import Affine
from pyproj import CRS
from tests.data.small import small_questions, small_scene

from georefer.building.picks import class_of
from georefer.building.subsets import SubsetSettings, check_subsets, question_hash, write_subsets
from georefer.cli import main
from georefer.errors import DatasetError, InputError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.encode import encode_image
from georefer.scenes import DatasetWriter, Question, Scene, open_dataset

TASKS = ("rec", "detection", "presence")


def written(folder, train, test=(), tasks=TASKS):
    with DatasetWriter(folder) as writer:
        for split, scenes in (("train", train), ("test", test)):
            writer.write(split, scenes, [q for scene in scenes for q in small_questions(scene, tasks)])
        return writer.finish("", labels=["building", "pool", "tank"])


@pytest.fixture(scope="module")
def dataset(tmp_path_factory):
    train = [small_scene(n, split="train") for n in range(30)]
    return written(tmp_path_factory.mktemp("few") / "data", train, [small_scene(100)])


def contents(folder, shots):
    found = open_dataset(folder / f"shot-{shots:02d}")
    return {s.id for s in found.scenes("train")}, {q.id: q for q in found.questions("train")}


@pytest.mark.parametrize("by", ["object", "image"])
@pytest.mark.parametrize("seed", [0, 1])
def test_each_subset_lies_within_the_next_and_has_its_number_per_class(dataset, tmp_path, by, seed):
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((5, 1, 10), by, seed=seed))
    assert json.loads((tmp_path / "out" / "subsets.json").read_text()) == json.loads(json.dumps(manifest))
    smaller_scenes, smaller_questions = set(), {}
    for shots in (1, 5, 10):
        scenes, questions = contents(tmp_path / "out", shots)
        assert smaller_scenes <= scenes and smaller_questions.keys() <= questions.keys()
        assert {q.scene_id for q in questions.values()} == scenes
        described = manifest["subsets"][str(shots)]
        assert {label: c["picks"] for label, c in described["classes"].items()} == dict.fromkeys(
            ("building", "pool", "tank"), shots
        )
        assert described["questions"] == len(questions) and described["scenes"] == len(scenes)
        assert described["short"] == {}
        smaller_scenes, smaller_questions = scenes, questions


def test_by_object_every_pick_is_one_object_with_one_question_a_task(dataset, tmp_path):
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((5,), tasks=("rec",)))
    _, questions = contents(tmp_path / "out", 5)
    scenes = {s.id: s for s in dataset.scenes("train")}
    picks = manifest["subsets"]["5"]["picks"]
    assert len(picks) == len(questions) == 15  # three classes, as in k image-query-truth triples per category
    for pick in picks:
        (question,) = (questions[i] for i in pick["questions"])
        assert question.answer_ids == (pick["object_id"],) and question.task == "rec"
        (found,) = scenes[pick["scene_id"]].objects.with_ids(question.answer_ids)
        assert found.label == pick["label"]
    by_label = {label: [p["scene_id"] for p in picks if p["label"] == label] for label in ("building", "pool", "tank")}
    assert all(len(set(ids)) == 5 for ids in by_label.values())  # other images before other objects of the same


def test_by_image_every_question_about_the_class_is_kept_and_those_about_absent_ones(dataset, tmp_path):
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((2,), "image"))
    labels = {s.id: dict(zip(s.objects.ids_N, s.objects.labels_N, strict=True)) for s in dataset.scenes("train")}
    for pick in manifest["subsets"]["2"]["picks"]:
        of_image = [q for q in dataset.questions("train") if q.scene_id == pick["scene_id"]]
        expected = {q.id for q in of_image if class_of(q, labels[q.scene_id]) == pick["label"]}
        assert len(expected) >= 2  # rec and detection, where drawn presence
        absent = {q.id for q in of_image if {q.params.get("label")} - {None, *labels[q.scene_id].values()}}
        assert set(pick["questions"]) == expected | absent
        assert all(not q.answer_ids for q in of_image if q.id in absent)
    questions = {q.id: q for q in dataset.questions("train")}
    kept = [questions[i] for pick in manifest["subsets"]["2"]["picks"] for i in pick["questions"]]
    assert {q.answer_text for q in kept if q.task == "presence"} == {"yes", "no"}


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others(dataset, tmp_path):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        write_subsets(dataset, tmp_path / name, SubsetSettings((1, 5), seed=seed))
    a, b, c = ({str(p.relative_to(tmp_path / n)): p.read_bytes() for p in (tmp_path / n).rglob("*.*")} for n in "abc")
    assert a == b and a != c and {p.name for p in tmp_path.iterdir()} == {"a", "b", "c"}


def test_more_images_do_not_move_the_picks_of_others(dataset, tmp_path):
    more = [*dataset.scenes("train"), *(small_scene(n, split="train") for n in range(200, 205))]
    larger = written(tmp_path / "larger", more)
    before = write_subsets(dataset, tmp_path / "before", SubsetSettings((10,)))["subsets"]["10"]["picks"]
    after = write_subsets(larger, tmp_path / "after", SubsetSettings((10,)))["subsets"]["10"]["picks"]
    old = {s.id for s in dataset.scenes("train")}
    kept = [p for p in after if p["scene_id"] in old]
    assert all(pick in before for pick in kept) and len(kept) >= 20


def located(number, x, *, split="train", size=160, ids=None):
    """A scene of half-metre pixels with its left edge at `x` metres."""
    scene = small_scene(number, (size, 120), split)
    grid = GeoGrid(CRS("EPSG:32633"), Affine(0.5, 0, 500_000 + x, 0, -0.5, 5_000_000), size, 120)
    named = [f"{ids or 'o'}-{i}" for i in scene.objects.ids_N]
    objects = Objects.from_hbb(scene.objects.hbb_N4, list(scene.objects.labels_N), ids=named)
    return Scene(f"{split}-{number}-{x}", scene.image, objects, grid, split)


def test_images_that_other_splits_hold_too_are_never_picked(tmp_path):
    test = located(50, 0, split="test")
    same_ground = located(1, 40)  # 80 m wide: half of it is the test's
    neighbour = located(2, 80)  # shares an edge
    same_image = Scene("copy", test.image, test.objects, GeoGrid.none(160, 120), "train")
    same_id = Scene(test.id, small_scene(7).image, small_scene(7).objects, GeoGrid.none(160, 120), "train")
    dataset = written(tmp_path / "data", [same_ground, neighbour, same_image, same_id], [test])
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((10,), "image"))
    assert manifest["images_left_out_as_other_splits_hold_them"] == {"ground": 1, "id": 1, "image": 1}
    assert manifest["images_shared_with_other_splits"] == 0
    assert {p["scene_id"] for p in manifest["subsets"]["10"]["picks"]} == {neighbour.id}
    assert manifest["subsets"]["10"]["short"]  # one image is fewer than ten


def test_turned_copies_and_overlaps_come_last_and_never_repeat_an_object(tmp_path):
    # three chips of one place (the same objects), and two of other places
    scenes = [located(1, x, ids="a") for x in (0, 0.5, 1)] + [located(1, 500, ids="b"), located(1, 900, ids="c")]
    scenes = [Scene(s.id, encode_image(s.pixels() // 2 + n), s.objects, s.grid, "train") for n, s in enumerate(scenes)]
    dataset = written(tmp_path / "data", scenes, tasks=("rec",))
    for seed in range(5):
        manifest = write_subsets(dataset, tmp_path / f"out{seed}", SubsetSettings((3, 9), seed=seed))
        for label in manifest["subsets"]["3"]["classes"]:
            three, nine = (
                [p for p in manifest["subsets"][k]["picks"] if p["label"] == label] for k in ("3", "9")
            )  # fmt: skip
            assert {p["object_id"][0] for p in three} == {"a", "b", "c"}
            assert len({p["object_id"] for p in nine}) == len(nine)


def test_classes_that_cannot_be_picked_are_named_and_balance_is_counted(tmp_path):
    scenes = [small_scene(n, split="train") for n in range(6)]
    asked = [q for s in scenes for q in small_questions(s, ("detection",)) if q.params["label"] != "tank"]
    with DatasetWriter(tmp_path / "data") as writer:
        writer.write("train", scenes, asked)
        dataset = writer.finish("")
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((1, 50), "image"))
    assert manifest["classes_without_a_pick"] == ["tank"]
    fifty = manifest["subsets"]["50"]
    counts = [c["questions"] for c in fifty["classes"].values()]
    assert fifty["balance"]["fewest"] == min(counts) and fifty["balance"]["most"] == max(counts)
    share = np.array(counts) / sum(counts)
    assert fifty["balance"]["evenness"] == pytest.approx(-(share * np.log2(share)).sum(), abs=1e-3)  # two classes
    assert manifest["subsets"]["1"]["balance"]["evenness"] == 1


def test_subsets_are_whole_datasets_that_remember_where_they_come_from(dataset, tmp_path):
    write_subsets(dataset, tmp_path / "out", SubsetSettings((1,)))
    found = open_dataset(tmp_path / "out" / "shot-01")
    assert found.manifest["subset"] == {"from": dataset.fingerprint, "shots": 1, "by": "object", "seed": 0}
    assert found.manifest["labels"] == ["building", "pool", "tank"]
    originals = {s.id: s for s in dataset.scenes("train")}
    for scene in found.scenes("train"):
        assert scene.image == originals[scene.id].image and list(scene.objects.ids_N) == list(
            originals[scene.id].objects.ids_N
        )
    assert dataset.fingerprint in (found.folder / "README.md").read_text()


def test_what_cannot_be_done_is_one_sentence(dataset, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        write_subsets(dataset, tmp_path / "there")
    with pytest.raises(DatasetError, match="can be picked by object"):
        write_subsets(dataset, tmp_path / "out", SubsetSettings(tasks=("presence",)))
    with pytest.raises(DatasetError, match="no split 'val'"):
        write_subsets(dataset, tmp_path / "out", SubsetSettings(split="val"))
    assert [p.name for p in tmp_path.iterdir()] == ["there"]
    for wrong in ((), (0,), (5, 5)):
        with pytest.raises(ValueError, match="shots are"):
            SubsetSettings(wrong)


# --- hashes ----------------------------------------------------------------------------------------------------


def changed(dataset, folder, *, image=None, box=None, label=None, words=None, without=None):
    """The dataset with one thing of one scene another, or without the scene; `image` ... are ids of scenes."""
    scenes, questions = [], dataset.questions("train")
    for scene in dataset.scenes("train"):
        boxes_N4, labels = scene.objects.hbb_N4.copy(), list(scene.objects.labels_N)
        boxes_N4[:, 2] += scene.id == box
        labels = ["other" if scene.id == label else name for name in labels]
        pixels = encode_image(255 - scene.pixels()) if scene.id == image else scene.image
        objects = Objects.from_hbb(boxes_N4, labels, ids=list(scene.objects.ids_N))
        if scene.id != without:
            scenes.append(Scene(scene.id, pixels, objects, scene.grid, "train"))
    questions = [
        Question(q.id, q.scene_id, q.task, {**q.params, "expression": "it"}, q.answer_ids) if q.scene_id == words else q
        for q in questions
        if q.scene_id != without
    ]
    with DatasetWriter(folder) as writer:
        writer.write("train", scenes, questions)
        writer.write("test", dataset.scenes("test"), dataset.questions("test"))
        return writer.finish("", labels=["another", "manifest"])


@pytest.mark.parametrize("by", ["object", "image"])
def test_who_has_the_dataset_can_verify_a_draw(dataset, tmp_path, by):
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((1, 5), by, ("rec", "detection"), seed=2))
    assert check_subsets(dataset, tmp_path / "out") == []
    copy = changed(dataset, tmp_path / "copy")
    assert copy.fingerprint != dataset.fingerprint and check_subsets(copy, tmp_path / "out" / "subsets.json") == []
    first = manifest["subsets"]["1"]["picks"][0]["scene_id"]
    for change, said in (
        ({"image": first}, "1 images with other content"),
        ({"box": first}, "questions with other content"),
        ({"words": first}, "questions with other content"),
        ({"without": first}, "1 images theirs alone"),
    ):
        other = changed(dataset, tmp_path / next(iter(change)), **change)
        lines = check_subsets(other, tmp_path / "out")
        assert any(line.startswith("shot-01: ") and said in line and first in line for line in lines), (change, lines)
        assert any(line.startswith("shot-05: ") for line in lines)


def test_the_manifest_holds_the_hash_of_every_picture_and_question(dataset, tmp_path):
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((2, 4)))
    found = open_dataset(tmp_path / "out" / "shot-04")
    scenes = {scene.id: scene for scene in found.scenes("train")}
    assert manifest["sha256"]["images"] == {
        id_: hashlib.sha256(scene.image).hexdigest() for id_, scene in scenes.items()
    }
    assert manifest["sha256"]["questions"] == {
        q.id: question_hash(q, scenes[q.scene_id]) for q in found.questions("train")
    }
    two, four = (manifest["subsets"][k]["sha256"] for k in "24")
    assert two != four and len(two) == 64


@pytest.mark.parametrize(
    "spoiled",
    [
        lambda m: m["sha256"]["images"].popitem(),
        lambda m: m["sha256"]["questions"].update(dict.fromkeys(m["sha256"]["questions"], "0" * 64)),
        lambda m: m["subsets"]["2"].update(picks=m["subsets"]["2"]["picks"][1:]),
        lambda m: m.pop("seed"),
        lambda m: m.update(by="colour"),
        lambda m: m.update(subsets=[]),
        lambda m: m.update(subsets={"x": {}}),
        lambda m: m["subsets"].update({"2": None}),
    ],
)
def test_a_manifest_that_contradicts_itself_is_no_manifest(dataset, tmp_path, spoiled):
    manifest = write_subsets(dataset, tmp_path / "out", SubsetSettings((2,)))
    spoiled(manifest)
    (tmp_path / "theirs.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="is no manifest of few-shot sets"):
        check_subsets(dataset, tmp_path / "theirs.json")


def test_no_manifest_at_all(dataset, tmp_path):
    (tmp_path / "deep.json").write_text("[" * 100_000)
    for path in (tmp_path / "none.json", tmp_path / "deep.json", tmp_path):
        with pytest.raises(InputError, match="is no manifest of few-shot sets"):
            check_subsets(dataset, path)


# --- the verb --------------------------------------------------------------------------------------------------


def test_the_verb_draws_beside_the_dataset_and_says_how_to_go_on(tmp_path, capsys):
    folder = tmp_path / "mine"
    written(folder, [small_scene(n, split="train") for n in range(4)], [small_scene(100)])
    assert main(["fewshot", str(folder), "--shots", "1,2", "--task", "rec"]) == 0
    said = capsys.readouterr().out
    out = tmp_path / "mine-fewshot"
    assert "shot-01: 3 questions" in said and "shot-02: 6 questions" in said and f"wrote {out}" in said
    assert f"--dataset {out / 'shot-02'} " in said
    assert f"georefer evaluate RUN/model {folder} RUN/test\n" in said
    assert {path.name for path in out.iterdir()} == {"shot-01", "shot-02", "subsets.json"}
    assert main(["fewshot", str(folder), "--check", str(out)]) == 0
    assert "gives the draw of" in capsys.readouterr().out
    other = written(tmp_path / "other", [small_scene(n, split="train") for n in range(5)])
    assert main(["fewshot", str(other.folder), str(tmp_path / "out"), "--split", "train"]) == 0
    assert "has no other split to test on" in capsys.readouterr().out
    assert main(["fewshot", str(other.folder), "--check", str(out)]) == 1
    assert "shot-01: " in capsys.readouterr().out


def test_the_verb_refuses_in_one_sentence(dataset, tmp_path, capsys):
    for shots, said in (("0", "shots are (0,)"), ("5,5", "shots are (5, 5)")):
        assert main(["fewshot", str(dataset.folder), str(tmp_path / "out"), "--shots", shots]) == 2
        assert said in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main(["fewshot", str(dataset.folder), "--shots", "one"])
    assert not (tmp_path / "out").exists()
