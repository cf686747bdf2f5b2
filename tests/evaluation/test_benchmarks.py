"""A published benchmark from its own files to georefer's scores and back to the published scorer."""

import json
from collections import Counter

import numpy as np
import pytest
from PIL import Image
from tests.data.geo_r1_fs import cell, encoded, encoded_mask, parquet_rows, vrsbench_fs

from georefer.cli import main
from georefer.errors import InputError
from georefer.evaluation import EvaluateSettings, evaluate, truth_from
from georefer.evaluation.benchmarks import Wording, prepare, published_answers, read_named, scorer_of
from georefer.evaluation.protocols import PROTOCOLS
from georefer.models import FakeModel
from georefer.scenes import open_dataset
from georefer.scenes.readers import SOURCES

TILE = "0001__512__0___0.png"

SETTINGS = EvaluateSettings(blind=False)


def pictures(folder, names, side):
    folder.mkdir(parents=True)
    for number, name in enumerate(names):
        noise_HW3 = np.random.default_rng(number).integers(0, 255, (side, side, 3)).astype(np.uint8)
        Image.fromarray(noise_HW3).save(folder / name)
    return folder


@pytest.fixture
def vrsbench(tmp_path):
    """Two patches of DOTA (names with letters), one sentence each on an upright and on a turned object."""
    corners = {
        "P0001_0001.png": [0.1, 0.1, 0.5, 0.1, 0.5, 0.4, 0.1, 0.4],
        "P0002_0001.png": [0.5, 0.2, 0.8, 0.5, 0.5, 0.8, 0.2, 0.5],
    }
    rows = []
    for number, (name, parts) in enumerate(corners.items()):
        x, y = parts[::2], parts[1::2]
        edges = [int(100 * v + 1e-9) for v in (min(x), min(y), max(x), max(y))]
        rows.append(
            {"image_id": name, "question": f"the ship number {number}", "question_id": number, "type": "ref",
             "ground_truth": "{" + "".join(f"<{v}>" for v in edges) + "}", "unique": number == 0, "obj_corner": parts,
             "obj_cls": "ship", "obj_ids": [0], "size_group": "big", "dataset": "DOTA"}
        )  # fmt: skip
    rows.append(
        {"image_id": "P0001_0001.png", "question": "How many ships?", "question_id": 9, "type": "object quantity",
         "ground_truth": "1", "dataset": "DOTA"}
    )  # fmt: skip
    path = tmp_path / "VRSBench_EVAL_referring.json"
    path.write_text(json.dumps(rows))
    return path, pictures(tmp_path / "images", corners, 512)


def run_of(name, path, images, out, wording=None):
    published = SOURCES[name].read(path, images=images)
    dataset = prepare(published, images, out / "dataset", wording)
    scores = evaluate(FakeModel(truth_from(dataset, "test")), dataset, SETTINGS, out)
    return published, dataset, scores, published_answers(published, dataset, out)


def test_vrsbench_is_asked_scored_and_handed_back(vrsbench, tmp_path):
    _, dataset, scores, folder = run_of("vrsbench", *vrsbench, tmp_path / "run")
    assert {name: found.answers for name, found in scores.tasks.items()} == {"rec": 2, "vqa": 1}
    assert all(next(iter(found.measures.values())).value == 1 for found in scores.tasks.values())
    prompts = [q.params["prompt"] for q in dataset.questions("test")]
    assert prompts == ["the ship number 0", "How many ships?", "the ship number 1"]
    numbers = PROTOCOLS["vrsbench"].score(folder, {}, False).numbers
    assert numbers["hbb"]["all"]["acc"] == {"0.5": 100, "0.7": 100} and numbers["hbb"]["unique"]["total"] == 1


def test_oriented_boxes_are_asked_for_where_one_says_so(vrsbench, tmp_path):
    _, _, scores, _ = run_of("vrsbench", *vrsbench, tmp_path / "run", Wording("own", {"rec": "rec-obb"}))
    assert scores.tasks["rec-obb"].measures["miou"].value > 0.99


