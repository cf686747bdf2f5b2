"""What a synthetic area is made of: features with their attributes and the little a painter needs besides."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from shapely.geometry import LineString, Polygon
from shapely.geometry.base import BaseGeometry

from georefer.building.synthetic.outlines import ORIGIN, Pose

RGB = tuple[float, float, float]

COUNTABLE = ("buildings", "tanks", "planes", "ships", "vehicles", "pools", "courts")
LAYERS = (*COUNTABLE, "fields", "water", "trees", "roads", "docks", "areas")


@dataclass(frozen=True)
class Wing:
    """One straight part of a roof: its ridge runs along the heading."""

    pose: Pose
    length_m: float
    width_m: float


@dataclass(frozen=True)
class Look:
    """How a feature is painted: its colour, height (for shadow) and, by kind, its parts.

    `form` names the variant (gable, hip, flat, jet, light, barge, ...), `detail` seeds the small things.
    """

    rgb: RGB
    height_m: float = 0.0
    form: str = ""
    pose: Pose = ORIGIN
    length_m: float = 0.0
    width_m: float = 0.0
    wings: tuple[Wing, ...] = ()
    detail: int = 0


@dataclass(frozen=True)
class Feature:
    """One row of a layer: geometry in local metres, attributes, and its look."""

    geometry: BaseGeometry
    attributes: Mapping[str, Any]
    look: Look


@dataclass(frozen=True)
class Surface:
    """A patch of ground that is painted but is no feature: lawn, yard, apron, driveway, hedge."""

    geometry: Polygon
    material: str
    tone: float = 1.0
    heading_deg: float = 0.0


@dataclass(frozen=True)
class Marking:
    """A painted line on the ground; `dash_m` of 0 is unbroken."""

    geometry: LineString
    width_m: float
    rgb: RGB
    dash_m: float = 0.0
    strength: float = 0.85


@dataclass(frozen=True)
class Sun:
    """Where the light comes from; one for the whole area."""

    azimuth_deg: float
    elevation_deg: float


@dataclass(frozen=True)
class Layout:
    """Everything that stands in an area, in local metres (x east, y south, origin at the top left)."""

    seed: int
    width_m: float
    height_m: float
    sun: Sun
    features: Mapping[str, tuple[Feature, ...]]
    surfaces: tuple[Surface, ...]
    markings: tuple[Marking, ...]
    pavement: BaseGeometry = field(default_factory=Polygon)
    carriageway: BaseGeometry = field(default_factory=Polygon)
    shores: tuple[BaseGeometry, ...] = ()  # all water, then the same drawn in from the bank step by step
