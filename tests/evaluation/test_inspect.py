"""What an inspection shows is what training learns, and a defect on the way is found and counted."""

import json
import re
from dataclasses import dataclass, replace
from html import unescape

import numpy as np
import pytest
import shapely
from affine import Affine
from pyproj import CRS
from shapely.affinity import rotate, scale
from tests.data.small import small_dataset, small_questions, small_scene

from georefer.dialects import DIALECTS
from georefer.errors import DatasetError, InputError, MissingExtra
from georefer.evaluation import inspect as module
from georefer.evaluation.inspect import inspect, sight_of, write_inspection
from georefer.evaluation.inspect_scene import card
from georefer.evaluation.inspect_seen import DialectSight, ModelSight, through_frame, true_frame
from georefer.geometry import Frame, GeoGrid, Objects
from georefer.imagery.encode import encode_image
from georefer.models import load_model
from georefer.models.packed import pack
from georefer.scenes import DatasetWriter, Question, Scene, open_dataset
from georefer.tasks import TASKS, render

GEOREFER = DialectSight(DIALECTS["georefer"])
WORDS = [name for name in TASKS if TASKS[name].form is None]
SHAPES = ("rec", "rec-obb", "res", "detection", "detection-obb", "segment", "phrase", "hbb-to-obb", "outline-to-hbb")


@pytest.fixture(scope="module")
def tiny():
    return ModelSight(load_model("tiny-synthetic"))


def turned_scene(number, split="train"):
    """A scene of half-metre pixels whose objects are turned rectangles, outlines and boxes."""
    scene = small_scene(number, (160, 120), split)
    kinds = ["obb", "polygon", "hbb", "polygon"][: len(scene.objects)]
    shapes = [
        g if kind == "hbb" else scale(rotate(g, 20 * (i + 1)), 0.6, 0.6)
        for i, (g, kind) in enumerate(zip(scene.objects.geometries_N, kinds, strict=True))
    ]
    objects = Objects.of(shapes, list(scene.objects.labels_N), kind=kinds)
    grid = GeoGrid(CRS.from_epsg(32630), Affine(0.5, 0, 0, 0, -0.5, 0), 160, 120)
    return Scene(scene.id, scene.image, objects, grid, split)


@pytest.fixture(scope="module")
def turned(tmp_path_factory):
    """Three training and two test scenes, asked in shapes and in words."""
    with DatasetWriter(tmp_path_factory.mktemp("turned") / "data") as writer:
        for split, numbers in (("train", (0, 1, 2)), ("test", (3, 4))):
            scenes = [turned_scene(n, split) for n in numbers]
            tasks = (*SHAPES, "presence", "classification", "multilabel")
            writer.write(split, scenes, [q for s in scenes for q in small_questions(s, tasks)])
        return writer.finish("")


def asked_of(scene, sight, tasks=SHAPES):
    return card(scene, small_questions(scene, tasks), sight)


# --- what is learned ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, 1, 2])
def test_tokens_and_picture_are_those_of_a_training_batch(number, tiny):
    scene = turned_scene(number)
    questions = small_questions(scene, (*SHAPES, "presence", "classification"))
    shown = card(scene, questions, tiny)
    model, frame = tiny.model, tiny.frame_for(scene.size)
    dialogue = render(scene, questions, TASKS, model.dialect, frame)
    group = model.group(scene.size, [(turn.prompt, turn.answer) for turn in dialogue.turns], 0)
    batch = pack([[group]], {}, pad_id=model.speech.pad_id)
    learned = [id_ for q in shown.asked for token in q.tokens if token.is_learned for id_ in token.ids]
    assert learned == batch.targets_M.tolist()
    prefix = list(group.prefix.ids)
    given = [[id_ for token in q.tokens for id_ in token.ids] for q in shown.asked]
    assert all(ids[: len(prefix)] == prefix for ids in given)
    assert [*prefix, *(id_ for ids in given for id_ in ids[len(prefix) :])] == batch.ids_BT[0].tolist()
    seen = tiny.seen(scene.pixels())
    pixels = model.pixels([scene.pixels()])["pixel_values"]
    assert np.abs(seen.transpose(2, 0, 1) / 127.5 - 1 - pixels[0].numpy()).max() < 1e-6


