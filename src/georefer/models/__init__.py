"""Models: images and prompts in, text out. One file per family, one line in the table."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from georefer.errors import MissingExtra
from georefer.models.base import Ask, Model
from georefer.models.fake import FakeModel

MODELS: dict[str, str] = {
    "tiny": "georefer.models.tiny_model:load",
}
"""Family to loader, "module:function"; a loader takes a folder or name and returns a Model."""

__all__ = ["MODELS", "Ask", "FakeModel", "Model", "load_model", "require_models"]


def require_models(capability: str) -> None:
    """MissingExtra where torch or transformers is not installed, said before anything is begun."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtra(capability, "models")


def load_model(name: str | Path, family: str = "tiny") -> Model:
    """The model in a folder or under a shipped name; CheckpointError says what is wrong with it."""
    require_models("running a model")
    module, function = MODELS[family].split(":")
    loader: Callable[[str | Path], Model] = getattr(import_module(module), function)
    return loader(name)
