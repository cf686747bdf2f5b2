"""Relations from geometry: the predicates of STAR that follow from shapes, classes, headings and networks."""

from georefer.building.relations.find import RelationIndex, find_relations, tile_relations
from georefer.building.relations.settings import DistanceRule, RelationSettings
from georefer.building.relations.table import RELATIONS, Relation, relations_page
from georefer.building.relations.view import Lines

__all__ = [
    "RELATIONS", "DistanceRule", "Lines", "Relation", "RelationIndex", "RelationSettings", "find_relations",
    "relations_page", "tile_relations",
]  # fmt: skip