def test_the_page_marks_exactly_what_is_learned(turned, tiny):
    page = inspect(turned, "train", 3, sight=tiny).page
    marked = [
        re.sub("<[^>]*>", "", part) for part in re.findall(r'<span class="learned">((?:<i.*?</i>)+)</span>', page)
    ]
    questions = turned.questions("train")
    scenes = {s.id: s for s in turned.scenes("train")}
    expected = []
    for q in questions:
        scene = scenes[q.scene_id]
        expected.append(TASKS[q.task].answer(q, scene, tiny.dialect, tiny.frame_for(scene.size)) + "<eos>")
    assert [unescape(text) for text in marked] == expected


def test_bytes_of_one_character_are_one_token(tiny):
    scene = small_scene(0)
    question = Question("q", scene.id, "vqa", {"question": "Où?", "prompt": "Où <image>?"}, answer_text="là-bas 漢\n")
    (shown,) = card(scene, [question], tiny).asked
    assert not shown.differs and shown.learned.answer == "là-bas 漢\n"
    texts = [token.text for token in shown.tokens]
    assert "漢" in texts and "à" in texts and "�" not in "".join(texts)
    # a placeholder typed by somebody stays text
    assert [t.text for t in shown.tokens if t.is_special] == ["<image> × 64", "<user>", "<assistant>", "<eos>"]


@pytest.mark.parametrize("name", sorted(DIALECTS))
def test_every_answer_says_the_truth_in_every_dialect(name):
    sight = DialectSight(DIALECTS[name])
    for number in (0, 1, 2):
        shown = asked_of(turned_scene(number), sight, (*SHAPES, *WORDS))
        # what one group of cells cannot tell apart is lost in text; the page has to say so
        lost = {q.id for q in shown.asked if q.differs}
        assert name == "text4seg" or not lost, [(q.id, q.differs) for q in shown.asked if q.differs]
        assert DIALECTS[name].kinds == {"point"} or any(q.shapes for q in shown.asked)


# --- defects --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Wrong(ModelSight):
    """A tiny model with one defect."""

    defect: str = ""

    def frame_for(self, size):
        right = super().frame_for(size)
        frames = {
            "letterbox": Frame.letterbox(size, (128, 128), numbers=128),
            "half size": Frame.resize(size, (64, 64), 128),
            "few pixels": replace(right, extent_width=right.extent_width + 5.0),
            "mirrored sides": Frame.resize(size[::-1], (128, 128), 128),
            "shifted": replace(right, x=3.0, y=3.0),
        }
        return frames.get(self.defect, right)

    def learned(self, turn, size):
        found = super().learned(turn, size)
        changed = {
            "lost digit": {"answer": re.sub(r"\d", "", found.answer, count=1)},
            "no end": {"is_ended": False},
            "lost answer": {"answer": ""},
        }
        return replace(found, **changed.get(self.defect, {}))


@pytest.mark.parametrize(
    ("defect", "frame_wrong", "words_differ"),
    [
        ("", False, False),
        ("letterbox", True, False),  # the picture is stretched, the numbers are those of a padded one
        ("few pixels", True, False),
        ("mirrored sides", True, False),
        ("shifted", True, False),
        ("half size", True, False),  # the numbers count along the sides, so nothing but the size is wrong
        ("lost digit", False, False),
        ("no end", False, True),
        ("lost answer", False, True),
    ],
)
def test_a_defect_is_found_and_counted(defect, frame_wrong, words_differ, tiny, turned):
    sight = Wrong(tiny.model, defect=defect)
    found = inspect(turned, "train", 3, sight=sight)
    shown = [q for s in turned.scenes("train") for q in asked_of(s, sight, (*SHAPES, "presence")).asked]
    shaped = [q for q in shown if q.task in SHAPES and q.learned.answer != "none"]
    differ = [q for q in shaped if q.differs]
    if defect in ("", "half size"):
        assert not differ and found.differing == 0
    else:
        # what lies where both frames agree may pass
        assert len(differ) >= 0.6 * len(shaped) and found.differing >= len(differ)
        assert f"{found.differing} of {found.compared} answers differ" in found.page and 'class="differs"' in found.page
    assert any(q.differs for q in shown if q.task == "presence") == words_differ
    assert all(bool(asked_of(s, sight).frame_wrong) == frame_wrong for s in turned.scenes("train"))


