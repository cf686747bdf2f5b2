"""Each format is read back by plain json, tarfile, datasets, pycocotools and this project's own readers."""

from __future__ import annotations

import base64
import io
import json
import tarfile
from functools import cache

import numpy as np
import pytest
from PIL import Image
from pycocotools.coco import COCO

from georefer.dialects import DIALECTS
from georefer.geometry import Frame, shape_iou
from georefer.imagery.encode import decode_image
from georefer.scenes import open_dataset, readers
from georefer.scenes.interchange import image_sizes, read
from georefer.tasks import TASKS

SPLITS = ("train", "test")


def scenes_of(dataset):
    return _read(dataset.folder)[0]


def questions_of(dataset):
    return _read(dataset.folder)[1]


@cache
def _read(folder):
    """Scenes and questions of a dataset by their ids; read once, since every row asks for them."""
    dataset = open_dataset(folder)
    scenes = {scene.id: scene for split in SPLITS for scene in dataset.scenes(split)}
    return scenes, {question.id: question for split in SPLITS for question in dataset.questions(split)}


def said(dataset, id_, frame=None):
    """(prompt, answer) of a question, as our own dialect says them."""
    question, dialect = questions_of(dataset)[id_], DIALECTS["georefer"]
    scene, task = scenes_of(dataset)[question.scene_id], TASKS[question.task]
    frame = frame or dialect.frame_for(scene.size)
    return task.prompt(question, dialect, frame), task.answer(question, scene, dialect, frame)


def json_lines(path):
    """As the most careless reader does it, who splits at every separator of Unicode."""
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


# --- chats ----------------------------------------------------------------------------------------------------


def test_llava_rows_hold_one_mark_and_the_words(bad, exported):
    folder, manifest = exported(bad, "llava")
    rows = [row for split in SPLITS for row in json.loads((folder / f"{split}.json").read_text())]
    assert len(rows) == sum(manifest["tasks"].values())
    for row in rows:
        human, gpt = row["conversations"]
        prompt, answer = said(bad, row["id"])
        assert (human, gpt) == ({"from": "human", "value": f"<image>\n{prompt}"}, {"from": "gpt", "value": answer})
        assert human["value"].count("<image>") == 1 and (folder / row["image"]).is_file()
    # labels with the mark are in the dataset, and cannot be written
    assert manifest["left_out"]["text with the mark <image>, which this format's readers replace"]["count"] > 0


def test_llama_factory_knows_its_files(bad, exported):
    folder, _ = exported(bad, "llama-factory")
    info = json.loads((folder / "dataset_info.json").read_text())
    assert set(info) == {"georefer_train", "georefer_test"}
    for entry in info.values():
        tags, columns = entry["tags"], entry["columns"]
        for row in json.loads((folder / entry["file_name"]).read_text()):
            roles = [turn[tags["role_tag"]] for turn in row[columns["messages"]]]
            texts = [turn[tags["content_tag"]] for turn in row[columns["messages"]]]
            assert roles == [tags["user_tag"], tags["assistant_tag"]]
            assert "".join(texts).count("<image>") == len(row[columns["images"]]) == 1
            assert (folder / row[columns["images"]][0]).is_file()


@pytest.mark.parametrize("link", [None, "https://example.org/data/"])
def test_openai_pictures_lie_in_the_file_or_behind_a_link(bad, exported, link):
    folder, manifest = exported(bad, "openai", link=link)
    stored = {scene.image for scene in scenes_of(bad).values()}
    rows = [row for split in SPLITS for row in json_lines(folder / f"{split}.jsonl")]
    assert len(rows) == sum(manifest["tasks"].values())
    for row in rows:
        user, assistant = row["messages"]
        (picture, text), url = user["content"], user["content"][0]["image_url"]["url"]
        assert (user["role"], assistant["role"]) == ("user", "assistant") and isinstance(assistant["content"], str)
        assert (picture["type"], text["type"]) == ("image_url", "text")
        if link is None:
            head, _, data = url.partition(",")
            assert base64.b64decode(data) in stored
            assert head == f"data:image/{'png' if base64.b64decode(data)[1:4] == b'PNG' else 'jpeg'};base64"
        else:
            assert (folder / url.removeprefix(link)).is_file()
    assert (folder / "images").exists() == (link is not None)


