"""Recipes of builds: what `recipes/*/build.toml` may say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from georefer.building.chips import PlaceSettings, SplitSettings
from georefer.building.evidence import EvidenceSettings
from georefer.building.layers import LayerSettings
from georefer.building.phrases import PhraseSettings
from georefer.building.registration import RegistrationSettings
from georefer.building.relations import RelationSettings
from georefer.building.stac import StacSettings
from georefer.building.targets import TargetSettings
from georefer.tasks import TASKS


@dataclass(frozen=True)
class AskSettings:
    """How much is asked of each scene."""

    tasks: tuple[str, ...] = ("rec", "detection", "presence")
    absent: int = 2
    """Classes that are not there, asked about per scene."""
    per_task: Mapping[str, int] = field(default_factory=lambda: {"rec": 12})
    """At most so many questions of a task per scene."""
    think: bool = False
    """Whether answers bring the reasoning that leads to them, in dialects that think aloud before they answer."""


@dataclass(frozen=True)
class Source:
    """Where the pixels come from, for the card and every scene."""

    name: str = "unnamed"
    licence: str = "unknown"
    attribution: str = ""


@dataclass(frozen=True)
class BuildSettings:
    """A build recipe; see `recipes/*/build.toml`."""

    imagery: tuple[Path | str, ...]
    """Rasters, folders or patterns of them, or http addresses of GeoTIFFs, that make up the area."""
    layers: tuple[LayerSettings, ...]
    apart: bool = False
    """Whether each raster is an area of its own (plots, cities), with a grid, stretch and scenes named after its file.
    In the path of a layer, "{name}" then stands for that name; an area without such a file has none of that layer."""
    bands: tuple[int, ...] = (1, 2, 3)
    """1-based bands shown as red, green and blue; a single one is shown as grey."""
    stretch: tuple[tuple[float, float], ...] | None = None
    """(low, high) of each band, shown as black and white; left out: measured on each area that is not 8-bit."""
    chip_px: int = 128
    gsd_m: float | None = None
    """Ground size of a chip pixel, metres; left out: the imagery's own."""
    orientations: int = 1
    """Turned and mirrored copies of each training chip (1 to 8); what is asked is phrased anew for each."""
    min_valid: float = 0.95
    """Share of a chip's pixels that must hold imagery."""
    keep_empty: float = 0.3
    """Share of chips without any target that are kept; absence is worth asking about, but not all day."""
    place: PlaceSettings = field(default_factory=PlaceSettings)
    split: SplitSettings = field(default_factory=SplitSettings)
    targets: TargetSettings = field(default_factory=TargetSettings)
    taxonomy: Literal["groundset"] | Path | None = None
    """A ready taxonomy by name, or a file of one, for layers without a mapping that brings its own."""
    phrases: PhraseSettings = field(default_factory=PhraseSettings)
    relations: RelationSettings | None = None
    """What objects are to each other, found on the whole area before it is cut; left out: no relations."""
    evidence: EvidenceSettings = field(default_factory=EvidenceSettings)
    """Headings and lines for relations that need them."""
    registration: RegistrationSettings | None = None
    """How far labels lie from what the imagery shows, reported in the manifest; left out: not looked for."""
    stac: StacSettings | None = None
    """A STAC catalogue beside the tables; left out: none."""
    ask: AskSettings = field(default_factory=AskSettings)
    source: Source = field(default_factory=Source)
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.orientations <= 8:
            raise ValueError(f"orientations is {self.orientations}; expected 1 to 8")
        if self.split.by == "area" and not self.apart:
            raise ValueError('split.by is "area" for a recipe of one area; say apart = true or split by block')
        if unknown := set(self.ask.tasks) - set(TASKS):
            raise ValueError(f"unknown tasks {sorted(unknown)}; known: {', '.join(TASKS)}")
