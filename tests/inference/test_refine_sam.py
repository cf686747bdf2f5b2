"""SAM as a refiner: real loading and a real model with random weights; known masks come from a scripted decoder."""

import numpy as np
import pytest
import shapely
import torch
from transformers import SamConfig, SamModel, SamProcessor
from transformers.models.sam.image_processing_pil_sam import SamImageProcessorPil

from georefer.errors import CheckpointError
from georefer.geometry import Mask, Objects
from georefer.inference.refine import load_refiner
from georefer.inference.refine_sam import SamRefiner, SamSettings, coarse_logits, load, points_of, sam_frame

SCENE = (300, 500)
"""Width and height; 1024 / 500 makes 614.4 of the width, which SAM's processor cuts to 614."""

CELLS = 256


def small_sam(folder):
    """A SAM with random weights and the frames of the released ones, in its own format."""
    size = {"hidden_size": 16}
    torch.manual_seed(0)
    config = SamConfig(
        vision_config=size | {"output_channels": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "mlp_dim": 16,
                              "global_attn_indexes": [], "num_pos_feats": 8, "window_size": 8},
        prompt_encoder_config=size | {"mask_input_channels": 4},
        mask_decoder_config=size | {"mlp_dim": 16, "num_attention_heads": 2, "iou_head_hidden_dim": 16},
    )  # fmt: skip
    SamModel(config).save_pretrained(folder)
    SamProcessor(SamImageProcessorPil()).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    return small_sam(tmp_path_factory.mktemp("sam"))


@pytest.fixture(scope="module")
def sam(checkpoint):
    """Takes whatever SAM says."""
    return load(str(checkpoint), SamSettings(least_box_iou=0, least_mask_iou=0))


class ScriptedDecoder(torch.nn.Module):
    """Gives the same three masks for every object, each with its predicted IoU."""

    def __init__(self, grids, ious):
        super().__init__()
        self.logits_MCC = torch.tensor(np.where(grids, 8.0, -8.0), dtype=torch.float32)
        self.ious_M = torch.tensor(ious)
        self.rounds = 0

    def forward(self, image_embeddings, **_):
        self.rounds += 1
        count = len(image_embeddings)
        return self.logits_MCC.expand(count, 1, -1, -1, -1), self.ious_M.expand(count, 1, -1)


def scripted(checkpoint, grids, ious=(0.1, 0.9, 0.2), **settings):
    refiner = load(str(checkpoint), SamSettings(**settings))
    refiner.model.mask_decoder = ScriptedDecoder(np.array(grids), list(ious))
    return refiner


def cells(*boxes):
    """A grid with these boxes (column, row, end column, end row) set."""
    grid = np.zeros((CELLS, CELLS), dtype=bool)
    for x1, y1, x2, y2 in boxes:
        grid[y1:y2, x1:x2] = True
    return grid


def in_scene(scene, *boxes):
    """The same area in the pixels of a scene, cut off at its edge."""
    scale = 1024 / max(scene)
    steps = [4 * side / int(side * scale + 0.5) for side in scene] * 2
    parts = [shapely.box(*(np.array(box) * steps)) for box in boxes]
    return shapely.intersection(shapely.union_all(parts), shapely.box(0, 0, *scene))


def strayed(shape, truth, scene):
    """How many pixels more or less than the truth; those at its corners, which bilinear logits round, do not count."""
    got, expected = (Mask.of_geometry(g, (scene[1], scene[0])) for g in (shape, truth))
    assert got.area == pytest.approx(shape.area)  # the outline is that of whole pixels
    y, x = np.nonzero(got.dense() != expected.dense())
    corners = shapely.multipoints(shapely.get_coordinates(truth))
    return int((shapely.distance(corners, shapely.points(x + 0.5, y + 0.5)) > 1.5).sum())


def image_of(scene, seed=0):
    return np.random.default_rng(seed).integers(0, 256, (scene[1], scene[0], 3), dtype=np.uint8)


NOTHING = cells()


# --- frames ----------------------------------------------------------------------------------------------


def test_the_frame_is_what_the_processor_does(sam):
    rng = np.random.default_rng(3)
    sizes = [(300, 500), (500, 300), (1024, 1024), (1, 9), (2048, 1023), (128, 128), (1025, 7)]
    sizes += [tuple(int(s) for s in rng.integers(8, 1400, 2)) for _ in range(33)]
    for width, height in sizes:
        shown = sam.processor(np.full((height, width, 3), 255, np.uint8), return_tensors="np")
        down, across = shown["reshaped_input_sizes"][0]
        frame = sam_frame((width, height), (int(across), int(down)), 1024)
        lit = shown["pixel_values"][0][0] > 0  # padding is 0, white is above it
        ((right, bottom),) = frame.to_model(np.array([[width, height]]))
        assert lit.shape == (1024, 1024)
        assert (int(lit.any(0).sum()), int(lit.any(1).sum())) == (round(right), round(bottom)) == (across, down)
        assert frame.size == (1024, 1024)
        assert (frame.x, frame.y) == (0, 0)


