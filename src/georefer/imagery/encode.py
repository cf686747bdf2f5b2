"""Encoded images in memory: the bytes that lie in a dataset, to and from pixels."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image

from georefer.errors import RasterError

MAX_BYTES = 256 << 20
"""Largest file that is read whole as an encoded image."""

MAX_PIXELS = 64_000_000
"""Largest image that is decoded; a few bytes of a crafted file can ask for gigabytes."""


def encode_image(image_HW3: np.ndarray, format: str = "PNG") -> bytes:
    """RGB uint8 pixels to the bytes of a PNG (exact) or JPEG (quality 92)."""
    buffer = io.BytesIO()
    options = {"quality": 92} if format == "JPEG" else {"compress_level": 4}
    Image.fromarray(image_HW3).save(buffer, format, **options)
    return buffer.getvalue()


def decode_image(data: bytes) -> np.ndarray:
    """PNG or JPEG bytes to RGB uint8 pixels (height, width, 3)."""
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise RasterError(
                    f"an encoded image of {image.width}x{image.height} pixels was found where at most "
                    f"{MAX_PIXELS:,} pixels are expected; cut it into smaller scenes"
                )
            return np.asarray(image.convert("RGB"))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RasterError(
            f"{len(data)} bytes that are no readable PNG or JPEG were found where an image is expected "
            f"({error}); build the dataset again"
        ) from error


def as_encoded(path: Path) -> tuple[bytes, tuple[int, int]]:
    """A picture file as a dataset stores it, and its (width, height): PNG and JPEG byte for byte, others as PNG.

    For pictures of eight bits such as published benchmarks have; imagery with more bits or a georeference is
    `open_imagery`'s. RasterError for what cannot be decoded.
    """
    try:
        with path.open("rb") as file:
            data = file.read(MAX_BYTES + 1)
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG", "TIFF", "BMP", "WEBP")) as image:
            size, format = image.size, image.format
            if len(data) > MAX_BYTES or size[0] * size[1] > MAX_PIXELS:
                raise RasterError(
                    f"{path} has {size[0]}x{size[1]} pixels where at most {MAX_PIXELS:,} are expected; cut it smaller"
                )
            image.load()
            if format not in ("PNG", "JPEG"):
                data = encode_image(np.asarray(image.convert("RGB")))
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise RasterError(f"{path} is no readable picture ({error}); give the images as published") from error
    return data, size
