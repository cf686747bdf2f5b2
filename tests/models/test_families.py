"""Frames are what the processors really do: places are read back from the pixels that a model gets."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.data.checkpoints import KINDS
from transformers.image_utils import SizeDict
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil

from georefer.errors import InputError
from georefer.models.families import FAMILIES
from georefer.models.loading import load

SIZES = [
    (336, 336), (672, 672), (512, 512), (1024, 1024), (800, 600), (600, 800), (640, 480), (1000, 1000),
    (337, 335), (335, 337), (673, 671), (801, 599), (511, 767), (999, 1001), (321, 123), (123, 321),  # odd
    (200, 800), (150, 900), (300, 1200), (97, 1013),  # tall
    (800, 200), (900, 150), (1200, 300), (1013, 97),  # wide
    (1400, 20), (20, 1400), (1500, 9), (16, 1200), (1280, 32),  # a strip
    (28, 28), (14, 14), (56, 40), (40, 56), (20, 30), (64, 64), (10, 50), (1, 1), (2, 3), (5, 4),  # tiny
    (1300, 1100),
]  # fmt: skip


def ramps(size, lengths):
    """Red goes up and down along x, green along y, in ramps of these lengths; blue says that this is no padding.

    Several levels of colour to a pixel: a resampling in whole levels would hide parts of a pixel in a flatter one.
    """
    width, height = size
    image_HW3 = np.full((height, width, 3), 255, np.uint8)
    image_HW3[..., 0] = np.round(255 * triangle((np.arange(width) + 0.5) / lengths[0]))
    image_HW3[..., 1] = np.round(255 * triangle((np.arange(height)[:, None] + 0.5) / lengths[1]))
    return image_HW3


def triangle(places):
    return 1 - np.abs(places % 2 - 1)


def check_view(picture, frame, size, lengths):
    """The frame takes pixel centres of what the model sees to the places that their colours say."""
    high, wide = picture.shape[:2]
    assert (wide, high) == frame.size
    rows, columns = (np.unique(np.linspace(0, side - 1, 101).round().astype(int)) for side in (high, wide))
    picture = picture[rows][:, columns]
    centres_HW2 = np.stack(np.meshgrid(columns + 0.5, rows + 0.5), -1)
    xy_HW2 = frame.from_model(centres_HW2.reshape(-1, 2)).reshape(centres_HW2.shape)
    step_2 = np.array([frame.extent_width / wide, frame.extent_height / high])  # scene pixels per pixel seen
    # a resampled pixel mixes two neighbours of the coarser grid on either side: borders and tops say something else
    margin = 4 * np.maximum(step_2, 1)
    inside_HW = ((xy_HW2 > margin) & (xy_HW2 < np.array(size) - margin)).all(-1)
    if frame.rule == "crop":  # cut before it is resized: its own borders are borders too
        corner, end = np.array([frame.x, frame.y]), np.array([frame.extent_width, frame.extent_height])
        inside_HW &= ((xy_HW2 > corner + margin) & (xy_HW2 < corner + end - margin)).all(-1)
    outside_HW = ((xy_HW2 < -margin) | (xy_HW2 > np.array(size) + margin)).any(-1)
    assert (picture[inside_HW, 2] > 0.99).all() and (picture[outside_HW, 2] < 0.6).all()
    checked = 0
    for axis in (0, 1):
        place_HW, length = xy_HW2[..., axis], lengths[axis]
        on_ramp_HW = inside_HW & (np.abs((place_HW + length / 2) % length - length / 2) > margin[axis])
        error_N = (picture[..., axis] - triangle(place_HW / length))[on_ramp_HW] * length
        error_N = np.where(place_HW[on_ramp_HW] // length % 2, -error_N, error_N)
        if len(error_N):
            # rounded twice, and bicubic weights add to more than one
            largest, step = np.abs(error_N).max(), max(step_2[axis], 1)
            assert largest < 1.6 * length / 255 + 0.02 * step, (axis, largest)
            assert abs(error_N.mean()) < 0.1 * step, (axis, error_N.mean())
        checked += len(error_N)
    return checked


def check_frames(family, size):
    """How many pixels of all views were read back, none of them wrong."""
    frames = family.views(size)
    steps = np.array([(f.extent_width / f.width, f.extent_height / f.height) for f in frames]).max(0)
    lengths = np.maximum(48 * steps, 12)
    pictures = family.pictures(ramps(size, lengths))
    assert len(pictures) == len(frames), size
    return sum(check_view(p, f, size, lengths) for p, f in zip(pictures, frames, strict=True))


@pytest.mark.parametrize("kind", KINDS)
def test_frames_are_what_the_processor_does(loaded, kind):
    family = loaded(kind, true_size=True).family
    checked = [check_frames(family, size) > 0 for size in SIZES]
    assert len(SIZES) == 40 and sum(checked) >= 34  # in an image of a few pixels every pixel is a border


@pytest.mark.parametrize(
    ("settings", "rule"),
    [
        ({"size": SizeDict(shortest_edge=336)}, "centre crop"),  # the converted checkpoints
        ({"size": SizeDict(height=336, width=336)}, "resize"),  # GeoGround
        ({"size": SizeDict(shortest_edge=336), "do_pad": True}, "square padded"),  # the original
    ],
)
def test_llava_does_what_the_checkpoint_says(loaded, settings, rule):
    family = loaded("llava", true_size=True).family
    pictures = LlavaImageProcessorPil(size={"shortest_edge": 336}, crop_size={"height": 336, "width": 336})
    vars(pictures).update(settings)
    other = type(family)(family.model, SimpleNamespace(image_processor=pictures))
    assert other.views((800, 600))[0].rule == rule
    assert all(check_frames(other, size) for size in SIZES[:24])


@pytest.mark.parametrize(
    ("kind", "insisted", "most"),
    [
        ("gemma3", {"do_pan_and_scan": True, "pan_and_scan_min_crop_size": 60, "pan_and_scan_max_num_crops": 4,
                    "pan_and_scan_min_ratio_to_activate": 1.2}, 5),
        ("internvl", {"crop_to_patches": False}, 1),
        ("internvl", {"crop_to_patches": True, "min_patches": 2, "max_patches": 9}, 10),
        ("idefics3", {"do_image_splitting": False}, 1),
        ("idefics3", {"size": {"longest_edge": 900}}, 10),
    ],
)  # fmt: skip
def test_settings_of_the_processor_count(loaded, kind, insisted, most):
    own = loaded(kind, true_size=True).family
    family = type(own)(
        own.model, SimpleNamespace(image_processor=own.processor.image_processor, images_kwargs=insisted)
    )
    assert all(check_frames(family, size) for size in SIZES[:24])
    assert max(len(family.views(size)) for size in SIZES[:24]) == most


def test_llava_sees_another_side(checkpoint, tmp_path):
    """SkySenseGPT's 504 pixels: as transformers interpolates on demand, kept by the checkpoint."""
    folder = checkpoint("llava", true_size=True)
    model, plain = load(folder), load(folder)
    family = model.family
    family.interpolate_positions(504)
    model = replace(model, speech=family.speech())
    assert all(check_frames(family, size) for size in SIZES[:24])
    assert model.prefix((800, 600)).ids.count(family.image_token_id) == 1296
    pixels = family.pixels([ramps((800, 600), (40, 40))])["pixel_values"]
    assert pixels.shape[-2:] == (504, 504)
    model.save(tmp_path)
    again = load(tmp_path)
    with torch.inference_mode():
        tower = plain.family.bare.model.vision_tower
        expected = tower(pixels, interpolate_pos_encoding=True).last_hidden_state
        for one in (family, again.family):
            assert torch.equal(one.bare.model.vision_tower(pixels).last_hidden_state, expected)
        assert [len(f) for f in again.family.image_features({"pixel_values": pixels}).tokens] == [1296]
    assert again.frame_for((800, 600)) == model.frame_for((800, 600))
    assert again.prefix((9, 9)).ids == model.prefix((9, 9)).ids
    embedding = family.bare.model.vision_tower.embeddings.position_embedding.weight
    assert embedding.requires_grad and len(embedding) == 1297


