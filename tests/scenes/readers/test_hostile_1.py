"""Files whose values or bytes were changed at random: a reader gives what is right and counts the rest, or refuses."""

import copy
import json
import random

import pytest
from tests.data.published_1 import (
    lines,
    mask_file,
    parquet,
    picture,
    reference,
    rle,
    voc_file,
    voc_object,
    whole,
)
from tests.data.published_1 import (
    rrsis_d as rrsis_d_files,
)

from georefer.errors import InputError
from georefer.scenes.readers import dior_rsvg, earthreason, geo_r1, groundset, refgeo, rrsis_d, rsvg, vrsbench

ODD = (
    *(
        None,
        True,
        0,
        -1,
        1.5,
        1e308,
        float("nan"),
        float("inf"),
        10**30,
        "",
        "x",
        "../x",
        "a" * 3_000,
        "\x00",
        "\ud800",
    ),
    *("[0.1, 0.2, 0.3, 0.4]", [], {}, [[]], [1], [1, 2, 3, 4], [[1, 2]] * 4, {"a": 1}, [None], [["x", "y"]] * 4),
    *({"size": [30, 40], "counts": "0"}, [0] * 3_000, "9" * 400),
    {"type": "Polygon", "coordinates": [[[0, 0], [1, 1]]]},
)

LEVEL = [0.25, 0.5, 0.5, 0.5, 0.5, 0.75, 0.25, 0.75]
QUAD = [[20, 10], [30, 20], [20, 30], [10, 20]]
INSTRUCTION = {
    "id": 1,
    "image": "p.png",
    "question": "['a', 'b'] [0, 0, 0.1, 0.1]",
    "answer": "[0.25, 0.5, 0.5, 1.0]",
    "class": "a",
}
EXPRESSION = {
    "dataset": "geochat",
    "image_id": "1.jpg",
    "question": "it",
    "question_id": 5,
    "bbox": [9, 9, 30, 30],
    "poly": QUAD,
}
SHIP = {"obj_id": 0, "obj_cls": "a", "referring_sentence": "it", "obj_corner": LEVEL, "obj_coord": LEVEL[:4]}
ASKED = {"ques_id": 0, "question": "?", "type": "t", "answer": "Yes"}
PATCH = {"image": "P1.png", "caption": "A.", "qa_pairs": [ASKED], "objects": [SHIP]}
EVAL = {"image_id": "P1.png", "question": "it", "ground_truth": "{<25><50><50><75>}", "question_id": 4, "type": "ref",
        "unique": False, "obj_corner": LEVEL, "obj_cls": "a"}  # fmt: skip
CELL = {"features": [{"properties": {"class": "a"}, "geometry": {"type": "Polygon", "coordinates": [QUAD]}}]}
GRES = {"id": "a", "image": "a.jpg", "mask": "a.png", "problem": "?", "category": "b", "bbox_list": [[1, 2, 3, 4]]}
REC = {"image": "a.png", "problem": "it", "solution": [1, 2, 3, 4], "is_unique": True}
COCO = {"images": [{"id": 4, "file_name": "4.jpg", "width": 9, "height": 8}], "categories": [{"id": 1, "name": "a"}],
        "annotations": [{"id": 7, "image_id": 4, "category_id": 1, "bbox": [1, 2, 5, 5]}]}  # fmt: skip
REFS = [reference(1, "one"), reference(2, "two", split="test")]
TABLES = [
    [{"id": n, "file_name": f"{n}.jpg", "width": 40, "height": 30} for n in (1, 2)],
    [{"id": n, "image_id": n, "category_id": 1, "segmentation": [rle((40, 30), (1, 1, 9, 9))]} for n in (1, 2)],
]


def changed(value, rng):
    """A copy with one to three values, at any depth, replaced, left out or said twice."""
    value = copy.deepcopy(value)
    for _ in range(rng.choice((1, 1, 2, 3))):
        places = [(c, k) for c in containers(value) for k in (list(c) if isinstance(c, dict) else range(len(c)))]
        if not places:
            break
        inside, key = rng.choice(places)
        if rng.random() < 0.8:
            inside[key] = copy.deepcopy(rng.choice(ODD))
        elif isinstance(inside, dict):
            del inside[key]
        else:
            inside.insert(key, copy.deepcopy(inside[key]))
    return value


