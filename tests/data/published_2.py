"""Small files in the formats of FIT-RS, its benchmarks, GeoChat, STAR, NWPU VHR-10, DOTA and FAIR1M, all made up."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from PIL import Image

TILE = "0505__512__2884___5768.png"
PLANE, CAR, CAR_2 = "{<50.00><25.00><20.00><10.00>|<30>}", "{<10.00><10.00><4.00><2.00>|<90>}", "{<20><20><4><2>|<90>}"


def picture(path: Path, size: tuple[int, int]) -> Path:
    """A picture of one colour, for its header."""
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (90, 120, 60)).save(path)
    return path


def noise(seed: int, size: tuple[int, int] = (96, 96)) -> np.ndarray:
    """Smooth noise, uint8 (height, width, 3): an image that looks like no other."""
    small = np.random.default_rng(seed).integers(0, 256, (8, 8, 3)).astype(np.uint8)
    return np.asarray(Image.fromarray(small).resize(size, Image.Resampling.BICUBIC))


def dialogue(id: object, image: str, *turns: tuple[str, str]) -> dict:
    """A LLaVA row."""
    said = []
    for number, (question, answer) in enumerate(turns):
        said.append({"from": "human", "value": ("" if number else "<image>\n") + question})
        said.append({"from": "gpt", "value": answer})
    return {"id": id, "image": image, "conversations": said}


FIT_ROWS = [
    # detection, its number first
    dialogue("d1", TILE, ("[detection]Find all cars.", "There are 2 cars in the image: "
                          f"<rbox>({CAR}, {CAR_2})</rbox>")),
    dialogue("d2", TILE, ("[detection]Find all ships.", "I'm sorry, I cannot answer as the given image does not "
                          "contain any given objects.")),
    # one region and a predicate: other objects, with their class
    dialogue(7, TILE, (f"What is parked on {PLANE}?", f"<ref>car</ref><rbox>({CAR})</rbox>")),
    # what is related to a region, which is "it"
    dialogue("g5", TILE, (f"Describe {PLANE} and its relations.", "A fully visible small airplane on the upper part of "
                          f"the image. It is <rel>over</rel> 1 <ref>apron</ref><rbox>({CAR_2})</rbox>")),
    # the graph of the tile
    dialogue("g6", TILE, ("Generate a scene graph.", f"<ref>cars</ref><rbox>({CAR}, {CAR_2})</rbox> are <rel>adjacent"
                          f"</rel> <ref>airplane</ref><rbox>({PLANE})</rbox>. ")),
    dialogue("r2", TILE, ("Which relations?", "There are 1 relationships between car and airplane: car <approach> "
                          "airplane")),
    dialogue("r3", TILE, (f"Subject {CAR}, object {PLANE}?", "subject: car, object: airplane, the relationships "
                          "between them are: <rel>away from</rel>")),
    dialogue("c1", "a.png", ("Describe the image in detail.", "A small airport with a few cars.")),
    dialogue("k1", "a.png", ("What is it? Answer with one word or a short phrase.", "airport")),
    dialogue("k2", "a.png", ("Which? Answer with all applicable classes separated by commas.", "car, airplane")),
    dialogue("v1", "a.png", ("How many cars are there?", "2")),
    # a dialogue of two questions
    dialogue("m1", "a.png", ("Is there a car?", "Yes."), ("What colour?", "Red.")),
]  # fmt: skip


def fit_rs(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "FIT-RS-train-1415k.json"
    path.write_text(json.dumps(FIT_ROWS))
    return path


FIT_COMPLEX = [
    {"question_id": 1, "image": TILE, "question": "[detection]Find all cars.", "category": "task1",
     "ground_truth": f"There is 1 car in the image: <rbox>({CAR})</rbox>"},
    {"question_id": 2, "image": TILE, "question": "Which relations?", "category": "task2",
     "ground_truth": "There are 1 relationships between car and airplane: car <approach> airplane"},
    {"question_id": 3, "image": TILE, "question": f"What is over {PLANE}?", "category": "task4",
     "ground_truth": f"<rbox>({CAR})</rbox>"},
]  # fmt: skip

_OPTIONS = ("The car is over the bridge.", "The car is adjacent the bridge.", "The car is through the bridge.")
FIT_RSRC = [
    {"question_id": 5, "image": TILE, "category": "relationship", "ground_truth": "ABC"[(0 - turn) % 3],
     "text": "Which is right?\n" + "\n".join(f"{'ABC'[n]}. {_OPTIONS[(n + turn) % 3]}" for n in range(3))}
    for turn in range(3)
]  # fmt: skip


def lines(path: Path, rows: list[dict]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


GEOCHAT_ROWS = [
    dialogue("a", "P1.png", ("[refer] where is <p>the white plane</p> ?", "{<10><20><30><30>|<30>}")),
    dialogue("b", "P1.png", ("[identify] what is this {<10><20><30><30>|<30>}", "a white plane")),
    dialogue("c", "P1.png", ("[grounding] describe the image", "Two <p>planes</p> {<10><20><30><30>|<30>}<delim>"
                             "{<50><20><70><30>|<0>} stand on <p>an apron</p> {<0><0><90><90>|<0>}")),
    dialogue("d", "P1.png", ("Classify the image.\nAnswer in one word or a short phrase.", "airport")),
    dialogue("e", "P1.png", ("Is there a plane?", "Yes."), ("How many?", "2")),
]  # fmt: skip

GEOCHAT_REFERRING = [
    {"question_id": 0, "image_id": "P0001__1.0__0___824", "question": "the white plane at the top", "type": "ref",
     "ground_truth": [[[10.5, 20.0], [50.5, 20.0], [50.5, 40.0], [10.5, 40.0]]], "dataset": "SOTA",
     "obj_ids": [3], "size_group": "small"},
    {"question_id": 1, "image_id": "P0001__1.0__0___824", "question": "describe", "type": "non-ref",
     "ground_truth": [[[0, 0], [9, 0], [9, 5], [0, 5]], [[20, 0], [29, 0], [29, 5], [20, 5]]], "dataset": "SOTA",
     "obj_ids": [1, 2], "size_group": "small"},
]  # fmt: skip
GEOCHAT_REGIONS = [
    {"question_id": 0, "image_id": "00012", "question": "{<10><20><30><30>|<30>}", "ground_truth": "1 white plane",
     "type": "ref", "dataset": "FAST", "obj_ids": [0], "size_group": "medium"},
]  # fmt: skip

STAR_SHAPES = [
    {"label": "airplane", "group_id": 0, "points": [[100, 50], [140, 50], [140, 70], [100, 70]]},
    {"label": "cement_concrere_pavement", "group_id": 1, "points": [[0, 0], [200, 10], [190, 210], [-10, 200]]},
    {"label": "car", "group_id": 2, "points": [[10, 10], [20, 10], [20, 15], [10, 15]]},
    {"label": "car", "group_id": None, "points": [[30, 10], [40, 10], [40, 15], [30, 15]]},
]
STAR_TABLE = """subject,subject_ID,relationship,object,object_ID
airplane,0,parallelly parked on,cement_concrete_pavement,1
car,2,Away from,airplane,0
"""


def star(folder: Path, split: str = "train", name: str = "0505") -> Path:
    """One split with one image of 300 x 200; `folder` may hold others."""
    for part in ("object-json", "relationship"):
        (folder / split / part).mkdir(parents=True, exist_ok=True)
    said = {"shapes": STAR_SHAPES, "imagePath": f"{name}.png", "imageWidth": 300, "imageHeight": 200, "imageData": None}
    (folder / split / "object-json" / f"{name}.json").write_text(json.dumps(said))
    (folder / split / "relationship" / f"{name}.csv").write_text(STAR_TABLE)
    return folder / split


def nwpu(folder: Path) -> Path:
    """Two positive images, of which one has its picture, and one negative one with the same number."""
    (folder / "ground truth").mkdir(parents=True)
    (folder / "ground truth" / "001.txt").write_text("(563,478),(630,573),1 \n\n( 10,20),(30,40),10\n")
    (folder / "ground truth" / "002.txt").write_text("(1,2),(3,4),3\n")
    picture(folder / "positive image set" / "001.jpg", (958, 808))
    picture(folder / "negative image set" / "001.jpg", (600, 500))
    return folder


def dota(folder: Path) -> Path:
    """A whole scene and a tile, with a picture for the first."""
    (folder / "labelTxt").mkdir(parents=True)
    text = "imagesource:GoogleEarth\ngsd:0.15\n30 10 30 20 10 20 10 10 plane 0\n"
    (folder / "labelTxt" / "P0001.txt").write_text(text)
    (folder / "labelTxt" / "P0001__0.5__0___824.txt").write_text("0 0 8 0 8 4 0 4 ship 1\n")
    picture(folder / "images" / "P0001.png", (64, 48))
    return folder


FAIR1M = """<?xml version="1.0" encoding="utf-8"?>
<annotation>
  <source><filename>{name}</filename><origin>GF2/GF3</origin></source>
  <size><width>1000</width><height>900</height><depth>3</depth></size>
  <objects>{objects}</objects>
</annotation>
"""
FAIR1M_OBJECT = (
    "<object><coordinate>pixel</coordinate><type>rectangle</type><description>None</description>"
    "<possibleresult><name>{label}</name></possibleresult><points>{points}</points></object>"
)


def fair1m(path: Path, *objects: tuple[str, str], name: str = "0.tif") -> Path:
    """`objects` are (label, "x,y x,y ...")."""
    path.parent.mkdir(parents=True, exist_ok=True)
    parts = [
        FAIR1M_OBJECT.format(label=label, points="".join(f"<point>{p}</point>" for p in points.split()))
        for label, points in objects
    ]
    path.write_text(FAIR1M.format(name=name, objects="".join(parts)))
    return path