def test_prompts_reach_sam_where_the_edges_are(sam):
    """What SAM embeds, after its own shift by half a pixel, is the edge in the padded square."""
    seen, frame = sam.see(image_of(SCENE))
    areas = Objects.of([shapely.box(12, 30, 90.5, 111)], ["a"], kind="hbb")
    prompts = sam.prompts(areas, [np.array([[20.0, 40.0]])], frame, False)
    embedded = []
    shared = sam.model.prompt_encoder.shared_embedding
    hook = shared.register_forward_pre_hook(lambda _, args: embedded.append(args[0].clone()))
    sam.masks(seen, frame, prompts)
    hook.remove()
    points, corners = (e.reshape(-1, 2).numpy() for e in embedded[-2:])
    scale = np.array([614 / 300, 1024 / 500])
    assert np.allclose(points, [[20, 40]] * scale, atol=1e-4)
    assert np.allclose(corners, [[12, 30], [90.5, 111]] * scale, atol=1e-4)


def test_pixel_numbers_of_the_processor_are_our_pixel_centres(checkpoint, sam):
    """At a scale of 1 both must be the same numbers; the processor takes the number of a pixel for its place."""
    image = image_of((1024, 700))
    processor = SamProcessor(SamImageProcessorPil())
    theirs = processor(image, input_boxes=[[[5, 6, 200, 300]]], return_tensors="pt")["input_boxes"]
    _, frame = sam.see(image)
    ours = sam.prompts(Objects.from_hbb([[5.5, 6.5, 200.5, 300.5]], ["a"]), [np.zeros((0, 2))], frame, False).boxes_K4
    assert np.allclose(theirs.numpy().ravel(), ours.ravel())


def test_masks_come_back_as_the_processor_brings_them(sam):
    torch.manual_seed(1)
    for width, height in [SCENE, (500, 300), (1300, 640), (90, 90)]:
        _, frame = sam.see(image_of((width, height)))
        # smooth, so that no pixel stands on the edge between set and not
        logits = torch.nn.functional.interpolate(torch.randn(2, 1, 9, 9), (CELLS, CELLS), mode="bicubic")[:, 0]
        down, across = int(height * 1024 / max(width, height) + 0.5), int(width * 1024 / max(width, height) + 0.5)
        theirs = sam.processor.post_process_masks([logits[None]], [(height, width)], [(down, across)])[0][0]
        assert torch.equal(sam._to_image(logits, frame), theirs)


@pytest.mark.parametrize(
    ("scene", "said"),
    [
        (SCENE, [(20, 30, 60, 90)]),  # high: padded on the right
        ((500, 300), [(20, 30, 60, 90)]),  # wide: padded below
        ((1024, 1024), [(100, 100, 140, 130)]),  # square: no padding, four pixels a cell
        ((128, 128), [(100, 100, 180, 164)]),  # enlarged
        (SCENE, [(20, 30, 60, 60), (20, 60, 40, 100)]),  # an L
    ],
)  # fmt: skip
def test_a_known_mask_comes_back_to_the_pixel(checkpoint, scene, said):
    truth = in_scene(scene, *said)
    refiner = scripted(checkpoint, [NOTHING, cells(*said), cells((0, 0, 256, 256))])
    found = refiner(image_of(scene), Objects.of([truth.buffer(2, join_style="mitre")], ["a"], kind="polygon"))
    assert list(found.kinds_N) == ["mask"]
    assert strayed(found.geometries_N[0], truth, scene) == 0


def test_the_coarse_mask_says_what_part_of_each_cell_is_covered():
    frame = sam_frame((256, 128), (1024, 512), 1024)  # a pixel a cell
    logits = coarse_logits(np.array([shapely.box(10, 20, 30.5, 40)], dtype=object), frame, CELLS)[0]
    assert logits.shape == (CELLS, CELLS)
    sure = np.log(0.999 / 0.001)
    assert np.allclose(logits[20:40, 10:30], sure)
    assert np.allclose(logits[20:40, 30], 0)  # half covered
    assert np.allclose(np.delete(logits, np.s_[20:40], axis=0), -sure)
    assert np.allclose(logits[:, 31:], -sure)
    # beyond the scene there is only padding, whatever the shape claims
    beyond = coarse_logits(np.array([shapely.box(200, 100, 400, 400)], dtype=object), frame, CELLS)[0]
    assert np.allclose(beyond[128:], -sure)
    assert np.allclose(beyond[100:128, 200:], sure)


