"""Geo-R1's files are read back by our reader, by plain json, pycocotools and the datasets library."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from georefer.cli import main
from georefer.dialects import DIALECTS
from georefer.geometry import Frame, Mask
from georefer.scenes import open_dataset, readers
from georefer.scenes.readers.geo_r1 import REC_LEAD

SPLITS = ("train", "test")
read = readers.SOURCES["geo-r1"].read


def json_lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def scenes_and_questions(dataset):
    dataset = open_dataset(dataset.folder)
    scenes = {scene.id: scene for split in SPLITS for scene in dataset.scenes(split)}
    return scenes, {question.id: question for split in SPLITS for question in dataset.questions(split)}


def by_image(folder, scenes):
    return {row["image"].removeprefix("images/"): scenes[row["scene"]] for row in json_lines(folder / "scenes.jsonl")}


def dense(scene, ids):
    """The pixels of some objects of a scene together."""
    width, height = scene.size
    pixels_HW = np.zeros((height, width), dtype=bool)
    for one in scene.objects.with_ids(ids):
        pixels_HW |= Mask.of_geometry(one.geometry, (height, width)).dense()
    return pixels_HW


@pytest.mark.parametrize("name", ["related", "plain"])
def test_phrases_come_back_with_their_boxes(name, exported, request):
    dataset = request.getfixturevalue(name)
    folder, manifest = exported(dataset, "geo-r1")
    scenes, questions = scenes_and_questions(dataset)
    images, count = by_image(folder, scenes), 0
    for split in SPLITS:
        published = read(folder / "REC" / f"{split}.json", folder / "images")
        rows = json.loads((folder / "REC" / f"{split}.json").read_text())
        assert not published.account.dropped.counts and len(rows) == len(published)
        asked = [q for q in questions.values() if q.task == "rec" and scenes[q.scene_id].split == split]
        for row, one, question in zip(rows, published, asked, strict=True):
            scene = images[one.image]
            (gold,) = scene.objects.with_ids(question.answer_ids)
            (found,) = published.images[one.image].objects.with_ids(one.object_ids)
            assert scene.id == question.scene_id and one.params["expression"] == question.params["expression"]
            assert found.geometry.bounds == gold.geometry.bounds == tuple(row["solution"])
            assert set(row) == {"image", "problem", "solution", "is_unique"} and row["problem"].startswith(REC_LEAD)
            assert row["is_unique"] is (list(scene.objects.labels_N).count(gold.label) == 1)
            count += 1
    assert count == manifest["tasks"]["rec"] > 5


@pytest.mark.parametrize("name", ["related", "bad"])
def test_masks_come_back_pixel_by_pixel(name, exported, request):
    dataset = request.getfixturevalue(name)
    folder, manifest = exported(dataset, "geo-r1")
    scenes, questions = scenes_and_questions(dataset)
    images, count, empty = by_image(folder, scenes), 0, 0
    for split in SPLITS:
        path = folder / "GRES" / f"{split}.jsonl"
        published = read(path, folder / "images", masks=folder / "masks")
        rows = json_lines(path)
        assert not published.account.dropped.counts and not published.account.changed.counts
        assert len(rows) == len(published)
        for row, one in zip(rows, published, strict=True):
            assert set(row) == {"id", "image", "mask", "problem", "category", "bbox_list"}
            scene = images[one.image]
            asked = [q for q in questions.values() if q.scene_id == scene.id and q.task in ("res", "segment")]
            words = [q.params.get("expression", f"Find every {q.params.get('label')}.") for q in asked]
            question = asked[words.index(one.text)]
            gold = scene.objects.with_ids(question.answer_ids)
            assert np.array_equal(np.array(row["bbox_list"]).reshape(-1, 4), gold.hbb_N4)
            found = published.images[one.image].objects.with_ids(one.object_ids)
            wanted_HW = dense(scene, question.answer_ids)
            with Image.open(folder / "masks" / row["mask"]) as picture:
                assert np.array_equal(np.asarray(picture) == 255, wanted_HW)
            shapes = [Mask.of_geometry(shape, wanted_HW.shape).dense() for shape in found.geometries_N]
            assert np.array_equal(sum(shapes, np.zeros_like(wanted_HW)), wanted_HW) and len(shapes) <= 1
            assert not len(found) or found.labels_N[0] == row["category"]
            count, empty = count + 1, empty + (not row["bbox_list"])
    assert count == manifest["tasks"]["res"] + manifest["tasks"]["segment"] == manifest["masks"]["count"]
    assert empty > 0


def test_classes_are_asked_where_they_are(related, exported):
    folder, manifest = exported(related, "geo-r1")
    scenes, _ = scenes_and_questions(related)
    images, count, numbers = by_image(folder, scenes), 0, []
    for split in SPLITS:
        path = folder / "OVD" / split / "annotations.json"
        published = read(path, split=split)
        coco, existing = COCO(str(path)), json.loads((path.parent / "nwpu_exist_cat.json").read_text())
        numbers.append({row["name"]: row["id"] for row in coco.loadCats(coco.getCatIds())})
        for one in published:
            scene = images[one.image]
            gold = scene.objects.labelled(one.params["class"])
            found = published.images[one.image].objects.with_ids(one.object_ids)
            assert len(gold) and np.allclose(found.hbb_N4, gold.hbb_N4, atol=1e-6)
            (image_id,) = [row["id"] for row in coco.dataset["images"] if row["file_name"] == one.image]
            assert one.params["class"] in existing[str(image_id)]
            ids = coco.getAnnIds([image_id], [numbers[-1][one.params["class"]]])
            boxes = np.array([row["bbox"] for row in coco.loadAnns(ids)])
            assert np.allclose(boxes[:, :2] + boxes[:, 2:], gold.hbb_N4[:, 2:], atol=1e-5)
            count += 1
    assert count == manifest["tasks"]["detection"] and numbers[0] == numbers[1]
    assert "class that is not there, or whose answer has objects of other classes" in manifest["left_out"]


def test_gold_answers_get_full_marks_from_the_scripts(related, exported, tmp_path):
    folder, _ = exported(related, "geo-r1")
    tests = json.loads((folder / "REC" / "test.json").read_text())
    (tmp_path / "rec_testset.json").write_text(json.dumps(tests))
    results = [
        {"image": row["image"], "question": row["problem"], "ground_truth": row["solution"], "model_output": "",
         "extracted_answer": row["solution"], "correct": 1}
        for row in tests
    ]  # fmt: skip
    (tmp_path / "rec_results.json").write_text(json.dumps({"accuracy": 1, "results": results}))
    truth = json.loads((folder / "OVD" / "test" / "annotations.json").read_text())
    said = [{**{k: row[k] for k in ("image_id", "category_id", "bbox")}, "score": 1.0} for row in truth["annotations"]]
    (tmp_path / "ovd_own_gt.json").write_text(json.dumps(truth))
    (tmp_path / "ovd_own_pred.json").write_text(json.dumps(said))
    out = tmp_path / "scores.json"
    assert main(["score", str(tmp_path), "--protocol", "geo-r1", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert set(found["rec"]["iou_per_row"]) == {1.0}
    assert found["ovd_own"]["coco"]["eval_results"]["mAP"] == pytest.approx(1)


def test_rows_for_training_say_the_same(related, exported, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, _ = exported(related, "geo-r1")
    scenes, questions = scenes_and_questions(related)
    talks = {row["id"]: row for path in folder.glob("vlm-r1/*_test.jsonl") for row in json_lines(path)}
    files = {split: str(folder / "trl" / f"{split}.jsonl") for split in SPLITS}
    loaded = datasets.load_dataset("json", data_files=files, cache_dir=str(tmp_path / "cache"))["test"]
    assert {row["id"] for row in loaded} == set(talks) and {row["task"] for row in loaded} == {"REC", "OVD", "GRES"}
    for row in loaded:
        scene, question = scenes[questions[row["id"]].scene_id], questions[row["id"]]
        (turn,), human, gpt = row["prompt"], *talks[row["id"]]["conversations"]
        assert (turn["role"], human["from"], gpt["from"]) == ("user", "human", "gpt")
        assert human["value"].startswith("<image>") and turn["content"].startswith(human["value"][7:])
        assert all(tag in turn["content"] for tag in ("<think>", "</think>", "<answer>", "</answer>"))
        assert row["solution"] == f"<answer> {gpt['value']} </answer>"
        assert (folder / row["images"][0]).is_file() and (row["width"], row["height"]) == scene.size
        assert (folder / "images" / talks[row["id"]]["image"]).is_file()
        assert row["mask"] is None or (folder / "masks" / row["mask"]).is_file()
        gold = scene.objects.with_ids(question.answer_ids)
        if row["task"] == "REC":
            boxes_N4 = np.array([json.loads(gpt["value"])])
        else:
            reading = DIALECTS["geo-r1"].read(row["solution"], Frame.resize(scene.size, scene.size))
            boxes_N4 = reading.objects.hbb_N4
            assert reading.readable and list(reading.objects.labels_N) == list(gold.labels_N)
        assert np.allclose(boxes_N4, gold.hbb_N4, atol=0.0051)