def test_ms_swift_boxes_are_in_pixels_and_as_many_as_marks(bad, exported):
    folder, manifest = exported(bad, "ms-swift")
    boxes = [one.geometry.bounds for scene in scenes_of(bad).values() for one in scene.objects]
    rows = [row for split in SPLITS for row in json_lines(folder / f"{split}.jsonl")]
    assert len(rows) == sum(manifest["tasks"].values())
    marked = 0
    for row in rows:
        text = "".join(turn["content"] for turn in row["messages"])
        objects = row["objects"]
        assert text.count("<image>") == len(row["images"]) == 1 and objects["bbox_type"] == "real"
        assert text.count("<bbox>") == len(objects["bbox"]) and text.count("<ref-object>") == len(objects["ref"])
        for box in objects["bbox"]:
            assert min(np.abs(np.array(box) - other).max() for other in boxes) <= 0.005
            marked += 1
    assert marked > 20
    # outlines and oriented boxes stay in words, and are counted
    assert manifest["changed"]["shapes that marks cannot say, in the dialect's words"]["count"] > 0
    assert "text with the mark <bbox>, which this format's readers replace" in manifest["left_out"]


# --- tables and shards ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["hf", "trl"])
def test_tables_load_with_the_datasets_library(bad, exported, form, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, manifest = exported(bad, form)
    loaded = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))
    assert {split: len(loaded[split]) for split in SPLITS} == {s: manifest["counts"][f"{s}: questions"] for s in SPLITS}
    known, asked = scenes_of(bad), questions_of(bad)
    for row in (row for split in SPLITS for row in loaded[split]):
        scene, question = known[row["scene_id"]], asked[row["id"]]
        frame = Frame(**json.loads(row["frame"]))
        if form == "hf":
            picture, words = row["image"], (row["prompt"], row["answer"])
        else:
            (picture,), (user,), (assistant,) = row["images"], row["prompt"], row["completion"]
            assert (user["role"], assistant["role"]) == ("user", "assistant")
            words = user["content"], assistant["content"]
            assert row["solution"] == assistant["content"]
        assert words == said(bad, question.id, frame)
        assert np.array_equal(np.asarray(picture.convert("RGB")), scene.pixels())
        assert (row["width"], row["height"]) == scene.size
        gold = scene.objects.with_ids(question.answer_ids)
        assert np.allclose(np.array(row["answer_boxes"]).reshape(-1, 4), gold.hbb_N4)
        assert row["answer_labels"] == list(gold.labels_N) and row["answer_text"] == question.answer_text
        assert json.loads(row["params"]) == question.params


def test_a_table_stores_each_picture_once(plain, exported):
    """Many questions share a picture; the file must not grow with them."""
    folder, manifest = exported(plain, "hf")
    pictures = sum(len(scene.image) for scene in plain.scenes("train"))
    asked = manifest["counts"]["train: questions"]
    assert asked > 20 * len(list(plain.scenes("train")))
    assert (folder / "data" / "train-00000.parquet").stat().st_size < 2 * pictures


def test_a_reward_can_be_reckoned_from_a_trl_row(plain, exported, tmp_path):
    datasets = pytest.importorskip("datasets")
    folder, _ = exported(plain, "trl", dialect="qwen2.5-vl")
    rows = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["test"]
    for row in (row for row in rows if row["task"] == "rec"):
        reading = DIALECTS[row["dialect"]].read(row["solution"], Frame(**json.loads(row["frame"])))
        x1, y1, x2, y2 = row["answer_boxes"][0]
        assert np.abs(reading.objects.hbb_N4[0] - (x1, y1, x2, y2)).max() <= 1


def test_webdataset_shards_are_plain_tar_files(bad, exported):
    folder, manifest = exported(bad, "webdataset")
    known, written = scenes_of(bad), 0
    for split in SPLITS:
        with tarfile.open(folder / f"{split}-000000.tar") as tar:
            members = tar.getmembers()
            assert all(
                (m.mtime, m.uid, m.gid, m.uname, m.gname, m.isfile()) == (0, 0, 0, "", "", True) for m in members
            )
            keys = [member.name.split(".", 1) for member in members]
            assert [a[0] for a in keys[::2]] == [b[0] for b in keys[1::2]]  # one sample's files follow each other
            for picture, text in zip(members[::2], members[1::2], strict=True):
                told = json.loads(tar.extractfile(text).read())
                assert tar.extractfile(picture).read() == known[told["id"]].image
                written += len(told["questions"])
                for one in told["questions"]:
                    assert (one["prompt"], one["answer"]) == said(bad, one["id"], Frame(**told["frame"]))
    assert written == sum(manifest["tasks"].values())