def containers(value):
    if isinstance(value, dict | list):
        yield value
        for one in value.values() if isinstance(value, dict) else value:
            yield from containers(one)


def broken(path, rng):
    """The file with up to three bytes changed."""
    data = bytearray(path.read_bytes())
    for _ in range(rng.randrange(1, 4)):
        data[rng.randrange(len(data))] = rng.randrange(256)
    path.write_bytes(bytes(data))
    return path


def rows(name, base):
    return lambda folder, rng: lines(folder / name, changed(base, rng), base)


def ovd(folder, rng):
    whole(folder / geo_r1.EXISTING, changed({"4": ["a"]}, rng))
    return whole(folder / "annotations.json", changed(COCO, rng))


def references(folder, rng):
    images, annotations = changed(TABLES, rng)[:2] if rng.random() < 0.5 else TABLES
    rrsis_d_files(folder, changed(REFS, rng), annotations, images, rng.randrange(6))
    if rng.random() < 0.3:
        broken(folder / "refs(unc).p", rng)
    return folder


def reasons(folder, rng):
    questions = {"questions": ["a?", "b?"], "answer": ["c"]}
    files = [picture(folder / "val/images/a.jpg", (9, 7)), mask_file(folder / "val/labels/a.png", (9, 7), (1, 1, 3, 3)),
             whole(folder / "val/QAs/a.json", changed(questions, rng))]  # fmt: skip
    broken(rng.choice(files), rng)
    return folder


def annotations(folder, rng):
    files = [voc_file(folder / f"{n}.xml", voc_object("a", (1, 2, 3, 4), "it")) for n in (1, 2)]
    broken(files[0], rng)
    return folder


def cells(folder, rng):
    path = parquet(folder / "a.parquet", {"p.png": changed(CELL, rng), "q.png": CELL})
    return broken(path, rng) if rng.random() < 0.4 else path


CASES = {
    "detection": (groundset, rows("GroundSet_EVAL_detection.jsonl", INSTRUCTION), ["again", "TRAIN.json"]),
    "phrase": (groundset, rows("GroundSet_EVAL_phrase.jsonl", INSTRUCTION), ["again"]),
    "region": (groundset, rows("GroundSet_EVAL_classification.jsonl", INSTRUCTION), ["again"]),
    "parquet": (groundset, cells, []),
    "patch": (
        vrsbench,
        lambda f, rng: whole(f / "Annotations_val/a.json", changed(PATCH, rng)).parent,
        ["again", "a.json"],
    ),
    "list": (vrsbench, lambda f, rng: whole(f / "a.json", [changed(EVAL, rng), EVAL]), ["again", "b.json"]),
    "quads": (refgeo, rows("metainfo/geochat_test.jsonl", EXPRESSION), ["again"]),
    "boxes": (rsvg, rows("rsvg_test.jsonl", EXPRESSION), []),
    "all": (refgeo, rows("metainfo/avvg_detection_test.jsonl", {**EXPRESSION, "poly": [QUAD, QUAD]}), ["again"]),
    "xml": (dior_rsvg, annotations, ["again"]),
    "pickle": (rrsis_d, references, ["again"]),
    "reasons": (earthreason, reasons, []),
    "rec": (geo_r1, rows("rec.jsonl", REC), ["again.json"]),
    "gres": (geo_r1, rows("gres.jsonl", GRES), ["again.jsonl"]),
    "ovd": (geo_r1, ovd, []),
}


@pytest.mark.parametrize("name", CASES)
def test_only_input_errors(tmp_path, name):
    reader, make, targets = CASES[name]
    read = 0
    for number in range(60):
        try:
            found = reader.read(make(tmp_path / str(number), random.Random(f"{name} {number}")))
        except InputError:
            continue
        read += 1
        assert str(found.account)
        for question in found:
            json.dumps(dict(question.params), allow_nan=False)
            if question.image:
                assert set(question.object_ids) <= set(found.images[question.image].objects.ids_N)
        for target in targets:
            again = tmp_path / str(number) / "written" / target
            reader.write(found, again)
            if any(again.parent.rglob("*.*")) and name != "xml":
                assert len(reader.read(again)) <= len(found)
    assert read > 5
