"""Image-once packing against one question per row: same loss, same gradients, how much less work?

Prints one ratio per number of questions an image, both ways timed in turn in one process on this machine.
"""

from __future__ import annotations

import statistics
import time

import numpy as np
import torch

from georefer.models.tiny import TinySettings, create_tiny, encode_segment, image_prefix, images_to_pixels
from georefer.training.packing import Segment, forward_packed, pack, packed_loss

IMAGES, REPEATS = 4, 3
QUESTION, ANSWER = "Where is the red roofed building?", "[12, 40, 60, 88]"


def main() -> None:
    torch.manual_seed(0)
    tiny = create_tiny(TinySettings(), [f"{QUESTION} {ANSWER}"])
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (128, 128, 3), dtype=np.uint8) for _ in range(IMAGES)]
    segment = Segment(*encode_segment(tiny.tokenizer, QUESTION, ANSWER))
    print(f"{torch.get_num_threads()} threads, {IMAGES} images, medians of {REPEATS}")
    for questions in (1, 8, 40):
        packed = [[segment] * questions for _ in images]
        single = [[segment] for _ in images for _ in range(questions)]
        repeated = [image for image in images for _ in range(questions)]
        times: dict[str, list[float]] = {"packed": [], "single": []}
        for _ in range(REPEATS):  # in turn, so that a busy machine slows both
            times["packed"].append(step_seconds(tiny, packed, images))
            times["single"].append(step_seconds(tiny, single, repeated))
        one, other = statistics.median(times["packed"]), statistics.median(times["single"])
        print(f"{questions:>3} questions an image: {other / one:.1f}x  ({other:.3f} s -> {one:.3f} s a step)")


def step_seconds(tiny, rows, images) -> float:
    """Seconds of one forward and backward pass, image encoding included."""
    tiny.model.eval()  # batch statistics would differ between the two ways
    started = time.perf_counter()
    pixels = images_to_pixels(images, 128)
    batch = pack(image_prefix(tiny), rows, pad_id=tiny.tokenizer.pad_token_id, pixels_I3HW=pixels)
    logits, _ = forward_packed(tiny.model, batch)
    packed_loss(logits, batch).backward()
    tiny.model.zero_grad()
    return time.perf_counter() - started


if __name__ == "__main__":
    main()