@pytest.mark.parametrize(
    ("kind", "side", "message"),
    [("llava", 500, "multiple of 14"), ("llava", 0, "multiple of 14"), ("llava_next", 504, "a llava_next with"),
     ("qwen2_vl", 504, "a LLaVA-1.5 is expected")],
)  # fmt: skip
def test_sides_that_cannot_be_seen(loaded, kind, side, message):
    with pytest.raises(InputError, match=message):
        loaded(kind).family.interpolate_positions(side)


def test_qwen_refuses_strips(loaded):
    with pytest.raises(InputError, match="aspect limit"):
        loaded("qwen2_vl").frame_for((2010, 10))


def test_a_frame_that_is_off_is_seen(loaded):
    family = loaded("llava_next", true_size=True).family

    class Shifted:
        pictures = family.pictures

        def __init__(self, **by):
            self.by = by

        def views(self, size):
            return [replace(f, **{k: getattr(f, k) + v for k, v in self.by.items()}) for f in family.views(size)]

    assert check_frames(Shifted(x=0), (800, 600))
    for wrong in ({"x": 0.4}, {"y": -0.4}, {"extent_width": 2}):  # a base pixel is 2.4 x 1.8 scene pixels
        with pytest.raises(AssertionError):
            check_frames(Shifted(**wrong), (800, 600))


@pytest.mark.parametrize("kind", KINDS)
def test_there_are_as_many_features_as_placeholders(loaded, kind):
    model = loaded(kind)
    for width, height in SIZES:
        with torch.inference_mode():
            features = model.family.image_features(model.pixels([np.zeros((height, width, 3), np.uint8) + 90]))
        placeholders = model.prefix((width, height)).ids.count(model.family.image_token_id)
        assert [len(f) for f in features.tokens] == [placeholders], (width, height)


def test_every_family_has_a_checkpoint_to_be_tested_with():
    assert set(KINDS) == set(FAMILIES)
