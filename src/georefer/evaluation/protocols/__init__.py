"""Published scorers, reproduced bug for bug: one file each, one line in the table. What is right is in `scoring`."""

from georefer.evaluation.protocols import groundset
from georefer.evaluation.protocols.base import Beside, Protocol, Row, Scores, Stop

_ALL: tuple[Protocol, ...] = (groundset.PROTOCOL,)

PROTOCOLS: dict[str, Protocol] = {protocol.name: protocol for protocol in _ALL}

__all__ = ["PROTOCOLS", "Beside", "Protocol", "Row", "Scores", "Stop"]
