"""Published scorers, reproduced bug for bug: one file each, one line in the table. What is right is in `scoring`."""

from georefer.evaluation.protocols import (
    coco_captions,
    fit_rsfg,
    fit_rsrc,
    geo_r1,
    geochat,
    groundset,
    mmbench_circular,
    rrsis_d,
    seg_zero,
    text4seg,
    visionreasoner,
    vlm_r1,
    vrsbench,
)
from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores, Stop

_ALL: tuple[Protocol, ...] = (
    groundset.PROTOCOL,
    fit_rsfg.PROTOCOL,
    fit_rsrc.PROTOCOL,
    coco_captions.PROTOCOL,
    mmbench_circular.PROTOCOL,
    vrsbench.PROTOCOL,
    geochat.PROTOCOL,
    rrsis_d.PROTOCOL,
    text4seg.PROTOCOL,
    geo_r1.PROTOCOL,
    vlm_r1.PROTOCOL,
    seg_zero.PROTOCOL,
    visionreasoner.PROTOCOL,
)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}

__all__ = ["PROTOCOLS", "Beside", "Protocol", "Row", "Scores", "Stop"]
