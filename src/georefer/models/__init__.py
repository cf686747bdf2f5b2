"""Models: images and prompts in, text out. One file per family, one line in the table."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from georefer.errors import MissingExtra
from georefer.models.base import Ask, Model
from georefer.models.fake import FakeModel

MODELS: dict[str, str] = {
    "tiny": "georefer.models.tiny:load",
    "transformers": "georefer.models.loading:load",
    "http": "georefer.models.http:load",
}
"""Kind to loader, "module:function"; a loader takes a folder, a name or an address and returns a Model."""

__all__ = ["MODELS", "Ask", "FakeModel", "Model", "load_model", "require_models"]


def require_models(capability: str) -> None:
    """MissingExtra where torch or transformers is not installed, said before anything is begun."""
    if find_spec("torch") is None or find_spec("transformers") is None:
        raise MissingExtra(capability, "models")


def load_model(name: str | Path, family: str | None = None, **settings: Any) -> Model:
    """The model in a folder, under a shipped name, a hub id or an address; CheckpointError says what is wrong with it.

    `family` is a key of MODELS, left out: seen from what is there. A checkpoint of transformers takes `dialect` (a
    name in georefer.dialects) and `system` (a sentence before the conversation). An address is that of an
    OpenAI-compatible server, "http://host:8000/v1#model"; its settings are those of `georefer.models.http`.
    """
    kind = family or _kind(name)
    if kind != "http":
        require_models("running a model")
    module, function = MODELS[kind].split(":")
    model: Model = getattr(import_module(module), function)(name, **settings)
    return model


def _kind(name: str | Path) -> str:
    if str(name).lower().startswith(("http://", "https://")):
        return "http"
    folder = Path(name)
    if folder.is_dir():
        return "transformers" if _is_transformers(folder) else "tiny"
    # a hub id is owner/name; what looks like it in a folder that is here is a path with an error in it
    is_hub_id = str(name).count("/") == 1 and str(name)[0] not in "./~" and not folder.parent.is_dir()
    return "transformers" if is_hub_id else "tiny"


def _is_transformers(folder: Path) -> bool:
    named = any((folder / name).is_file() for name in ("config.json", "adapter_config.json"))
    looks_like_one = named or any(folder.glob("*.safetensors"))
    return looks_like_one and not (folder / "tiny.json").is_file()
