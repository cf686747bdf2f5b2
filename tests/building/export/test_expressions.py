"""RSVG's lines and EarthReason's folders come back with boxes exact and masks pixel by pixel."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from georefer.geometry import Mask
from georefer.imagery.encode import decode_image
from georefer.scenes import open_dataset, readers


def read_dataset(dataset, split):
    dataset = open_dataset(dataset.folder)
    return {scene.id: scene for scene in dataset.scenes(split)}, list(dataset.questions(split))


@pytest.mark.parametrize("name", ["related", "plain", "bad"])
def test_lines_come_back_with_their_boxes(name, exported, request):
    dataset = request.getfixturevalue(name)
    folder, manifest = exported(dataset, "rsvg")
    rows = [json.loads(line) for line in (folder / "scenes.jsonl").read_text().splitlines()]
    ids, count = {row["image"]: row["scene"] for row in rows}, 0
    for split in ("train", "test"):
        published = readers.SOURCES["rsvg"].read(folder, folder / "images", split)
        assert not published.account.dropped.counts
        assert set(published.account.changed.counts) <= {"comma in the expression, which is kept whole"}
        scenes, questions = read_dataset(dataset, split)
        plain = [
            line.split(",", 5) for line in (folder / f"{split}.txt").read_text(encoding="utf-8").split("\n") if line
        ]
        assert len(plain) == len(published)
        for parts, one in zip(plain, published, strict=True):
            scene = scenes[ids[f"images/{one.image}"]]
            (found,) = published.images[one.image].objects.with_ids(one.object_ids)
            asked = [q for q in questions if q.scene_id == scene.id and q.params.get("expression") == one.text]
            golds = [scene.objects.with_ids(q.answer_ids).hbb_N4[0].tolist() for q in asked if q.task == "rec"]
            assert list(found.geometry.bounds) in golds and parts[5] == one.text
            assert [float(number) for number in parts[1:5]] in golds and parts[0] == one.image
            count += 1
    assert count == sum(manifest["tasks"].values()) > 5
    assert "question that is no phrase for one object" in manifest["left_out"]


@pytest.mark.parametrize("name", ["related", "bad"])
def test_folders_come_back_pixel_by_pixel(name, exported, request):
    dataset = request.getfixturevalue(name)
    folder, manifest = exported(dataset, "earthreason")
    published = readers.SOURCES["earthreason"].read(folder)
    assert not published.account.dropped.counts and not published.account.changed.counts
    assert len(published) == manifest["tasks"]["res"] + manifest["tasks"]["segment"]
    assert manifest["counts"]["masks"] == len(published.images) == manifest["masks"]["count"]
    nothing = 0
    for split in ("train", "test"):
        scenes, questions = read_dataset(dataset, split)
        by_pixels = {scene.pixels().tobytes(): scene for scene in scenes.values()}
        for path in (folder / split / "QAs").iterdir():
            told = json.loads(path.read_text())
            (picture,) = (folder / split / "images").glob(f"{path.stem}.*")
            scene = by_pixels[decode_image(picture.read_bytes()).tobytes()]
            own = [q for q in questions if q.scene_id == scene.id and q.task in ("res", "segment")]
            for text in told["questions"]:
                (question, *_) = [q for q in own if text in (q.params.get("expression"), asked(q))]
                wanted_HW = np.zeros(scene.size[::-1], dtype=bool)
                for shape in scene.objects.with_ids(question.answer_ids).geometries_N:
                    wanted_HW |= Mask.of_geometry(shape, wanted_HW.shape).dense()
                with Image.open(folder / split / "labels" / f"{path.stem}.png") as mask:
                    assert np.array_equal(np.asarray(mask) == 255, wanted_HW)
                assert bool(told["answer"]) == bool(question.answer_ids)
                nothing += not told["answer"]
    assert nothing > 0
    for one in published:
        assert len(one.object_ids) == bool(one.answer)


def asked(question):
    return f"Find every {question.params.get('label')}. Answer with outlines."
