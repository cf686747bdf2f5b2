"""Every format in several dialects, read by what its own users read it with and by nothing of this project.

Only the gold shapes, and the words in which a dialect says them, come from here.
"""

from __future__ import annotations

import base64
import io
import json
import math
import re
import tarfile
from functools import cache, lru_cache

import numpy as np
import pytest
import shapely
import yaml
from PIL import Image
from pycocotools import mask as coco_mask
from pycocotools.coco import COCO

from georefer.dialects import DIALECTS
from georefer.geometry import Mask, shape_iou
from georefer.scenes import open_dataset
from georefer.tasks import TASKS

SPLITS = ("train", "test")

MODELS = ("georefer", "qwen2.5-vl", "paligemma", "geochat-cw", "internvl")
"""Dialects of JSON in pixels, of tokens with y first, of percent with angles, of thousandths."""


@lru_cache(64)
def opened(path):
    with Image.open(path if not isinstance(path, bytes) else io.BytesIO(path)) as picture:
        picture.load()
        picture.info["pixels"] = picture.convert("RGB").tobytes()
        return picture


# --- one reader a format: (prompt, answer, picture) of every row ----------------------------------------------


def llava(folder, split, cache_dir):
    for row in json.loads((folder / f"{split}.json").read_text()):
        # docs/Finetune_Custom_Data.md: id, image below image_folder, conversations of human and gpt
        assert set(row) == {"id", "image", "conversations"} and isinstance(row["id"], str)
        human, gpt = row["conversations"]
        assert set(human) == set(gpt) == {"from", "value"} and (human["from"], gpt["from"]) == ("human", "gpt")
        assert human["value"].startswith("<image>\n")
        yield human["value"][8:], gpt["value"], opened(folder / row["image"])