@pytest.mark.parametrize("size", [(16, 16), (33, 900), (129, 127), (160, 120), (300, 200), (672, 672), (1500, 40)])
def test_the_measured_frame_is_the_models_own(size, tiny):
    frame, wrong = true_frame(tiny, size)
    assert not wrong and frame == tiny.frame_for(size)
    off = Wrong(tiny.model, defect="shifted")
    assert true_frame(off, size)[1] or 3 * 128 / min(size) < 0.25


@pytest.mark.parametrize(
    "frame",
    [
        Frame.resize((60, 40), (30, 40)),
        Frame.letterbox((60, 40), (96, 96)),
        Frame.letterbox((60, 40), (48, 96), centred=False),
        Frame.square_padded((60, 40), 90),
        Frame.centre_crop((60, 40), (20, 20)),
        Frame.qwen((60, 40)),
    ],
    ids=lambda frame: frame.rule,
)
def test_a_picture_goes_through_a_frame(frame):
    image = np.full((40, 60, 3), 255, np.uint8)
    image[10:20, 15:30] = 0
    seen = through_frame(image, frame)
    assert seen.shape == (frame.height, frame.width, 3)
    (x1, y1), (x2, y2) = frame.to_model(np.array([[15, 10], [30, 20]]))
    rows, columns = np.nonzero(seen[:, :, 0] < 64)
    expected = np.clip([x1, y1, x2, y2], 0, np.tile(frame.size, 2))
    found = np.array([columns.min(), rows.min(), columns.max() + 1, rows.max() + 1])
    assert np.abs(found - expected).max() <= 1.6


def test_truth_that_a_dialect_loses_is_red():
    """A square of two pixels sets no cell of sixteen in a thousand."""
    image = small_scene(0, (1000, 1000)).image
    objects = Objects.of([shapely.box(500.2, 500.2, 502, 502)], ["ship"])
    scene = Scene("s", image, objects, GeoGrid.none(1000, 1000), "test")
    question = Question("q", "s", "segment", {"label": "ship"}, (objects.ids_N[0],))
    (shown,) = card(scene, [question], DialectSight(DIALECTS["text4seg"])).asked
    assert shown.differs and not shown.shapes


def test_what_cannot_be_said_is_no_difference(turned):
    found = inspect(turned, "train", 3, sight=DialectSight(DIALECTS["qwen2-vl"]))
    assert found.unsaid > 0 and found.differing == 0
    assert f"{found.unsaid} questions cannot be put" in found.page and "not said" in found.page


def test_questions_that_refer_to_nothing_are_said(tmp_path):
    scene = small_scene(0)
    questions = [
        Question("a", scene.id, "detection", {"label": "pool"}, ("gone",)),
        Question("b", scene.id, "no-such-task", {}, answer_text="x"),
    ]
    shown = card(scene, questions, GEOREFER).asked
    assert all(q.unsaid for q in shown) and "no task no-such-task" in shown[1].unsaid


# --- the page -------------------------------------------------------------------------------------------------


def with_manifest(dataset, folder, **more):
    """A copy of a dataset whose manifest says more."""
    import shutil

    shutil.copytree(dataset.folder, folder)
    manifest = json.loads((folder / "manifest.json").read_text()) | more
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return open_dataset(folder)


def test_whatever_a_dataset_says_is_escaped(tmp_path):
    evil = "<script>alert(1)</script>"
    scene = small_scene(0)
    objects = Objects.from_hbb(np.array([[10, 10, 40, 40]]), [evil])
    scene = Scene(
        f'"><img src=x onerror=alert(1)>{evil}',
        scene.image,
        objects,
        scene.grid,
        "test",
        {"dropped": [[evil, evil, 1, 1, 9, 9]]},
    )
    questions = [
        Question(evil, scene.id, "detection", {"label": evil}, tuple(objects.ids_N)),
        Question(evil + "2", scene.id, "vqa", {"question": evil}, answer_text=evil),
        Question(evil + "3", scene.id, evil, {}, answer_text=evil),
    ]
    with DatasetWriter(tmp_path / "data") as writer:
        writer.write("test", [scene], questions)
        writer.finish("")
    counts = {f"test: objects dropped, {evil}": 3, f"test: {evil}": 2}
    dataset = with_manifest(
        open_dataset(tmp_path / "data"), tmp_path / "copy", counts=counts, labels=[evil],
        problems={evil: {evil: [evil]}}, registration={evil: {"regions": evil}}, features={f"{evil}: {evil}": 1},
    )  # fmt: skip
    page = inspect(dataset, "test", 5, sight=GEOREFER).page
    assert page.count("<script") == 1 and "<img src=x" not in page and "&lt;script&gt;alert" in page


