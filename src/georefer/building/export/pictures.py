"""Pictures as they go out: a name that is safe everywhere, and bytes that everybody sees alike."""

from __future__ import annotations

import hashlib
import io
import re
from dataclasses import dataclass

import numpy as np
from PIL import Image

from georefer.errors import InputError
from georefer.imagery.encode import decode_image, encode_image
from georefer.scenes import Scene

MAX_STEM = 80
_UNSAFE = re.compile(r"[^A-Za-z0-9_-]+")
_DEVICES = re.compile(r"(?i)(?:con|prn|aux|nul|com[0-9]|lpt[0-9])")
_ORIENTATION = 274
"""EXIF's tag for pictures that are to be turned before they are shown."""


@dataclass(frozen=True, eq=False)
class Picture:
    """An encoded image: `path` is relative to the export's folder, with forward slashes; `form` is png or jpeg."""

    path: str
    data: bytes
    form: str

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]

    @property
    def stem(self) -> str:
        return self.name.rsplit(".", 1)[0]


class Names:
    """A file stem for every scene: its id where that is plain, else what is plain of it and a hash.

    Stems hold no dot (WebDataset ends a key there), nothing that a file system or a text format minds, and differ in
    more than case. They depend on the ids and their order only.
    """

    def __init__(self) -> None:
        self._ids: set[tuple[str, str]] = set()
        self._stems: set[str] = set()

    def take(self, split: str, scene_id: str) -> str:
        """The stem of a scene; InputError for a second scene of that id in the split."""
        if (split, scene_id) in self._ids:
            raise InputError(f"two scenes of the split {split} have the id {scene_id[:200]!r}; build the dataset again")
        self._ids.add((split, scene_id))
        plain = _UNSAFE.sub("_", scene_id)[:MAX_STEM].lstrip("-") or "scene"
        stem, tries = plain, 0
        while stem.casefold() in self._stems or _DEVICES.fullmatch(stem) or (plain != scene_id and not tries):
            text = f"{split}/{scene_id}" + (f"/{tries}" if tries else "")
            stem = f"{plain}-{hashlib.sha256(text.encode(errors='surrogatepass')).hexdigest()[:12]}"
            tries += 1
        self._stems.add(stem.casefold())
        return stem


def picture_of(scene: Scene, split: str, names: Names, wanted: str | None) -> Picture:
    """The scene's image, byte for byte where it is of the wanted form (png, jpeg, None: either) already.

    A picture that says it must be turned is written anew without saying so: objects lie on its pixels as they are.
    """
    form = "jpeg" if scene.image[:2] == b"\xff\xd8" else "png"
    data, wanted = scene.image, wanted or form
    if form != wanted or _is_turned(data):
        data = encode_image(np.asarray(decode_image(data)), wanted.upper())
    stem = names.take(split, scene.id)
    return Picture(f"images/{split}/{stem}.{'jpg' if wanted == 'jpeg' else 'png'}", data, wanted)


def mask_png(mask_HW: np.ndarray) -> bytes:
    """A mask as a grey PNG, 255 where it is set."""
    buffer = io.BytesIO()
    Image.fromarray(np.where(mask_HW, 255, 0).astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def _is_turned(data: bytes) -> bool:
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            return image.getexif().get(_ORIENTATION, 1) not in (0, 1)
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(
            f"{len(data)} bytes that are no readable PNG or JPEG ({error}) were found where a scene's image is "
            "expected; build the dataset again"
        ) from error