# --- what is asked ---------------------------------------------------------------------------------------


def test_the_image_is_encoded_once_for_all_objects(checkpoint):
    refiner = scripted(checkpoint, [NOTHING, cells((20, 30, 60, 90)), NOTHING])
    encoded = []
    refiner.model.vision_encoder.register_forward_hook(lambda *_: encoded.append(1))
    boxes_N4 = np.tile([30, 40, 90, 120], (40, 1)) + np.arange(40)[:, None]
    objects = Objects.of(list(shapely.box(*boxes_N4.T)), ["a"] * 40, kind=["hbb", "polygon"] * 20)
    found = refiner(image_of(SCENE), objects)
    assert len(found) == 40
    assert len(encoded) == 1
    assert refiner.model.mask_decoder.rounds == 4  # 20 boxes and 20 polygons, up to 16 at once
    refiner(image_of(SCENE), Objects.of([shapely.Point(3, 3)], ["a"], kind="point"))
    assert len(encoded) == 1  # nothing to ask


def test_each_object_gets_the_answer_to_its_own_prompt(sam):
    """A random SAM says other things of other prompts; asked one by one it says the same as asked together."""
    shapes = [shapely.box(10, 20, 100, 90), shapely.Polygon([(50, 50), (150, 60), (120, 160)]),
              shapely.box(200, 300, 280, 420), shapely.Polygon([(10, 310), (90, 330), (40, 400)])]  # fmt: skip
    objects = Objects.of(
        [*shapes, shapely.Point(30, 30)], ["a"] * 5, kind=["hbb", "polygon", "hbb", "polygon", "point"]
    )
    seen, frame = sam.see(image_of(SCENE))
    together = sam(image_of(SCENE), objects)
    ious = [a["sam_iou"] for a in together.attributes_N[:4]]
    for i in range(4):
        others = [i, 4] if i == 0 else [i]  # the point is said of the first box
        alone = sam(image_of(SCENE), objects[others])
        assert alone.attributes_N[0]["sam_iou"] == pytest.approx(ious[i], abs=2e-4)
    areas, none = objects[[1, 3]], [np.zeros((0, 2))] * 2
    logits = [sam._decode(seen, sam.prompts(areas, none, frame, coarse))[0] for coarse in (True, False)]
    assert not torch.allclose(logits[0], logits[1])  # the coarse mask is heard
    pointed = sam._decode(seen, sam.prompts(areas, [np.array([[60.0, 60.0]]), none[0]], frame, False))[0]
    assert not torch.allclose(pointed[0], logits[1][0])  # and so is a point
    assert torch.allclose(pointed[1], logits[1][1], atol=1e-3)  # beside which an object without one stays as it was


def test_points_are_said_of_the_one_area_they_lie_in():
    shapes = [shapely.box(0, 0, 10, 10), shapely.box(8, 0, 20, 10), shapely.Point(2, 2), shapely.Point(9, 5),
              shapely.Point(15, 5), shapely.Point(16, 5), shapely.Point(50, 50)]  # fmt: skip
    objects = Objects.of(shapes, ["car", "car", "car", "car", "ship", "", "car"], kind=["hbb"] * 2 + ["point"] * 5)
    said = points_of(objects)
    assert {k: v.tolist() for k, v in said.items()} == {
        0: [[2, 2]],
        1: [[16, 5]],
    }  # (9, 5) lies in both; ship is no car


def test_the_mask_with_the_best_predicted_iou_counts(checkpoint):
    one, other = (20, 30, 60, 90), (22, 30, 60, 90)
    for ious, said in [((0.5, 0.7, 0.9), other), ((0.5, 0.9, 0.7), one)]:
        refiner = scripted(checkpoint, [NOTHING, cells(one), cells(other)], ious)
        found = refiner(image_of(SCENE), Objects.of([in_scene(SCENE, one)], ["a"], kind="hbb"))
        assert strayed(found.geometries_N[0], in_scene(SCENE, said), SCENE) == 0
        assert found.attributes_N[0] == {"sam_iou": 0.9, "refined_by": "sam"}


# --- what is taken ---------------------------------------------------------------------------------------


SAID = (40, 40, 80, 80)


