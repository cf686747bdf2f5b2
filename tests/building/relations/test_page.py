"""The reference page is what the table says."""

from pathlib import Path

from georefer.building.relations.table import relations_page

PAGE = Path(__file__).parents[3] / "docs" / "reference" / "relations.md"


def test_the_page_is_what_the_table_says():
    assert PAGE.read_text() == relations_page(), "write georefer.building.relations.table.relations_page() to it"
