"""Referring expressions: phrases that fit exactly one object of a chip, proved against everything visible.

A phrase is a set of facts. Each fact is surely true of the object meant, by a margin wherever it is a matter of
degree, and comes with the set of visible objects of which it may be true as well. A phrase is kept where those sets
have only the one object in common (so it is unique), and no part of its facts has that property (so it is minimal).
Objects of which too little shows to be asked about still count as visible: a corner of a second red roof makes
"the red roofed building" ambiguous.
"""

from georefer.building.phrases.groups import Values, attribute_values, group_expressions
from georefer.building.phrases.search import KINDS, PhraseSettings, expressions

__all__ = ["KINDS", "PhraseSettings", "Values", "attribute_values", "expressions", "group_expressions"]
