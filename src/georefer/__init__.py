"""Ask overhead imagery for places in words and get map layers back.

The names below are the whole front door; each loads its room on first use, so that `import georefer` is light
and needs neither torch nor transformers.
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "Dataset": "georefer.scenes",
    "Frame": "georefer.geometry",
    "GeoGrid": "georefer.geometry",
    "Objects": "georefer.geometry",
    "Question": "georefer.scenes",
    "Scene": "georefer.scenes",
    "ask": "georefer.inference.ask",
    "build": "georefer.building.build",
    "evaluate": "georefer.evaluation",
    "load_model": "georefer.models",
    "load_settings": "georefer.config",
    "open_dataset": "georefer.scenes",
    "open_imagery": "georefer.imagery.raster",
    "score_answers": "georefer.evaluation",
    "sft": "georefer.training.sft",
    "sweep": "georefer.inference.sweep",
    "synthesize": "georefer.building.synthetic",
}

__all__ = [*sorted(_HOMES), "__version__"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"georefer has no '{name}'; it has: {', '.join(__all__)}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
