"""refGeo's records hold oriented boxes exactly and masks pixel by pixel."""

from __future__ import annotations

import json

import numpy as np
from PIL import Image

from georefer.geometry import Mask, shape_iou
from georefer.scenes import open_dataset, readers
from georefer.scenes.readers.pictures import read_mask


def scenes_of(dataset):
    dataset = open_dataset(dataset.folder)
    return {scene.id: scene for split in ("train", "test") for scene in dataset.scenes(split)}


def test_oriented_boxes_and_masks_come_back(related, exported):
    folder, manifest = exported(related, "refgeo")
    published = readers.SOURCES["refgeo"].read(folder, folder / "images")
    assert not published.account.dropped.counts and len(published) == manifest["counts"]["records"]
    # objects with boxes have no mask, as some of the original's are missing too
    assert set(published.account.changed.counts) <= {"mask file missing"}
    masks = set()
    for one in (one for one in published if one.asks == "rec"):
        scene = scenes_of(related)[one.image.split("/")[-1].removesuffix(".png")]
        (gold,) = [thing for thing in scene.objects if one.text == f"the {thing.label} called {thing.id}"]
        (found,) = published.images[one.image].objects.with_ids(one.object_ids)
        quad = scene.objects.with_ids([gold.id]).to_obb().geometries_N[0] if gold.kind != "hbb" else gold.geometry
        assert found.geometry.normalize().equals_exact(quad.normalize(), 1e-6) and found.kind == "obb"
        # the box is the object's own, not that of its quadrangle
        assert np.allclose(found.attributes.get("bbox", found.geometry.bounds), gold.geometry.bounds, atol=1e-6)
        if gold.kind == "polygon":
            path = folder / "masks" / one.params["mask"]
            masks.add(path)
            wanted_HW = Mask.of_geometry(gold.geometry, (512, 512)).dense()
            with Image.open(path) as picture:
                assert np.array_equal(np.asarray(picture) == 255, wanted_HW)
            shape, reason = read_mask(path, scene.size)
            assert not reason and np.array_equal(Mask.of_geometry(shape, (512, 512)).dense(), wanted_HW)
        else:
            assert "mask" not in one.params
    assert masks == set(folder.glob("masks/georefer/*/*.png")) and len(masks) == manifest["masks"]["count"] > 5


def test_classes_have_all_their_quads(related, exported):
    folder, _ = exported(related, "refgeo", splits=("test",))
    text = (folder / "metainfo" / "georefer_detection_test.jsonl").read_text()
    rows = [json.loads(line) for line in text.splitlines()]
    published = readers.SOURCES["refgeo"].read(folder, folder / "images")
    asked = [one for one in published if one.asks == "detection"]
    assert len(asked) == len(rows) > 5 and min(len(row["poly"]) for row in rows) == 0
    for row, one in zip(rows, asked, strict=True):
        scene = scenes_of(related)[row["image_id"].split("/")[-1].removesuffix(".png")]
        gold = scene.objects.labelled(row["question"]).to_obb()
        found = published.images[one.image].objects.with_ids(one.object_ids)
        assert len(gold) == len(found) == len(row["poly"]) and set(found.labels_N) <= {one.params["class"]}
        if len(gold):
            iou_NN = shape_iou(found.geometries_N, gold.geometries_N, as_boxes=False)
            assert iou_NN.max(axis=0).min() > 0.999999
