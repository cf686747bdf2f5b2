"""Answers within their tokens: never cut inside an object, and every question accounted for."""

import json
import re

import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st

from georefer.dialects import DIALECTS
from georefer.errors import DatasetError
from georefer.geometry import Frame, GeoGrid, Objects, polygon_iou
from georefer.imagery.encode import encode_image
from georefer.models.packed import Segment
from georefer.scenes import Question, Scene
from georefer.tasks import TASKS, Asking, Expression, GroupExpression
from georefer.tasks.given import stored
from georefer.training.budget import (
    LONG_LIST,
    LONG_PROMPT,
    LONG_WORDS,
    ONE_OBJECT,
    UNSAYABLE,
    Account,
    Fitted,
    checked,
    fit,
    pixels_of,
    simplify,
)

SIZE = (200, 200)
FRAME = Frame.resize(SIZE, SIZE)
OURS = DIALECTS["georefer"]
IMAGE = encode_image(np.full((200, 200, 3), 90, np.uint8))


def count(prompt, answer):
    """A token a word, a number or a sign, and one for the end."""
    return len(re.findall(r"\w+|[^\w\s]", f"{prompt} {answer}")) + 1


def wavy(x, y, radius=20.0, corners=40, wave=0.3):
    """A round outline with small waves: many corners, few needed."""
    turn_N = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    r_N = radius + wave * np.sin(7 * turn_N)
    return shapely.Polygon(np.column_stack([x + r_N * np.cos(turn_N), y + r_N * np.sin(turn_N)]))


def scene_of(objects):
    return Scene("s", IMAGE, objects, GeoGrid.none(*SIZE), "train")


def cars(*centres):
    """Small boxes, in reading order."""
    return scene_of(
        Objects.from_hbb(np.array([[x - 5, y - 4, x + 5, y + 4] for x, y in sorted(centres)]), ["car"] * len(centres))
    )


def ask_all(task, scene, label="car", **params):
    return Question(f"s/{task}", "s", task, {"label": label, **params}, tuple(scene.objects.ids_N))


def fitted(question, scene, limit, dialect=OURS, **more):
    return fit(question, scene, TASKS[question.task], dialect, FRAME, count, limit, **more)


def read(turn, dialect=OURS):
    return dialect.read(turn.answer, FRAME).objects


def boxes(objects):
    return sorted(np.round(objects.hbb_N4).tolist())


SPREAD = cars((20, 20), (30, 150), (60, 60), (120, 30), (150, 150), (180, 90))


# --- whole -----------------------------------------------------------------------------------------------------


def test_what_fits_is_left_as_it_is():
    question = ask_all("detection", SPREAD)
    task = TASKS["detection"]
    prompt, answer = task.prompt(question, OURS, FRAME), task.answer(question, SPREAD, OURS, FRAME)
    # exactly at the limit fits
    whole = fitted(question, SPREAD, count(prompt, answer))
    assert whole.how == "whole" and not whole.reason and whole.iou == 1
    assert [(turn.prompt, turn.answer) for turn in whole.turns] == [(prompt, answer)]
    assert fitted(question, SPREAD, count(prompt, answer) - 1).how == "split"


# --- simplified ------------------------------------------------------------------------------------------------