@pytest.mark.parametrize(
    ("kind", "mask", "why"),
    [
        ("hbb", [SAID], None),
        ("polygon", [SAID], None),
        ("hbb", [(44, 44, 76, 76)], None),  # bounds agree to 0.64
        ("hbb", [(46, 46, 75, 75)], "other bounds"),  # to 0.53
        ("hbb", [(40, 40, 80, 120)], "other bounds"),  # twice as high
        ("hbb", [(120, 120, 150, 150)], "empty there"),  # elsewhere
        ("hbb", [], "empty there"),
        ("hbb", [(40, 40, 80, 44), (40, 44, 44, 80)], None),  # an L has the box's bounds, and a box says no more
        ("polygon", [(40, 40, 80, 44), (40, 44, 44, 80)], "something else"),  # but is not the area that was said
        ("hbb", [SAID, (120, 120, 150, 150)], None),  # a part elsewhere is dropped
    ],
)  # fmt: skip
def test_a_mask_is_taken_only_if_it_agrees(checkpoint, kind, mask, why):
    refiner = scripted(checkpoint, [NOTHING, cells(*mask), NOTHING])
    asked = Objects.of([in_scene(SCENE, SAID)], ["a"], kind=kind)
    found = refiner(image_of(SCENE), asked)
    attributes = found.attributes_N[0]
    if why is None:
        near = [m for m in mask if m[0] < 100]
        assert strayed(found.geometries_N[0], in_scene(SCENE, *near), SCENE) == 0
        assert attributes["refined_by"] == "sam"
    else:
        assert why in attributes["kept_because"]
        assert found.kinds_N[0] == kind
        assert found.geometries_N[0] is asked.geometries_N[0]


def test_limits_are_settings(checkpoint):
    asked = Objects.of([in_scene(SCENE, SAID)], ["a"], kind="polygon")
    for settings, taken in [({}, False), ({"least_mask_iou": 0.1}, True), ({"least_box_iou": 1.0}, False)]:
        refiner = scripted(checkpoint, [NOTHING, cells((40, 40, 80, 44), (40, 44, 44, 80)), NOTHING], **settings)
        assert ("refined_by" in refiner(image_of(SCENE), asked).attributes_N[0]) == taken
    with pytest.raises(ValueError, match="0 to 1"):
        SamSettings(least_box_iou=1.5)


def test_everything_but_the_shape_stays(checkpoint):
    refiner = scripted(checkpoint, [NOTHING, cells(SAID), NOTHING])
    bow_tie = shapely.Polygon([(0, 0), (50, 50), (50, 0), (0, 50)])
    outside = shapely.box(400, 400, 450, 450)
    shapes = [outside, in_scene(SCENE, SAID), shapely.LineString([(0, 0), (9, 9)]), bow_tie, in_scene(SCENE, SAID)]
    objects = Objects.of(
        shapes, ["a", "b", "c", "d", "e"], kind=["hbb", "polygon", "line", "polygon", "obb"], ids=list("vwxyz"),
        scores=[0.5, None, 0.1, 0.2, 0.9], attributes=[{"seen": i} for i in range(5)],
    )  # fmt: skip
    found = refiner(image_of(SCENE), objects)
    assert list(found.ids_N) == list("vwxyz")
    assert list(found.labels_N) == ["a", "b", "c", "d", "e"]
    assert np.array_equal(found.scores_N, objects.scores_N, equal_nan=True)
    assert [a["seen"] for a in found.attributes_N] == [0, 1, 2, 3, 4]
    assert ["refined_by" in a for a in found.attributes_N] == [False, True, False, False, True]
    assert found.attributes_N[0]["kept_because"] == "it lies outside the image"
    assert found.attributes_N[2]["kept_because"] == "a line bounds no area"
    # once more: what was said of the first refinement is not said of the second
    again = refiner(image_of(SCENE), found)
    assert all(("refined_by" in a) != ("kept_because" in a) for a in again.attributes_N)
    assert len(refiner(image_of(SCENE), Objects.none())) == 0


# --- loading ---------------------------------------------------------------------------------------------


def test_a_checkpoint_is_loaded_by_name(checkpoint):
    assert isinstance(load_refiner(f"sam:{checkpoint}"), SamRefiner)


def test_a_wrong_checkpoint_says_what_is_wrong(tmp_path, checkpoint):
    with pytest.raises(CheckpointError, match="does not give a SAM"):
        load(str(tmp_path / "nowhere"))
    # weights that only unpickling would read are not read
    pickled = small_sam(tmp_path / "pickled")
    weights = SamModel.from_pretrained(pickled).state_dict()
    (pickled / "model.safetensors").unlink()
    torch.save(weights, pickled / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="does not give a SAM"):
        load(str(pickled))
    # a checkpoint with a part left out would be filled up at random
    partial = tmp_path / "partial"
    SamModel.from_pretrained(checkpoint).save_pretrained(
        partial, state_dict={k: v for k, v in weights.items() if "mask_decoder.iou_token" not in k}
    )
    SamImageProcessorPil().save_pretrained(partial)
    with pytest.raises(CheckpointError, match="iou_token"):
        load(str(partial))
