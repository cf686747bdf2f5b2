"""Tasks: the only things that ask, answer and score. One file each, one line in the table."""

from georefer.tasks.base import (
    BOX,
    OBB_FORM,
    OUTLINE,
    Asking,
    Expression,
    Form,
    GroupExpression,
    Known,
    Task,
    in_reading_order,
    truth,
)
from georefer.tasks.caption import Caption, RegionCaption
from georefer.tasks.choice import Choice
from georefer.tasks.classification import Classification
from georefer.tasks.detection import Detection
from georefer.tasks.dialogue import Dialogue, Turn, render
from georefer.tasks.given import Given
from georefer.tasks.graph import SceneGraph
from georefer.tasks.grec import GREC
from georefer.tasks.multilabel import MultiLabel
from georefer.tasks.phrase import Phrase
from georefer.tasks.presence import Presence
from georefer.tasks.rec import REC
from georefer.tasks.relation import ObjectReasoning, RelationDetection, RelationReasoning
from georefer.tasks.relation_choice import RelationChoice
from georefer.tasks.vqa import VQA

_ALL: tuple[Task, ...] = (
    REC(),
    REC("rec-obb", OBB_FORM),
    REC("res", OUTLINE),
    Detection(),
    Detection("detection-obb", OBB_FORM),
    Detection("segment", OUTLINE),
    # generalised referring: several objects, or none
    GREC(),
    GREC("grec-obb", OBB_FORM),
    GREC("gres", OUTLINE),
    Presence(),
    VQA(),
    Choice(),
    Phrase(),
    Classification(),
    MultiLabel(),
    Caption(),
    RegionCaption(),
    # GeoGround: a shape is given, a finer or a coarser one is asked for
    Given("hbb-to-obb", BOX, OBB_FORM),
    Given("hbb-to-outline", BOX, OUTLINE),
    Given("obb-to-outline", OBB_FORM, OUTLINE),
    Given("obb-to-hbb", OBB_FORM, BOX),
    Given("outline-to-hbb", OUTLINE, BOX),
    Given("outline-to-obb", OUTLINE, OBB_FORM),
    # FIT-RS: what objects are to each other
    RelationDetection(),
    RelationReasoning(),
    ObjectReasoning(),
    ObjectReasoning("object-reasoning-obb", OBB_FORM),
    SceneGraph(),
    SceneGraph("image-graph-obb", OBB_FORM),
    SceneGraph("region-graph", of_region=True),
    SceneGraph("region-graph-obb", OBB_FORM, of_region=True),
    RelationChoice(),
)

TASKS: dict[str, Task] = {task.name: task for task in _ALL}

__all__ = [
    "BOX", "OBB_FORM", "OUTLINE", "TASKS", "Asking", "Dialogue", "Expression", "Form", "GroupExpression", "Known",
    "Task", "Turn", "in_reading_order", "render", "truth",
]  # fmt: skip
