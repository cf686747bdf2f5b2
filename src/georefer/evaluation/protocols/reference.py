"""The page about the published scorers, written from their own tables: docs/reference/protocols.md."""

from __future__ import annotations

from georefer.evaluation.protocols import PROTOCOLS
from georefer.evaluation.protocols.base import Protocol

LEAD = """# Published scorers

Written by `georefer score --quirks`; a test holds this page to the code. Each scorer is reproduced bug for bug:
`georefer score PATH --protocol NAME` gives the numbers that the original gives, `--beside strict` the right ones beside
them with the rows that differ and the quirks behind each. How to use that: [compare with a
paper](../how-to/compare-with-a-paper.md).
"""


def protocols_page() -> str:
    """All of them, in Markdown."""
    return "\n".join([LEAD, *(protocol_page(protocol) for protocol in PROTOCOLS.values())])


def protocol_page(protocol: Protocol) -> str:
    """One of them, in Markdown."""
    source, reads = _cell(f"Source: {protocol.source}."), _cell(f"Reads {protocol.reads}.")
    lines = [f"## {protocol.name}", "", source, "", reads, ""]
    for title, entries in (("`--set`", protocol.settings), ("quirk", protocol.quirks)):
        if entries:
            lines += [f"| {title} | |", "|---|---|"]
            lines += [f"| {name} | {_cell(text)} |" for name, text in entries.items()] + [""]
    return "\n".join(lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("<", "&lt;")