def openai(folder, split, cache_dir):
    for line in (folder / f"{split}.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert set(row) == {"messages"} and [m["role"] for m in row["messages"]] == ["user", "assistant"]
        user, assistant = row["messages"]
        assert set(user) == set(assistant) == {"role", "content"} and isinstance(assistant["content"], str)
        pictures = [part["image_url"]["url"] for part in user["content"] if part["type"] == "image_url"]
        texts = [part["text"] for part in user["content"] if part["type"] == "text"]
        # the guide: at most 10 pictures of 10 MB, JPEG, PNG or WEBP, as https or data URLs
        assert len(pictures) == len(texts) == 1 and all(
            set(part) <= {"type", "text", "image_url"} for part in user["content"]
        )
        head, _, data = pictures[0].partition(",")
        picture = opened(base64.b64decode(data, validate=True))
        assert head == f"data:image/{picture.format.lower()};base64" and len(data) < 10 << 20
        assert picture.mode == "RGB"
        yield texts[0], assistant["content"], picture


def swift(folder, split, cache_dir):
    for line in (folder / f"{split}.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert set(row) == {"messages", "images", "objects"} and row["objects"]["bbox_type"] == "real"
        user, assistant = (message["content"] for message in row["messages"])
        boxes, names = iter(row["objects"]["bbox"]), iter(row["objects"]["ref"])
        # what ms-swift does for a model that says pixels in brackets
        texts = []
        for text in (user, assistant):
            while "<ref-object>" in text:
                text = text.replace("<ref-object>", f"{next(names)} ", 1)
            while "<bbox>" in text:
                text = text.replace("<bbox>", f"{next(boxes)} ", 1)
            texts.append(text)
        assert next(boxes, None) is None and next(names, None) is None and texts[0].startswith("<image>")
        yield texts[0][7:], texts[1], opened(folder / row["images"][0])


def llama_factory(folder, split, cache_dir):
    entry = json.loads((folder / "dataset_info.json").read_text())[f"georefer_{split}"]
    # data/README.md, "sharegpt" with the tags of OpenAI's messages
    assert entry["formatting"] == "sharegpt" and set(entry) == {"file_name", "formatting", "columns", "tags"}
    tags, columns = entry["tags"], entry["columns"]
    for row in json.loads((folder / entry["file_name"]).read_text()):
        user, assistant = row[columns["messages"]]
        assert (user[tags["role_tag"]], assistant[tags["role_tag"]]) == (tags["user_tag"], tags["assistant_tag"])
        assert user[tags["content_tag"]].count("<image>") == len(row[columns["images"]]) == 1
        yield user[tags["content_tag"]][7:], assistant[tags["content_tag"]], opened(folder / row[columns["images"]][0])


def hf(folder, split, cache_dir):
    datasets = pytest.importorskip("datasets")
    rows = datasets.load_dataset(str(folder), cache_dir=str(cache_dir), split=split)
    assert rows[0]["image"].size == (512, 512)
    # decoding a picture for every question takes long; test_formats does
    for row in rows.cast_column("image", datasets.Image(decode=False)):
        yield row["prompt"], row["answer"], opened(row["image"]["bytes"])


def trl(folder, split, cache_dir):
    datasets = pytest.importorskip("datasets")
    files = str(folder / "data" / f"{split}-*.parquet")
    rows = datasets.load_dataset("parquet", data_files=files, cache_dir=str(cache_dir), split="train")
    assert rows[0]["images"][0].size == (512, 512)
    for row in rows.cast_column("images", datasets.List(datasets.Image(decode=False))):
        (user,), (assistant,), (picture,) = row["prompt"], row["completion"], row["images"]
        assert (user["role"], assistant["role"]) == ("user", "assistant")
        yield user["content"], assistant["content"], opened(picture["bytes"])


def webdataset(folder, split, cache_dir):
    samples: dict[str, dict[str, bytes]] = {}
    for path in sorted(folder.glob(f"{split}-*.tar")):
        with tarfile.open(path) as tar:
            for member in tar:
                key, ending = member.name.split(".", 1)  # as webdataset's base_plus_ext
                samples.setdefault(key, {})[ending] = tar.extractfile(member).read()
    for sample in samples.values():
        picture = opened(next(data for ending, data in sample.items() if ending in ("png", "jpg")))
        for one in json.loads(sample["json"])["questions"]:
            yield one["prompt"], one["answer"], picture


READERS = {
    "llava": llava, "openai": openai, "ms-swift": swift, "llama-factory": llama_factory, "hf": hf, "trl": trl,
    "webdataset": webdataset,
}  # fmt: skip


@cache
def gold(folder):
    """By the pixels of its picture: each scene with its questions."""
    dataset = open_dataset(folder)
    found = {}
    for split in SPLITS:
        questions = list(dataset.questions(split))
        for scene in dataset.scenes(split):
            found[scene.pixels().tobytes()] = scene, [q for q in questions if q.scene_id == scene.id]
    return found


@cache
def said(folder, dialect):
    """By the pixels of its picture: each scene, and its questions by what a dialect makes of them."""
    speaker, found = DIALECTS[dialect], {}
    for pixels, (scene, questions) in gold(folder).items():
        frame, words = speaker.frame_for(scene.size), {}
        for question in questions:
            task = TASKS[question.task]
            try:
                text = task.prompt(question, speaker, frame), task.answer(question, scene, speaker, frame)
            except ValueError:
                continue
            words.setdefault(text, question)
        found[pixels] = scene, frame, words
    return found


@pytest.mark.parametrize(
    "form, dialect",
    [(form, dialect) for form in READERS for dialect in (MODELS if form in ("llava", "openai") else MODELS[:2])],
)
def test_words_come_back(related, exported, tmp_path, form, dialect):
    folder, manifest = exported(related, form, dialect=dialect)
    boxes = 0
    for split in SPLITS:
        rows = list(READERS[form](folder, split, tmp_path / "cache"))
        assert len(rows) == manifest["counts"][f"{split}: questions"]
        for prompt, answer, picture in rows:
            scene, frame, words = said(related.folder, dialect)[picture.info["pixels"]]
            if form == "ms-swift" and (prompt, answer) not in words:
                continue  # its own marks, in pixels of the picture; see below
            question = words[prompt, answer]
            if question.task in ("rec", "detection", "rec-obb", "detection-obb") and question.answer_ids:
                as_boxes = "obb" not in question.task
                true = scene.objects.with_ids(question.answer_ids)
                true = true.to_hbb() if as_boxes else true.to_obb()
                found = DIALECTS[dialect].read(answer, frame).areas
                iou_PT = shape_iou(found.geometries_N, true.geometries_N, as_boxes=as_boxes)
                assert iou_PT.max(axis=0).min() > 0.8
                boxes += len(true)
    assert boxes > 10 or form == "ms-swift"


def test_marks_of_ms_swift_become_boxes_in_pixels(related, exported, tmp_path):
    folder, _ = exported(related, "ms-swift")
    found = graphs = 0
    for prompt, answer, picture in swift(folder, "test", tmp_path):
        scene, questions = gold(related.folder)[picture.info["pixels"]]
        for question in questions:
            if question.task == "rec" and prompt == f"Where is {question.params['expression']}?":
                (box,) = scene.objects.with_ids(question.answer_ids).hbb_N4
                assert np.allclose(json.loads(answer), box, atol=0.0051)
                found += 1
            # a task that says an object twice, or in another order, still has each mark's own box
            if question.task == "image-graph" and prompt.startswith("Find every relation b") and "orient" not in prompt:
                gold_N4 = scene.objects.with_ids(question.answer_ids).hbb_N4
                boxes = {tuple(json.loads(text)) for text in re.findall(r"\[[^\]]*\]", answer)}
                assert len(boxes) == len(gold_N4)
                assert all(np.abs(gold_N4 - box).max(axis=1).min() <= 0.0051 for box in boxes)
                graphs += 1
    assert found > 5 and graphs == 2


# --- objects --------------------------------------------------------------------------------------------------


def scene_of(folder, name, scenes):
    rows = [json.loads(line) for line in (folder / "scenes.jsonl").read_text().splitlines()]
    return scenes[next(row["scene"] for row in rows if row["image"] == f"images/{name}")]


def scenes_by_id(dataset):
    dataset = open_dataset(dataset.folder)
    return {scene.id: scene for split in SPLITS for scene in dataset.scenes(split)}


@pytest.mark.parametrize("name", ["related", "bad"])
def test_pycocotools_has_the_same_areas_and_pixels(name, exported, request):
    dataset = request.getfixturevalue(name)
    folder, manifest = exported(dataset, "coco")
    count = runs = 0
    for split in SPLITS:
        coco = COCO(str(folder / "annotations" / f"{split}.json"))
        names = {row["id"]: row["name"] for row in coco.loadCats(coco.getCatIds())}
        for picture in coco.loadImgs(coco.getImgIds()):
            scene = scene_of(folder, picture["file_name"], scenes_by_id(dataset))
            assert opened(folder / "images" / picture["file_name"]).size == (picture["width"], picture["height"])
            rows = coco.loadAnns(coco.getAnnIds([picture["id"]]))
            assert [names[row["category_id"]] for row in rows] == list(scene.objects.labels_N)
            for row, one in zip(rows, scene.objects, strict=True):
                x, y, width, height = row["bbox"]
                assert np.allclose((x, y, x + width, y + height), one.geometry.bounds, atol=0.0011)
                assert row["area"] == pytest.approx(one.geometry.area, abs=0.01) and row["iscrowd"] == 0
                wanted_HW = Mask.of_geometry(one.geometry, scene.size[::-1]).dense()
                count += 1
                if not row["segmentation"]:
                    assert one.kind == "hbb"  # only a box is known
                    continue
                pixels_HW = coco.annToMask(row).astype(bool)
                assert np.logical_and(pixels_HW, wanted_HW).sum() / np.logical_or(pixels_HW, wanted_HW).sum() > 0.9
                if isinstance(row["segmentation"], dict):
                    assert np.array_equal(pixels_HW, wanted_HW)  # runs are exact, rings are pycocotools' own pixels
                    assert coco_mask.area(coco.annToRLE(row)) == wanted_HW.sum()
                    runs += 1
    assert count == manifest["counts"]["objects"] and (runs > 0) == (name == "bad")


def test_dota_in_ten_lines(related, exported):
    folder, manifest = exported(related, "dota")
    count = 0
    for path in folder.glob("labelTxt/*/*.txt"):
        scene = scene_of(folder, f"{path.parent.name}/{path.stem}.png", scenes_by_id(related))
        lines = [line.split() for line in path.read_text().splitlines() if len(line.split()) == 10]
        assert [words[8] for words in lines] == list(scene.objects.labels_N)
        for words, true in zip(lines, scene.objects.to_obb().geometries_N, strict=True):
            corners = np.array(words[:8], float).reshape(4, 2)
            assert shapely.hausdorff_distance(shapely.Polygon(corners), true) < 0.06 and words[9] == "0"
            count += 1
    assert count == manifest["counts"]["objects"] == 22


def test_yolo_in_ten_lines(related, exported):
    folder, manifest = exported(related, "yolo-obb")
    told = yaml.safe_load((folder / "data.yaml").read_text())
    assert set(told) >= {"train", "val", "names"}
    count = 0
    for path in folder.glob("labels/*/*.txt"):
        picture = folder / "images" / path.parent.name / f"{path.stem}.png"
        scene = scene_of(folder, f"{path.parent.name}/{path.stem}.png", scenes_by_id(related))
        lines = [line.split() for line in path.read_text().splitlines()]
        names = told["names"] if isinstance(told["names"], dict) else dict(enumerate(told["names"]))
        assert [names[int(words[0])] for words in lines] == list(scene.objects.labels_N)
        for words, true in zip(lines, scene.objects.to_obb().geometries_N, strict=True):
            corners = np.array(words[1:], float).reshape(4, 2) * opened(picture).size
            assert shapely.hausdorff_distance(shapely.Polygon(corners), true) < 0.01
            count += 1
    assert count == manifest["counts"]["objects"] == 22


def test_an_angle_means_the_same_in_words_and_in_corners(related, exported):
    """FIT-RS's five numbers, turned into corners as OpenCV does it, are DOTA's corners of the same object."""
    cv2 = pytest.importorskip("cv2")
    folder, _ = exported(related, "fit-rs")
    count = 0
    for row in json.loads((folder / "FIT-RS-test.json").read_text()):
        if "/rec-obb/" not in row["id"]:
            continue
        x, y, w, h, angle = (
            float(n) for n in row["conversations"][1]["value"].replace("<rbox>", "").replace("</rbox>", "")
            .strip("(){}").replace("|", "").strip("<>").split("><")
        )  # fmt: skip
        corners = cv2.boxPoints(((x * 5.12, y * 5.12), (w * 5.12, h * 5.12), angle))
        scene = scene_of(folder, row["image"], scenes_by_id(related))
        question = next(q for _, qs in gold(related.folder).values() for q in qs if q.id == row["id"])
        true = scene.objects.with_ids(question.answer_ids).to_obb().geometries_N[0]
        # the angle is truncated to a degree
        most = math.hypot(w, h) * 5.12 / 2 * math.radians(1) + 0.1
        assert shapely.hausdorff_distance(shapely.Polygon(corners), true) < most
        count += 1
    assert count > 5