def test_outlines_lose_no_more_corners_than_the_limit_asks():
    scene = scene_of(Objects.of([wavy(60, 60), wavy(140, 120, 30)], ["car", "car"]))
    question = ask_all("segment", scene)
    whole = fitted(question, scene, 10_000)
    long = count(whole.turns[0].prompt, whole.turns[0].answer)
    corners = []
    for limit in (long - 10, long * 2 // 3, long // 2):
        made = fitted(question, scene, limit)
        assert made.how == "simplified" and len(made.turns) == 1
        assert count(made.turns[0].prompt, made.turns[0].answer) <= limit
        said = read(made.turns[0])
        assert len(said) == 2
        assert 0.95 <= made.iou < 1
        # rounding to thousandths costs little beside
        assert np.diag(polygon_iou(said.geometries_N, scene.objects.geometries_N)).min() > 0.93
        corners.append(shapely.get_num_coordinates(said.geometries_N).sum())
    assert corners[0] > corners[1] > corners[2]
    # just short of whole: nearly all corners are left
    assert corners[0] > 0.8 * shapely.get_num_coordinates(scene.objects.geometries_N).sum()


def test_corners_on_a_straight_edge_cost_nothing():
    square = shapely.segmentize(shapely.box(20, 20, 120, 120), 10)
    scene = scene_of(Objects.of([square], ["car"]))
    made = fitted(ask_all("segment", scene), scene, 27)
    assert made.how == "simplified" and made.iou == pytest.approx(1)
    assert len(shapely.get_coordinates(read(made.turns[0]).geometries_N)) == 5


def test_no_shape_falls_below_the_least_iou():
    # a comb: teeth are half of its area, so that hardly a corner can go
    teeth = shapely.union_all(
        [shapely.box(20, 20, 180, 40), *[shapely.box(x, 40, x + 5, 100) for x in range(20, 175, 10)]]
    )
    scene = scene_of(Objects.of([teeth], ["car"]))
    question = ask_all("segment", scene)
    dropped = fitted(question, scene, 60)
    assert (dropped.how, dropped.reason, dropped.turns) == ("dropped", ONE_OBJECT, ())
    # who bears less has it shorter
    assert fitted(question, scene, 60, least_iou=0.3).how == "simplified"


def test_in_dialects_of_boxes_nothing_is_simplified():
    scene = scene_of(Objects.of([wavy(60, 60)], ["car"]))
    question = ask_all("detection", scene)
    assert fitted(question, scene, 12).reason == ONE_OBJECT


def test_a_grid_of_cells_gets_no_shorter():
    scene = scene_of(Objects.of([wavy(100, 100, 60, 90, wave=4)], ["car"]))
    question = ask_all("segment", scene)
    whole = fitted(question, scene, 10_000, DIALECTS["geoground"]).turns[0]
    dropped = fitted(question, scene, count(whole.prompt, whole.answer) - 1, DIALECTS["geoground"])
    assert (dropped.how, dropped.reason) == ("dropped", ONE_OBJECT)


@pytest.mark.parametrize("task", ["outline-to-hbb", "outline-to-obb"])
def test_a_given_outline_is_simplified_together_with_what_follows_from_it(task):
    scene = scene_of(Objects.of([wavy(80, 90, 40, 60, wave=1)], ["car"]))
    shape = scene.objects
    question = Question("s/0", "s", task, {"given_px": stored(shape)[0]}, ("0",))
    whole = fitted(question, scene, 10_000)
    made = fitted(question, scene, count(whole.turns[0].prompt, whole.turns[0].answer) // 2)
    assert made.how == "simplified" and made.iou >= 0.95
    given_1 = OURS.read(made.turns[0].prompt[made.turns[0].prompt.index("[") :].split("]")[0] + "]", FRAME).objects
    # the answer is that of the outline in the prompt, not of another
    answer = read(made.turns[0])
    of_given = given_1.to_hbb() if task == "outline-to-hbb" else given_1.to_obb()
    assert polygon_iou(answer.geometries_N, of_given.geometries_N)[0, 0] > 0.97


def test_a_given_outline_that_is_a_guess_stays():
    scene = scene_of(Objects.of([wavy(80, 90)], ["car"]))
    guess = scene.objects.replaced([wavy(84, 90)])
    question = Question("s/0", "s", "outline-to-hbb", {"given_px": stored(guess)[0]}, ("0",))
    assert fitted(question, scene, 60).reason == LONG_PROMPT


@given(st.integers(5, 60), st.floats(0, 8), st.floats(0.1, 40), st.floats(0.8, 0.999), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_simple_shapes_are_valid_close_and_never_have_more_corners(corners, wave, tolerance, least, seed):
    rng = np.random.default_rng(seed)
    ragged = shapely.make_valid(wavy(60, 60, 20, corners, wave).buffer(rng.uniform(-1, 1)))
    shapes_N = np.array([ragged, shapely.box(3, 4, 9, 30), shapely.Point(1, 1)], dtype=object)
    simple_N, iou = simplify(shapes_N, tolerance, least)
    assert shapely.is_valid(simple_N).all()
    assert (shapely.get_num_coordinates(simple_N) <= shapely.get_num_coordinates(shapes_N)).all()
    measured = np.diag(polygon_iou(simple_N[:2], shapes_N[:2]))
    assert measured.min() >= least - 1e-9
    assert iou == pytest.approx(measured.min())
    # no area, nothing to simplify
    assert simple_N[2] == shapes_N[2]


# --- split -----------------------------------------------------------------------------------------------------

LISTS = {
    "detection": {},
    "detection-obb": {},
    "grec": {"expression": "the cars in the image"},
    "phrase": {"labels": ["car", "tree"]},
    "object-reasoning": {"predicate": "near", "subject": "0", "subject_px": stored(SPREAD.objects[:1])[0]},
}


@pytest.mark.parametrize("task", LISTS)
def test_a_list_is_asked_for_by_parts_of_the_image(task):
    question = ask_all(task, SPREAD, **LISTS[task])
    whole = fitted(question, SPREAD, 10_000).turns[0]
    made = fitted(question, SPREAD, count(whole.prompt, whole.answer) - 1)
    assert made.how == "split" and not made.lost
    # nothing lost, nothing twice
    assert boxes(Objects.concat([read(turn) for turn in made.turns])) == boxes(read(whole))
    places = [turn.prompt.removeprefix(whole.prompt) for turn in made.turns]
    assert places == [f" Only those whose middle lies in the {side} half of the image." for side in ("left", "right")]
    for turn, is_left in zip(made.turns, (True, False), strict=True):
        said = read(turn).hbb_N4
        assert len(said) == 3
        assert (((said[:, 0] + said[:, 2]) / 2 < 100) == is_left).all()


PARTS = {
    # halves from left to right are too long with five of six in one
    ((10, 20), (20, 60), (30, 90), (40, 130), (50, 180), (150, 150)): ["top half", "bottom half"],
    # a middle on the line between left and right lies in neither
    ((20, 20), (100, 60), (100, 130), (30, 160)): ["top half", "bottom half"],
    # quarters; the one without a car is not asked for
    ((20, 20), (30, 30), (40, 40), (20, 120), (30, 130), (40, 140), (120, 20), (130, 30), (140, 40)): [
        "top left quarter",
        "top right quarter",
        "bottom left quarter",
    ],
    # the middle of the image is in none of them
    ((100, 100), (110, 110), (120, 120), (130, 130), (140, 140)): None,
    ((20, 20), (30, 30), (60, 20), (70, 30), (20, 90), (30, 80), (80, 70), (60, 90)): [
        "part in column 1 of 4 from the left and row 1 of 4 from the top",
        "part in column 2 of 4 from the left and row 1 of 4 from the top",
        "part in column 1 of 4 from the left and row 2 of 4 from the top",
        "part in column 2 of 4 from the left and row 2 of 4 from the top",
    ],
}


@pytest.mark.parametrize("centres", PARTS)
def test_the_coarsest_parts_that_fit_are_asked_for(centres):
    scene = cars(*centres)
    made = fitted(ask_all("detection", scene), scene, 19 + 9 * len(centres) // 2)
    if PARTS[centres] is None:
        assert (made.how, made.reason) == ("dropped", LONG_LIST)
        return
    named = [re.search("in the (.+) of the image", turn.prompt)[1] for turn in made.turns]
    assert sorted(named) == sorted(PARTS[centres])
    assert boxes(Objects.concat([read(turn) for turn in made.turns])) == boxes(scene.objects)


def test_parts_that_do_not_fit_are_lost_whole():
    crowd = [(10 + 12 * i, 10 + 12 * j) for i in range(4) for j in range(4)]
    scene = cars(*crowd, (150, 150), (170, 30))
    made = fitted(ask_all("detection", scene), scene, 40)
    assert (made.how, made.lost, made.reason) == ("split", 1, LONG_LIST)
    assert [len(read(turn)) for turn in made.turns] == [1, 1]
    # and where none fits, the question is
    alone = cars(*crowd)
    dropped = fitted(ask_all("detection", alone), alone, 40)
    assert (dropped.how, dropped.reason) == ("dropped", LONG_LIST)


def test_outlines_of_parts_are_simplified_before_they_are_lost():
    scene = scene_of(Objects.of([wavy(x, y) for x, y in [(30, 30), (40, 150), (150, 40), (160, 160)]], ["car"] * 4))
    made = fitted(ask_all("segment", scene), scene, 90)
    assert made.how == "split" and len(made.turns) == 4 and not made.lost
    assert 0.95 <= made.iou < 1
    assert all(count(turn.prompt, turn.answer) <= 90 for turn in made.turns)


def test_a_thought_tells_of_the_whole_and_is_not_split():
    assert fitted(ask_all("detection", SPREAD, thought="There are six cars."), SPREAD, 40).reason == LONG_LIST


# --- dropped ---------------------------------------------------------------------------------------------------

WORDS = Question("s/caption", "s", "caption", {}, answer_text="Many " * 60)
DROPPED = {
    # words have no parts
    "caption": (WORDS, 40, OURS, LONG_WORDS),
    # of one object there is no part
    "rec": (Question("s/rec", "s", "rec", {"expression": "the car"}, ("0",)), 12, OURS, ONE_OBJECT),
    "prompt": (Question("s/rec", "s", "rec", {"expression": "the car " * 40}, ("0",)), 40, OURS, LONG_PROMPT),
    # oriented boxes have no words in this one
    "unsayable": (ask_all("detection-obb", SPREAD), 10_000, DIALECTS["shikra"], UNSAYABLE),
}


@pytest.mark.parametrize("name", DROPPED)
def test_what_cannot_be_made_shorter_is_dropped_with_its_reason(name):
    question, limit, dialect, reason = DROPPED[name]
    dropped = fitted(question, SPREAD, limit, dialect)
    assert (dropped.how, dropped.reason, dropped.turns) == ("dropped", reason, ())


def _asked_everything():
    """Questions of every task that asks about shapes."""
    objects = Objects.of([wavy(30 + 45 * (i % 4), 30 + 45 * (i // 4)) for i in range(16)], ["car"] * 12 + ["tree"] * 4)
    scene = scene_of(objects)
    expressions = tuple(Expression(str(i), f"the thing number {i}", "position") for i in range(4))
    groups = (
        GroupExpression(tuple(map(str, range(9))), "the first nine", "position"),
        GroupExpression((), "no", "position"),
    )
    asking = Asking(("car", "tree", "pool"), expressions, groups=groups)
    rng = np.random.default_rng(0)
    return scene, [q for task in TASKS.values() for q in task.questions(scene, asking, rng)]


EVERYTHING = _asked_everything()


@pytest.mark.parametrize("dialect", ["georefer", "geoground", "qwen2.5-vl", "shikra", "text4seg"])
@pytest.mark.parametrize("limit", [30, 90, 400])
def test_nothing_is_ever_cut_and_all_is_accounted_for(dialect, limit):
    scene, questions = EVERYTHING
    dialect = DIALECTS[dialect]
    made = [(q.task, fit(q, scene, TASKS[q.task], dialect, FRAME, count, limit)) for q in questions]
    for question, (_, each) in zip(questions, made, strict=True):
        for turn in each.turns:
            assert count(turn.prompt, turn.answer) <= limit
            # nothing that cannot be read, and nothing repaired
            if question.answer_text is None:
                reading = dialect.read(turn.answer, FRAME)
                assert not reading.problems, turn.answer
        assert bool(each.turns) == (each.how != "dropped")
        assert bool(each.reason) == (each.how == "dropped" or each.lost > 0)
    account = Account.of(made)
    assert account.questions == len(questions)
    assert account.turns == sum(len(each.turns) for _, each in made)
    # long enough for all, or too short for nearly all
    assert account.dropped < len(questions)


# --- accounts --------------------------------------------------------------------------------------------------

MADE = [
    ("rec", Fitted((object(),), "whole")),
    ("rec", Fitted((), "dropped", ONE_OBJECT)),
    ("segment", Fitted((object(),), "simplified", iou=0.97)),
    ("segment", Fitted((object(), object()), "split", LONG_LIST, lost=1, iou=0.96)),
    ("caption", Fitted((), "dropped", LONG_WORDS)),
    ("caption", Fitted((), "dropped", LONG_WORDS)),
]


def test_accounts_add_up():
    account = Account.of(MADE)
    assert (account.questions, account.turns, account.dropped) == (6, 4, 3)
    assert account.line() == (
        "6 questions: 1 whole, 1 simplified (IoU at least 0.960), 1 split into 2 and 1 dropped, "
        "3 dropped (caption 2: words are too long, rec 1: one object is too long)"
    )
    assert Account.of(MADE[:2]) + Account.of(MADE[2:]) == account
    assert Account() + account == account
    assert json.loads(json.dumps(account.plain())) == account.plain()
    assert account.plain()["tasks"]["segment"] == {"simplified": 1, "split": 1, "parts": 2, "parts dropped": 1}
    assert Account.of(MADE[:1]).line() == "1 questions: 1 whole"


# --- nothing to learn from -------------------------------------------------------------------------------------


def test_a_segment_without_a_learned_token_names_its_question():
    good = Segment([1, 2, 3], [False, False, True])
    assert checked(good, WORDS) is good
    with pytest.raises(DatasetError, match=r"s/caption.*no token to learn"):
        checked(Segment([1, 2], [False, False]), WORDS)


BROKEN = {
    b"": "no image",
    b"\x89PNG\r\n\x1a\n": "no readable PNG",
    # another picture than the scene says
    encode_image(np.zeros((20, 30, 3), np.uint8)): "30 x 20 pixels where 200 x 200",
}


@pytest.mark.parametrize("image", BROKEN, ids=range(3))
def test_an_image_that_cannot_be_read_names_its_scene(image):
    scene = Scene("s-7", image, Objects.none(), GeoGrid.none(*SIZE), "train")
    with pytest.raises(DatasetError, match=f"data/a: scene s-7.*{BROKEN[image]}"):
        pixels_of(scene, "data/a")
    assert pixels_of(SPREAD).shape == (200, 200, 3)
