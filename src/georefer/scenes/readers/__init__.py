"""Benchmarks and training sets of the field in their own files: one file each, one line in the table."""

from georefer.scenes.readers import (
    dior_rsvg,
    dota,
    earthreason,
    fair1m,
    fit_bench,
    fit_rs,
    geo_r1,
    geo_r1_fs,
    geochat,
    groundset,
    nwpu_vhr10,
    refgeo,
    rrsis_d,
    rsvg,
    star,
    vrsbench,
)
from georefer.scenes.readers.base import ASKS, Asked, Published, Source

_ALL: tuple[Source, ...] = (
    groundset.SOURCE,
    refgeo.SOURCE,
    dior_rsvg.SOURCE,
    rsvg.SOURCE,
    rrsis_d.SOURCE,
    vrsbench.SOURCE,
    *geochat.SOURCES,
    fit_rs.SOURCE,
    fit_bench.SOURCE,
    star.SOURCE,
    earthreason.SOURCE,
    nwpu_vhr10.SOURCE,
    dota.SOURCE,
    fair1m.SOURCE,
    geo_r1.SOURCE,
    *geo_r1_fs.SOURCES,
)

SOURCES: dict[str, Source] = {source.name: source for source in _ALL}

__all__ = ["ASKS", "SOURCES", "Asked", "Published", "Source"]
