"""The dialects in which the small boxes of the test scenes can be said without losing them."""

from georefer.dialects import DIALECTS

BOXED = [
    name
    for name, dialect in DIALECTS.items()
    if "hbb" in dialect.kinds and (dialect.steps.top in ("frame", "shown") or dialect.steps.top > 500)
]