def test_the_page_needs_nothing_from_outside(turned):
    page = inspect(turned, "train", 2, sight=GEOREFER).page
    assert "Content-Security-Policy" in page and "default-src 'none'" in page
    assert not re.search(r"""(?:src|href)\s*=\s*["'](?!data:image/|#)""", page) and "http" not in page.replace(
        "http-equiv", ""
    )


def test_scenes_are_shown_with_their_own_picture_where_it_differs(turned, tiny):
    page = inspect(turned, "train", 2, sight=tiny).page
    assert page.count("what the model sees, 128 × 128") == page.count("the scene, 160 × 120") == 2
    # without a model the picture of this dialect is the scene itself
    page = inspect(turned, "train", 2, sight=GEOREFER).page
    assert "the scene, 160" not in page and "Token ids are not shown" in page


def test_tasks_choose_questions_and_scenes(turned):
    found = inspect(turned, "train", 2, tasks=["rec"], sight=GEOREFER)
    wanted = [q for q in turned.questions("train") if q.task == "rec"]
    assert 0 < found.compared < len(wanted) + 1 and 'data-task="rec"' in found.page
    assert set(re.findall(r'data-task="([^"]+)"', found.page)) == {"rec"}


def test_a_page_is_written_whole(turned, tmp_path):
    out = write_inspection(turned, "test", 1, tmp_path / "new" / "page.html", sight=GEOREFER)
    assert out.read_text().endswith("</html>") and [p.name for p in out.parent.iterdir()] == ["page.html"]


def test_an_empty_choice_is_a_page(turned):
    found = inspect(turned, "test", 0, sight=GEOREFER)
    assert found.compared == 0 and "No scene" in found.page


@pytest.mark.parametrize(
    ("options", "error", "says"),
    [
        ({"split": "val"}, DatasetError, "no split 'val'"),
        ({"tasks": ["boxes"]}, InputError, "no task 'boxes'"),
        ({"scenes": -1}, InputError, "-1 scenes"),
    ],
)
def test_wrong_choices_are_refused(options, error, says, turned):
    with pytest.raises(error, match=says):
        inspect(turned, **{"split": "train", "scenes": 2, "sight": GEOREFER, **options})


def test_without_the_packages_of_models_the_page_has_no_tokens(turned, monkeypatch):
    def missing(name):
        raise MissingExtra("running a model", "models")

    monkeypatch.setattr(module, "load_model", missing)
    sight, remark = sight_of()
    assert not sight.has_tokens and "georefer[models]" in remark
    assert "georefer[models]" in inspect(turned, "test", 1, sight=sight, remark=remark).page
    with pytest.raises(MissingExtra):
        sight_of("runs/mine/model")


@pytest.mark.parametrize(("model", "dialect", "says"), [("m", "georefer", "both"), (None, "klingon", "no dialect")])
def test_wrong_eyes_are_refused(model, dialect, says):
    with pytest.raises(InputError, match=says):
        sight_of(model, dialect)


def test_a_small_dataset_of_boxes(tmp_path, tiny):
    dataset = small_dataset(tmp_path / "data", 4)
    assert inspect(dataset, "test", 4, sight=tiny).differing == 0


def test_large_scenes_are_shown_smaller_in_their_own_pixels():
    image = encode_image(np.zeros((600, 3000, 3), np.uint8), "JPEG")
    objects = Objects.from_hbb(np.array([[2901, 501, 2991, 591]]), ["a"])
    scene = Scene("s", image, objects, GeoGrid.none(3000, 600), "test")
    question = Question("q", "s", "detection", {"label": "a"}, (scene.objects.ids_N[0],))
    shown = card(scene, [question], GEOREFER)
    assert (shown.seen.width, shown.seen.height) == (3000, 600) and len(shown.seen.data) < 30_000
    assert shown.asked[0].seen.startswith("M2991.00 501.00L") or "2901.00" in shown.asked[0].seen