def test_full_shards_are_followed_by_others(plain, exported, monkeypatch):
    monkeypatch.setattr("georefer.building.export.shards.SCENES_A_SHARD", 2)
    folder, _ = exported(plain, "webdataset")
    names = [tarfile.open(path).getnames() for path in sorted(folder.glob("train-*.tar"))]  # noqa: SIM115
    assert [len(shard) for shard in names] == [4, 2]


def test_full_tables_are_followed_by_others(plain, exported, monkeypatch, tmp_path):
    datasets = pytest.importorskip("datasets")
    monkeypatch.setattr("georefer.building.export.tables.ROWS_A_GROUP", 10)
    monkeypatch.setattr("georefer.building.export.tables.ROWS_A_FILE", 40)
    folder, manifest = exported(plain, "hf")
    assert len(list(folder.glob("data/train-*.parquet"))) > 1
    rows = datasets.load_dataset(str(folder), cache_dir=str(tmp_path / "cache"))["train"]
    assert len(rows) == manifest["counts"]["train: questions"]


# --- objects --------------------------------------------------------------------------------------------------


def test_coco_reads_back_and_loads_in_pycocotools(bad, exported):
    folder, manifest = exported(bad, "coco")
    rows = {row["image"]: row["scene"] for row in json_lines(folder / "scenes.jsonl")}
    known, numbers, count = scenes_of(bad), [], 0
    for split in SPLITS:
        path = folder / "annotations" / f"{split}.json"
        coco = COCO(str(path))
        numbers.append({row["name"]: row["id"] for row in coco.loadCats(coco.getCatIds())})
        count += len(coco.getAnnIds())
        for image in read("coco", path).images:
            assert (folder / "images" / image.file_name).is_file()
            scene = known[rows[f"images/{image.file_name}"]]
            assert list(image.objects.labels_N) == list(scene.objects.labels_N)
            iou_NN = shape_iou(image.objects.geometries_N, scene.objects.geometries_N, as_boxes=False)
            assert np.diag(iou_NN).min() > 0.97  # a hole is written in whole pixels
            assert image.objects.attributes_N[0]["height_m"] == 3.5
    # the splits number their classes alike
    assert numbers[0] == numbers[1] and count == manifest["counts"]["objects"] == 35


@pytest.mark.parametrize("form", ["dota", "yolo-obb"])
def test_oriented_boxes_read_back(bad, exported, form):
    folder, manifest = exported(bad, form)
    sizes = image_sizes(folder / "images")
    found = read(form, folder / ("labelTxt" if form == "dota" else ""), sizes=sizes)
    rows = {row["image"]: row["scene"] for row in json_lines(folder / "scenes.jsonl")}
    assert len(found) == 7 and manifest["counts"]["objects"] == 35
    for image in found.images:
        scene = scenes_of(bad)[rows[f"images/{image.file_name}"]]
        labels = [label if form == "yolo-obb" else "-".join(label.split()) for label in scene.objects.labels_N]
        assert list(image.objects.labels_N) == labels
        boxes = scene.objects.to_obb().geometries_N
        assert np.diag(shape_iou(image.objects.geometries_N, boxes, as_boxes=False)).min() > 0.99
        # the oriented box keeps its front
        assert image.objects.kinds_N[1] == "obb"


def test_yolo_data_names_its_splits(bad, exported):
    folder, _ = exported(bad, "yolo-obb")
    lines = (folder / "data.yaml").read_text().splitlines()
    assert lines[-3:] == ["train: images/train", "val: images/test", "test: images/test"]
    labels = {path.relative_to(folder / "labels").with_suffix("") for path in folder.glob("labels/*/*.txt")}
    assert labels == {path.relative_to(folder / "images").with_suffix("") for path in folder.glob("images/*/*")}


# --- the seeds' own -------------------------------------------------------------------------------------------


