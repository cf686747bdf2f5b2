"""Scenes with oriented boxes, outlines and relations: an apron with aircraft and cars, and a dock with ships."""

from __future__ import annotations

import numpy as np
import shapely
import shapely.affinity

from georefer.geometry import OBB, GeoGrid, Objects
from georefer.imagery.encode import encode_image
from georefer.scenes import Scene, SceneRelation
from georefer.tasks import Asking, Expression, GroupExpression

CLASSES = ("airplane", "apron", "car", "dock", "ship", "stadium", "tank")

_OBJECTS = (
    # id, class, kind, shape
    (
        "apron",
        "apron",
        "polygon",
        shapely.Polygon([(30, 40), (300, 30), (310, 260), (180, 270), (170, 180), (40, 190)]),
    ),
    ("plane 1", "airplane", "obb", OBB(90, 100, 80, 60, 30).to_polygon()),
    ("plane 2", "airplane", "obb", OBB(220, 110, 84, 58, 200).to_polygon()),
    ("car 1", "car", "obb", OBB(230, 220, 50, 24, 75).to_polygon()),
    ("car 2", "car", "hbb", shapely.box(250, 170, 290, 196)),
    ("dock", "dock", "polygon", shapely.affinity.rotate(shapely.box(330, 300, 480, 340), 25)),
    ("ship 1", "ship", "polygon", shapely.affinity.scale(shapely.Point(380, 390).buffer(1, 12), 40, 16)),
    ("ship 2", "ship", "obb", OBB(450, 420, 90, 30, 25).to_polygon()),
)
_RELATIONS = (
    ("plane 1", "parallelly parked on", "apron"),
    ("plane 2", "parallelly parked on", "apron"),
    ("plane 1", "parking in the same apron with", "plane 2"),
    ("plane 2", "parking in the same apron with", "plane 1"),
    ("plane 1", "within safe distance of", "plane 2"),
    ("car 1", "randomly parked on", "apron"),
    ("car 1", "parked alongside with", "car 2"),
    ("car 1", "approach", "plane 2"),
    ("ship 1", "parallelly docked at", "dock"),
    ("ship 2", "parallelly docked at", "dock"),
    ("ship 1", "docked alongside with", "ship 2"),
    # of these nothing can be asked: an end that the image does not hold, and an object with itself
    ("car 1", "approach", "gone"),
    ("car 1", "approach", "car 1"),
)
_GROUPS = (
    (("plane 2", "plane 1"), "the airplanes"),
    (("ship 1", "ship 2"), "all ships at the dock"),
    ((), "the stadium"),
    (("car 2", "car 1", "apron"), "the vehicles and the apron"),
)


def related_scene(name: str = "airport", left_out: str = "") -> Scene:
    """512 pixels square; objects of the class `left_out`, and what is related to them, are not there."""
    kept = [row for row in _OBJECTS if row[1] != left_out]
    objects = Objects.of(
        [row[3] for row in kept], [row[1] for row in kept], kind=[row[2] for row in kept], ids=[row[0] for row in kept]
    )
    image = encode_image(np.full((512, 512, 3), 90, np.uint8))
    relations = tuple(SceneRelation(*row) for row in _RELATIONS)
    return Scene(name, image, objects, GeoGrid.none(512, 512), "test", relations=relations)


def related_asking(scene: Scene, **limits: int) -> Asking:
    """What can be asked about it, each object by an expression, and several or none by others."""
    expressions = tuple(Expression(o.id, f"the {o.label} called {o.id}", "attribute") for o in scene.objects)
    there = set(scene.objects.ids_N)
    groups = tuple(GroupExpression(ids, text, "class") for ids, text in _GROUPS if there.issuperset(ids))
    per_task = {name.replace("_", "-"): n for name, n in limits.items()}
    return Asking(CLASSES, expressions, absent=1, per_task=per_task, groups=groups)
