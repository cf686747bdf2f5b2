"""What is said of the published scorers is what they are."""

from pathlib import Path

import pytest

from georefer.cli import main
from georefer.evaluation.protocols import PROTOCOLS
from georefer.evaluation.protocols.reference import protocols_page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "protocols.md"


def test_the_page_is_what_the_tables_say():
    assert PAGE.read_text() == protocols_page(), "run: georefer score --quirks > docs/reference/protocols.md"


def test_the_command_line_prints_it(capsys):
    assert main(["score", "--quirks"]) == 0
    assert capsys.readouterr().out == protocols_page()


@pytest.mark.parametrize("name", PROTOCOLS)
def test_every_protocol_says_in_a_line_each_what_it_is(name):
    protocol = PROTOCOLS[name]
    assert protocol.name == name and protocol.source and protocol.reads and protocol.quirks
    for text in (*protocol.quirks.values(), *protocol.settings.values()):
        assert text and "\n" not in text and len(text) <= 160