def test_groundset_is_asked_scored_and_handed_back(tmp_path):
    pond = {"id": 1, "image": "a.png", "class": "Pond"}
    files = {
        "rec": {"question": "Where is the pond?", "answer": "[0.100, 0.200, 0.300, 0.400]", "noise": False},
        "detection": {"question": "Find every pond.", "answer": "None", "noise": True},
        "segment": {"image": "b.png", "question": "Outline each.", "answer": "[0.1, 0.1, 0.5, 0.1, 0.5, 0.6]"},
        "vqa": {"image": "b.png", "question": "Is there a pond?", "answer": "yes"},
        "caption": {"image": "b.png", "question": "Describe.", "answer": "A pond lies here by the road."},
        "phrase": {"question": "Find all of ['Pond', 'Church'].", "answer": "Pond: [0.1, 0.2, 0.3, 0.4]"},
        "classification": {"question": "What is at [0.1, 0.2, 0.3, 0.4]?", "answer": "pond"},
    }
    folder = tmp_path / "instructions"
    folder.mkdir()
    for task, row in files.items():
        (folder / f"GroundSet_EVAL_{task}.jsonl").write_text(json.dumps({**pond, **row}) + "\n")
    images = pictures(tmp_path / "images", ["a.png", "b.png"], 672)
    _, dataset, scores, answers = run_of("groundset", folder, images, tmp_path / "run")
    assert not dataset.manifest["left_out"]
    assert set(scores.tasks) == {"rec", "detection", "segment", "presence", "phrase", "classification", "caption"}
    assert scores.tasks["classification"].measures["accuracy"].value == 1
    assert scores.tasks["phrase"].measures["f1"].value == 1
    numbers = PROTOCOLS["groundset"].score(answers / "finetune", {}, False).numbers
    asked = ("rec", "detection", "segment", "vqa", "phrase", "classification", "caption")
    assert set(numbers) == {f"finetune/{task}" for task in asked}
    assert numbers.pop("finetune/caption")["cider_reported_x100"] == pytest.approx(1000)
    assert numbers.pop("finetune/classification")["default"]["ALL"]["Accuracy"] == 100
    for name, found in numbers.items():
        assert found["default"]["ALL"]["acc" if name.endswith("vqa") else "acc0.5"] == 100


def test_fit_rsrc_keeps_its_rotations(tmp_path):
    options = ["The car is near the house.", "The car is on the house."]
    rows = []
    for shift in range(2):
        turned = options[shift:] + options[:shift]
        text = "Which is true?\n" + "\n".join(f"{letter}. {words}" for letter, words in zip("AB", turned, strict=True))
        letter = "AB"[turned.index(options[0])]
        rows.append({"question_id": 5, "image": TILE, "text": text, "category": "exist", "ground_truth": letter})
    path = tmp_path / "FIT-RSRC_Questions_2k.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    images = pictures(tmp_path / "images", [TILE], 512)
    _, _, scores, answers = run_of("fit-bench", path, images, tmp_path / "run")
    assert scores.tasks["choice"].answers == 2 and scores.tasks["choice"].measures["accuracy"].value == 1
    kept = [json.loads(line) for line in (answers / "fit_rsrc.jsonl").read_text().splitlines()]
    assert [row["question_id"] for row in kept] == [5, 5] and [row["answer"] for row in kept] == ["A", "B"]


def named(text, out, split=None, images=None, wording=None):
    """As `evaluate NAME=PATH` does it, with a model that knows the truth."""
    published, images = read_named(text, images, split)
    dataset = prepare(published, images, out / "dataset", wording)
    scores = evaluate(FakeModel(truth_from(dataset, "test")), dataset, SETTINGS, out)
    assert scorer_of(published) == "geo-r1"
    return dataset, scores, published_answers(published, dataset, out)


def test_vrsbench_fs_is_asked_with_the_pictures_in_its_files(tmp_path):
    folder = vrsbench_fs(tmp_path / "VRSBench-FS")
    dataset, scores, answers = named(f"vrsbench-fs={folder}", tmp_path / "run", "val")
    assert scores.tasks["rec"].answers == 3 and scores.tasks["rec"].images == 2
    assert scores.tasks["rec"].measures["acc@0.5"].value == 1
    by_id = {scene.id: scene.image for scene in dataset.scenes("test")}
    assert sorted(by_id.values()) == sorted([encoded(3), encoded(4)])  # byte for byte
    asked = {q.id: by_id[q.scene_id] for q in dataset.questions("test")}
    assert asked["rec/val_1"] == encoded(3) and asked["rec/val_2"] == encoded(4)
    numbers = PROTOCOLS["geo-r1"].score(answers, {}, False).numbers["rec"]
    assert numbers["rows"] == 3 and numbers["all"]["0.5"]["accuracy"] == 100
    assert numbers["unique"]["n"] == 2 and numbers["non_unique"]["n"] == 1


def test_the_splits_of_one_set_are_not_mixed_up(tmp_path):
    text = f"vrsbench-fs={vrsbench_fs(tmp_path / 'set')}"
    published, images = read_named(text, None, "train_1shot")
    prepare(published, images, tmp_path / "few", split="train")
    for split, stored in (("val", "train"), ("train_1shot", "test")):
        other, images = read_named(text, None, split)
        with pytest.raises(InputError, match="holds another benchmark"):
            prepare(other, images, tmp_path / "few", split=stored)


