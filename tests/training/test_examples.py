"""Which models image tokens can be taught to speak in, and that the grid they are put on is the one they lie on."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from tests.data.checkpoints import build

from georefer.errors import ConfigError
from georefer.geometry import GeoGrid, Objects
from georefer.models.loading import load
from georefer.models.tiny import TinySettings, create_tiny
from georefer.scenes import Scene
from georefer.training.alignment import AlignmentLoss
from georefer.training.examples import Aligner

SIZE = (130, 70)
GRIDS = {
    "llava": (4, 4),
    "qwen2_vl": (5, 2),
    "qwen2_5_vl": (5, 2),
    "qwen3_vl": (4, 2),
    "gemma3": (2, 2),
    "paligemma": (4, 4),
}


@pytest.fixture(scope="module")
def loaded(tmp_path_factory):
    @cache
    def model(kind):
        if kind == "tiny":
            settings = TinySettings(
                image_size=32, numbers=32, width=32, heads=2, text_layers=1, text_mlp=32, stem_widths=(8, 8, 16),
                stem_blocks=(0, 0, 0),
            )  # fmt: skip
            made = create_tiny(settings, ["where is the red ship? [1, 2, 3, 4]"])
            made.family.model.eval()
            return made
        made = load(build(kind, tmp_path_factory.mktemp("checkpoints") / kind))
        if kind in ("llava", "gemma3"):
            # as the released checkpoints do, whose small stand-ins have tokens such as "12"
            made.speech.tokenizer.add_tokens(list("0123456789"))
        return made

    return model


def scene(boxes, size=SIZE):
    objects = Objects.from_hbb(np.array(boxes, float).reshape(-1, 4), ["ship"] * len(boxes))
    return Scene("one", b"", objects, GeoGrid.none(*size), "train")


@pytest.mark.parametrize("kind", GRIDS)
def test_the_cell_of_the_grid_is_the_part_of_the_image_that_its_token_shows(loaded, kind):
    """Tokens change most, all of them weighed together, where the targets name them for an object that appears."""
    model = loaded(kind)
    aligner, family = Aligner(model), model.family
    columns, rows = GRIDS[kind]
    frame, rng = family.views(SIZE)[0], np.random.default_rng(0)
    change_CT = np.zeros((rows * columns, rows * columns))
    for cell in range(rows * columns):
        row, column = divmod(cell, columns)
        box = frame.from_numbers(np.array([[column, row], [column + 1, row + 1]]), (columns, rows)).ravel()
        left, top, right, bottom = np.clip(box, 0, [*SIZE, *SIZE]).round().astype(int)
        assert aligner.targets(scene([[left, top, right, bottom]])).token_K.tolist() == [cell]
        images = np.full((5, SIZE[1], SIZE[0], 3), 128, np.uint8)
        images[1:, top:bottom, left:right] = rng.integers(0, 256, (4, bottom - top, right - left, 3))
        with torch.no_grad():
            plain_TD, *marked = family.image_features(family.pixels(list(images))).tokens
        change_CT[cell] = sum((marked_TD - plain_TD).norm(dim=-1) for marked_TD in marked)
    assert linear_sum_assignment(-np.log(change_CT))[1].tolist() == list(range(rows * columns))


@pytest.mark.parametrize(
    ("kind", "places", "box", "numbers"),
    [
        ("tiny", 1, [0, 0, 65, 70], [0, 0, 16, 32]),  # a token for each number of the frame
        ("llava", 5, [30, 0, 65, 70], [0, 0, 50, 100]),  # hundredths of the middle square
        ("qwen2_5_vl", 5, [0, 0, 65, 70], [0, 0, 70, 56]),  # pixels of the resized image
        ("qwen3_vl", 5, [0, 0, 65, 70], [0, 0, 500, 1000]),  # thousandths
        ("paligemma", 1, [0, 0, 65, 70], [0, 0, 512, 1023]),  # a token for each place, <loc0512>
    ],
)
def test_numbers_are_those_that_the_dialect_says(loaded, kind, places, box, numbers):
    aligner = Aligner(loaded(kind))
    assert aligner.number_ids.places == places
    targets = aligner.targets(scene([box]))
    assert np.unique(targets.box_K4, axis=0).tolist() == [numbers]
    said = aligner.tokenizer.convert_ids_to_tokens(list(aligner.number_ids.ids))
    assert said[7] == ("<loc0007>" if kind == "paligemma" else "7") and len(said) == len(set(said))
    assert targets.words_K and all(words for words in targets.words_K)


@pytest.mark.parametrize("kind", ["tiny", "qwen2_5_vl"])
def test_the_loss_of_images_of_any_shape_reaches_the_tower(loaded, kind):
    model = loaded(kind)
    aligner, family = Aligner(model), model.family
    sizes = [SIZE, (60, 90), (64, 64)]
    targets = [aligner.targets(scene([[5, 5, 40, 50], [30, 20, 33, 22]], size)) for size in sizes]
    targets.append(aligner.targets(scene([])))
    images = [np.random.default_rng(0).integers(0, 256, (h, w, 3), np.uint8) for w, h in [*sizes, SIZE]]
    loss = AlignmentLoss(family, aligner.number_ids, seed=0)
    family.model.zero_grad()
    sums = loss.sums(family.image_features(family.pixels(images)).tokens, targets)
    assert all(total > 0 for total in sums.values())
    sum(sums.values()).backward()
    reached = [name for name, p in family.bare.named_parameters() if p.grad is not None and p.grad.norm() > 0]
    assert any(family.part_of(name) == "vision" for name in reached)
    assert loss.slots.maps_5DD.grad.flatten(1).norm(dim=1).min() > 0


@pytest.mark.parametrize("kind", ["llava_next", "idefics3", "florence2"])
def test_models_without_one_grid_are_refused(loaded, kind):
    with pytest.raises(ConfigError, match=r"one picture under one grid .* Qwen's"):
        Aligner(loaded(kind))


def test_an_image_that_comes_in_tiles_is_refused_by_its_size(loaded):
    """InternVL shows a small square in one tile and this in several: known before the first step."""
    aligner = Aligner(loaded("internvl"))
    with pytest.raises(ConfigError, match=r"130 x 70 pixels in \d pictures"):
        aligner.targets(scene([[0, 0, 9, 9]]))


def test_tokens_of_several_digits_are_refused(tmp_path):
    model = load(build("qwen2_vl", tmp_path / "model"))
    model.speech.tokenizer.add_tokens(["40"])
    with pytest.raises(ConfigError, match="tokens of several digits"):
        Aligner(model)
