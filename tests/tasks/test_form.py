"""The form in which shapes are asked for: a poorer kind is no answer, a richer one is."""

import pytest
from tests.data.promises import frame_of, headline, score
from tests.data.related import related_scene

from georefer.dialects import DIALECTS
from georefer.geometry import Objects
from georefer.scenes import Question
from georefer.tasks import BOX, OBB_FORM, OUTLINE, TASKS

SCENE = related_scene()
SHIP = SCENE.objects.with_ids(("ship 1",))
SAID = {
    "hbb": SHIP.to_hbb(), "obb": SHIP.to_obb(), "polygon": SHIP.to_polygon(),
    "mask": SHIP.replaced(SHIP.geometries_N, "mask"),
}  # fmt: skip
QUESTIONS = {
    "rec": {"expression": "the ship"}, "detection": {"label": "ship"}, "grec": {"expression": "the ship"},
    "phrase": {"labels": ["ship"]},
}  # fmt: skip


@pytest.mark.parametrize(
    ("form", "met"),
    [(BOX, "hbb obb polygon mask"), (OBB_FORM, "obb polygon mask"), (OUTLINE, "polygon mask")],
)
def test_kinds_that_meet_a_form(form, met):
    assert {kind for kind, said in SAID.items() if form.is_met_N(said).all()} == set(met.split())
    for kind, said in SAID.items():
        iou = float(form.iou(said, form.compared(SHIP))[0, 0])
        assert (iou > 0.3) == (kind in met.split()), kind
    assert form.iou(Objects.none(), SHIP).shape == (0, 1) and form.is_met_N(Objects.none()).shape == (0,)


@pytest.mark.parametrize(
    ("name", "params", "counts"),
    [
        ("rec", "rec", True), ("rec-obb", "rec", False), ("res", "rec", False),
        ("detection", "detection", True), ("detection-obb", "detection", False), ("segment", "detection", False),
        ("grec", "grec", True), ("grec-obb", "grec", False), ("gres", "grec", False),
        ("phrase", "phrase", True),
    ],
)  # fmt: skip
def test_boxes_answer_questions_about_boxes_only(name, params, counts):
    """The ship lies along the axes, so that its box would be right if a box were an answer."""
    question = Question("q", SCENE.id, name, QUESTIONS[params], ("ship 1",))
    flat = Objects.of([SHIP.geometries_N[0].envelope], ["ship"], kind="hbb", ids=["ship 1"])
    text = DIALECTS["georefer"].write(flat, frame_of(SCENE))
    assert (headline(TASKS[name], [score(TASKS[name], "georefer", text, question, SCENE)]) > 0.5) == counts


def test_a_box_echoed_is_no_outline():
    """Asked for the outline that belongs to a box, saying the box again is no answer."""
    for name in ("hbb-to-obb", "hbb-to-outline", "obb-to-outline"):
        task = TASKS[name]
        text = DIALECTS["georefer"].write(SAID["hbb"], frame_of(SCENE), labelled=False)
        question = Question("q", SCENE.id, name, {}, ("ship 1",))
        assert headline(task, [score(task, "georefer", text, question, SCENE)]) == 0.0