def test_earthreason_fs_is_asked_for_areas_or_none(tmp_path):
    rows = [
        {"image": cell(encoded(n)), "problem": f"where {n}?", "category": name, "mask": cell(mask), "id": f"e_{n}"}
        for n, (name, mask) in enumerate(
            [("Airport", encoded_mask((2, 3, 30, 20), (40, 30, 60, 40))), ("Dam", encoded_mask((5, 5, 9, 20))),
             ("Dam", encoded_mask())]
        )
    ]  # fmt: skip
    parquet_rows(tmp_path / "ER" / "data" / "test-00000-of-00001.parquet", rows)
    _, scores, answers = named(f"earthreason-fs={tmp_path / 'ER'}", tmp_path / "run", "test")
    assert {name: found.answers for name, found in scores.tasks.items()} == {"gres": 3}
    assert scores.tasks["gres"].measures["giou"].value > 0.95 and scores.tasks["gres"].measures["n-acc"].value == 1
    numbers = PROTOCOLS["geo-r1"].score(answers, {}, False).numbers["gres"]
    assert numbers["rows"] == 3 and numbers["per_category"]["Dam"]["count"] == 2
    assert 0.6 < numbers["overall_gIoU"] <= 0.667  # as published: a right "nothing" is worth 0


def test_masks_without_pixels_or_outlines_choose_the_task(tmp_path):
    row = {"problem": "where?", "category": "Dam"}
    masks = [{**row, "image": "a.png", "mask": f"{n}.png", "id": n, "bbox_list": []} for n in "12"]
    boxes = [
        {**row, "image": "a.png", "id": n, "bbox_list": b}
        for n, b in (("3", [[1, 1, 9, 9], [20, 9, 30, 30]]), ("4", []))
    ]
    (tmp_path / "masks").mkdir()
    pictures(tmp_path / "images", ["a.png"], 64)
    for name, box in (("1", (2, 2, 9, 9)), ("2", (20, 20, 40, 30))):
        (tmp_path / "masks" / f"{name}.png").write_bytes(encoded_mask(box, size=(64, 64)))
    cases = {
        "res": (masks, {"res": 2}, {}),  # one outline each
        "gres": ([*masks, {**boxes[1]}], {"gres": 3}, {}),  # one means nothing
        "grec": (boxes, {"grec": 2}, {}),  # boxes alone
        "both": ([*masks, *boxes], {"gres": 3}, {"a box answers where an outline is expected": 1}),
    }
    for name, (rows, tasks, left_out) in cases.items():
        path = tmp_path / f"{name}.jsonl"
        path.write_text("".join(json.dumps(one) + "\n" for one in rows))
        published, images = read_named(f"earthreason-fs={path}", tmp_path / "images")
        dataset = prepare(published, images, tmp_path / name)
        assert Counter(q.task for q in dataset.questions("test")) == tasks, name
        assert dataset.manifest["left_out"] == left_out
    own = prepare(published, images, tmp_path / "own", Wording("own"))
    assert {q.params["expression"] for q in own.questions("test")} == {"where?"}


def test_images_that_differ_in_their_ending_alone_are_two_scenes(tmp_path):
    names = ["a.png", "a.jpg", "b.png"]
    rows = [{"image": name, "problem": name, "solution": [1, 1, 9, 9], "is_unique": True} for name in names]
    (tmp_path / "rec.json").write_text(json.dumps(rows))
    images = pictures(tmp_path / "images", names, 64)
    published, _ = read_named(f"vrsbench-fs={tmp_path / 'rec.json'}", images)
    dataset = prepare(published, images, tmp_path / "out")
    assert {(q.scene_id, q.params["prompt"]) for q in dataset.questions("test")} == {
        ("a.png", "a.png"), ("a.jpg", "a.jpg"), ("b", "b.png"),
    }  # fmt: skip
    assert {scene.id: scene.image for scene in dataset.scenes("test")} == {
        id_: (images / name).read_bytes() for id_, name in zip(("a.png", "a.jpg", "b"), names, strict=True)
    }


