"""Encoded images in memory: the bytes that lie in a dataset, to and from pixels."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from georefer.errors import RasterError

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
