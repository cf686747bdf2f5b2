"""Dialects: the only code that turns geometry into text and back. One file each, one line in the table."""

from georefer.dialects.base import Dialect, Problem, Reading
from georefer.dialects.georefer import GeoreferDialect
from georefer.dialects.groundset import GroundSetDialect

DIALECTS: dict[str, Dialect] = {
    dialect.name: dialect
    for dialect in (
        GeoreferDialect(),
        GroundSetDialect(),
    )
}

__all__ = ["DIALECTS", "Dialect", "Problem", "Reading"]