def test_nwpu_fs_is_asked_for_classes_that_are_there(tmp_path):
    coco = {
        "images": [{"id": 4, "file_name": "004.png", "width": 64, "height": 64}],
        "categories": [{"id": 1, "name": "airplane"}, {"id": 2, "name": "ship"}],
        "annotations": [
            {"id": n, "image_id": 4, "category_id": 1 + n // 2, "bbox": [5 + 20 * n, 10, 12, 12]} for n in range(3)
        ],
    }
    (tmp_path / "annotations.json").write_text(json.dumps(coco))
    (tmp_path / "nwpu_exist_cat.json").write_text(json.dumps({"4": ["airplane", "ship"]}))
    images = pictures(tmp_path / "images", ["004.png"], 64)
    _, scores, answers = named(f"nwpu-fs={tmp_path}", tmp_path / "run", images=images)
    assert scores.tasks["detection"].answers == 2 and scores.tasks["detection"].measures["f1"].value == 1
    numbers = PROTOCOLS["geo-r1"].score(answers, {}, False).numbers["ovd"]
    assert numbers["annotations"] == numbers["predictions"] == 3
    assert numbers["coco"]["eval_results"]["AP_50"] == pytest.approx(1)


def test_import_makes_a_training_set_that_few_shots_are_drawn_from(tmp_path, capsys):
    folder = vrsbench_fs(tmp_path / "VRSBench-FS")
    out = tmp_path / "few"
    assert main(["import", f"vrsbench-fs={folder}", str(out), "--split", "train_10shot"]) == 0
    said = capsys.readouterr().out
    assert "2  rec\n" in said and f"wrote {out}: 2 images, split train" in said
    dataset = open_dataset(out)
    assert set(dataset.manifest["splits"]) == {"train"} and dataset.manifest["labels"] == ["plane", "ship"]
    questions = dataset.questions("train")
    assert [q.params["prompt"] for q in questions] == ["the ship of 1 at 2", "the plane of 2 at 5"]
    assert main(["fewshot", str(out), "--shots", "1"]) == 0
    assert "2 questions on 2 images, 2 classes" in capsys.readouterr().out
    assert main(["import", f"vrsbench-fs={folder}", str(tmp_path / "val"), "--split", "val", "--as", "test"]) == 0
    assert len(open_dataset(tmp_path / "val").questions("test")) == 3
    capsys.readouterr()
    for arguments, message in (
        ([f"vrsbench-fs={folder}", str(out)], "exists already where a new folder is expected"),
        ([f"vrsbench-fs={folder}", str(tmp_path / "a")], "where one is read at a time; name it with --split"),
        (["vrsbench-fs", str(tmp_path / "a")], "where NAME=PATH is expected"),
        (["nwpu-fs=x", str(tmp_path / "a")], "needs the folder of its images"),
        (["coco=x", str(tmp_path / "a")], "there is no benchmark 'coco'"),
    ):
        assert main(["import", *arguments]) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert not (tmp_path / "a").exists()


def test_evaluate_by_name_needs_no_folder_of_images_where_the_files_hold_them(tmp_path, capsys):
    folder = vrsbench_fs(tmp_path / "VRSBench-FS")
    out = tmp_path / "run"
    assert main(["evaluate", "fake", f"vrsbench-fs={folder}", str(out), "--split", "val", "--set", "blind=false"]) == 0
    said = capsys.readouterr().out
    assert "acc@0.5" in said and f"georefer score {out / 'published'} --protocol geo-r1" in said
    assert main(["score", str(out / "published"), "--protocol", "geo-r1"]) == 0


def test_a_benchmark_with_holes_is_refused(vrsbench, tmp_path):
    path, images = vrsbench
    published = SOURCES["vrsbench"].read(path, images=images)
    prepare(published, images, tmp_path / "dataset")
    with pytest.raises(InputError, match="holds another benchmark"):
        prepare(published, images, tmp_path / "dataset", Wording("own"))
    Image.new("RGB", (500, 512)).save(images / "P0001_0001.png")
    with pytest.raises(InputError, match="500x512 pixels, but its labels are for 512x512"):
        prepare(published, images, tmp_path / "another")
    (images / "P0002_0001.png").unlink()
    (images / "P0001_0001.png").unlink()
    with pytest.raises(InputError, match=r"holds no P0001_0001\.png"):
        prepare(published, images, tmp_path / "another")
    assert not (tmp_path / "another").exists()


def test_the_command_line(vrsbench, tmp_path, capsys):
    path, images = vrsbench
    out = tmp_path / "run"
    arguments = ["evaluate", "fake", f"vrsbench={path}", str(out), "--images", str(images), "--set", "blind=false"]
    assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "acc@0.5" in said and f"wrote {out / 'published'}" in said
    assert main(["score", str(out / "published"), "--protocol", "vrsbench"]) == 0
    assert main(["evaluate", "--benchmarks"]) == 0
    assert "rrsis-d" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["fake", "coco=x.json", "out"], "there is no benchmark 'coco'; choose among groundset,"),
        (["fake", "vrsbench=x.json", "out"], "needs the folder of its images"),
        (["fake"], "a model, a dataset and an output folder are expected"),
    ],
)
def test_bad_input_is_one_sentence(arguments, message, capsys):
    assert main(["evaluate", *arguments]) == 2
    said = capsys.readouterr().err
    assert message in said and said.count("\n") == 1
