"""The tiny model behind georefer's Model contract: its frame, its dialect, its answers."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from safetensors import SafetensorError

from georefer.dialects import DIALECTS, Dialect
from georefer.errors import CheckpointError
from georefer.geometry import Frame
from georefer.models.base import Ask
from georefer.models.tiny import SETTINGS_FILE, Tiny, generate_answers, load_tiny

SHIPPED = Path(__file__).parent / "checkpoints"
"""Checkpoints that come with georefer; each holds a model card."""


@dataclass(frozen=True, eq=False)
class TinyModel:
    """Images are stretched to a square; numbers count the pixels of that square."""

    tiny: Tiny
    name: str = "tiny"
    dialect: Dialect = field(default_factory=lambda: DIALECTS["georefer"])

    def frame_for(self, size: tuple[int, int]) -> Frame:
        side = self.tiny.settings.image_size
        return Frame.resize(size, (side, side), self.tiny.settings.numbers)

    def generate(self, asks: Sequence[Ask], max_new_tokens: int = 256) -> list[str]:
        """Greedy answers in the order asked; asks that share an image object share its encoding."""
        images, prompts = [a.image_HW3 for a in asks], [a.prompt for a in asks]
        return generate_answers(self.tiny, images, prompts, max_new_tokens)


def open_tiny(name: str | Path) -> Tiny:
    """The tiny model in a folder, or shipped under a name; CheckpointError where it is neither."""
    folder = Path(name)
    if not folder.is_dir() and (SHIPPED / str(name)).is_dir():
        folder = SHIPPED / str(name)
    if not (folder / SETTINGS_FILE).is_file():
        shipped = ", ".join(sorted(p.name for p in SHIPPED.glob("*/"))) or "none"
        raise CheckpointError(
            f"{name} holds no {SETTINGS_FILE}, so it is no tiny model; give the folder 'model' of a training run "
            f"or a shipped checkpoint ({shipped})"
        )
    try:
        return load_tiny(folder)
    except (OSError, ValueError, KeyError, TypeError, RuntimeError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder} does not load as a tiny model ({_first_line(error)}); its files belong together, train or "
            "copy it again"
        ) from error


def _first_line(error: Exception) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


def load(name: str | Path) -> TinyModel:
    """What `georefer.load_model` calls; the name tells weights apart, so kept answers never mix two models."""
    tiny = open_tiny(name)
    return TinyModel(tiny, name=f"tiny-{_weights_digest(tiny)}")


def _weights_digest(tiny: Tiny) -> str:
    digest = hashlib.sha256()
    for key, tensor in sorted(tiny.model.state_dict().items()):
        digest.update(key.encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()[:8]