def test_groundset_reads_back_with_its_own_reader(plain, exported):
    folder, manifest = exported(plain, "groundset")
    published = readers.SOURCES["groundset"].read(folder, folder / "images")
    assert not published.account.dropped.counts and len(published) == manifest["counts"]["records"]
    rows = {row["image"]: row["scene"] for row in json_lines(folder / "scenes.jsonl")}
    known, places = scenes_of(plain), 0
    for one in published:
        scene = known[rows[f"images/{one.image}"]]
        found = published.images[one.image].objects.with_ids(one.object_ids)
        # train files hold thousandths, floored; test files four decimals
        limit_px = 0.17 if one.split == "train" else 0.01
        for box in found.hbb_N4:
            assert np.abs(scene.objects.hbb_N4 - box).max(axis=1).min() <= limit_px
            places += 1
        if one.split == "test" and one.asks == "detection":
            assert len(found) == len(scene.objects.labelled(one.params["class"]))
    assert places > 20
    assert {"GroundSet_EVAL_detection.jsonl", "GroundSet_EVAL_rec.jsonl", "GroundSet_EVAL_vqa.jsonl"} <= {
        path.name for path in (folder / "instructions" / "test").iterdir()
    }


def test_groundset_leaves_out_what_rings_cannot_say(bad, exported):
    folder, manifest = exported(bad, "groundset")
    # a label of numbers in brackets would be scaled like a place; train files keep their words
    listed = "words that read as a place, whose numbers a test file would change"
    assert manifest["left_out"][listed]["count"] == 3
    train = json.loads((folder / "instructions" / "train" / "GroundSet_TRAIN_it.json").read_text())
    assert sum("lot [120, 200, 300, 400]" in row["human"] for row in train) == 4
    assert manifest["left_out"]["outline with holes, which GroundSet's rings cannot say"]["count"] > 0
    assert manifest["left_out"]["the dialect groundset cannot say a question of segment"]["count"] > 0  # two parts


def test_refgeo_reads_back_with_its_own_reader(plain, exported):
    folder, manifest = exported(plain, "refgeo")
    published = readers.SOURCES["refgeo"].read(folder, folder / "images")
    assert not published.account.dropped.counts and len(published) == manifest["counts"]["records"]
    rows = {row["image"]: row["scene"] for row in json_lines(folder / "scenes.jsonl")}
    asked = list(questions_of(plain).values())
    for one in published:
        scene = scenes_of(plain)[rows[f"images/{one.image.removeprefix('georefer/')}"]]
        found = published.images[one.image].objects.with_ids(one.object_ids)
        key = "label" if one.asks == "detection" else "expression"
        match = next(q for q in asked if q.scene_id == scene.id and q.params.get(key) == one.text and key in q.params)
        gold = scene.objects.with_ids(match.answer_ids)
        assert len(found) == len(gold) and (one.asks == "detection" or len(gold) == 1)
        assert np.allclose(np.sort(found.hbb_N4, axis=0), np.sort(gold.hbb_N4, axis=0))
    # a phrase asked for box, oriented box and outline is one record
    again = "phrase or class asked in another form too, which is the same record"
    assert manifest["left_out"][again]["count"] > 0
    keys = [(one.split, one.image, one.asks, one.text) for one in published]
    assert len(set(keys)) == len(keys)


def test_fit_rs_reads_back_with_its_own_reader(plain, exported):
    folder, _ = exported(plain, "fit-rs")
    rows = {row["image"]: row["scene"] for row in json_lines(folder / "scenes.jsonl")}
    boxes = 0
    for split in SPLITS:
        published = readers.SOURCES["fit-rs"].read(folder / f"FIT-RS-{split}.json", folder / "images")
        assert not published.account.dropped.counts and published.questions
        for one in published:
            question = questions_of(plain)[one.id]
            scene = scenes_of(plain)[rows[f"images/{one.image}"]]
            gold = scene.objects.with_ids(question.answer_ids).to_obb()
            found = published.images[one.image].objects.with_ids(one.object_ids)
            assert len(found) == len(gold)
            if len(gold):
                assert shape_iou(found.geometries_N, gold.geometries_N, as_boxes=False).max(axis=0).min() > 0.9
                boxes += len(gold)
    assert boxes > 20


def test_pictures_beside_a_llava_file_are_what_was_asked_about(plain, exported):
    folder, _ = exported(plain, "llava", images="jpeg")
    row = json.loads((folder / "test.json").read_text())[0]
    scene = scenes_of(plain)[questions_of(plain)[row["id"]].scene_id]
    data = (folder / row["image"]).read_bytes()
    with Image.open(io.BytesIO(data)) as picture:
        assert picture.format == "JPEG" and picture.size == scene.size
    assert np.abs(decode_image(data).astype(int) - scene.pixels()).mean() < 10
