"""Articles by sound, and the number of nouns."""

import pytest

from georefer.tasks.nouns import indefinite, is_plural, is_uncounted, to_be


@pytest.mark.parametrize(
    ("noun", "said"),
    [
        ("dock", "a dock"), ("ship", "a ship"), ("airport", "an airport"), ("hour", "an hour"),
        ("unfenced camp", "an unfenced camp"), ("unmanned lock", "an unmanned lock"), ("umbrella", "an umbrella"),
        ("European beech", "a European beech"), ("orchard", "an orchard"),
        ("oil dock", "an oil dock"), ("Airport", "an Airport"), ("école", "an école"),
        ("university", "a university"), ("unit", "a unit"), ("unused pit", "an unused pit"),
        ("unimproved road", "an unimproved road"), ("used car lot", "a used car lot"),
        ("utility pole", "a utility pole"), ("urban block", "an urban block"), ("U-shaped house", "a U-shaped house"),
        ("European house", "a European house"), ("one-way road", "a one-way road"), ("orange roof", "an orange roof"),
        ("hourly car park", "an hourly car park"), ("house", "a house"), ("heir", "an heir"),

        ("SUV", "an SUV"), ("LNG tanker", "an LNG tanker"), ("USV", "a USV"), ("ROAD", "a ROAD"),
        ("HV line", "an HV line"),
        ("8 storey house", "an 8 storey house"), ("80 m mast", "an 80 m mast"), ("11 m boat", "an 11 m boat"),
        ("1 storey house", "a 1 storey house"), ("110 m mast", "a 110 m mast"),
        ("18-hole course", "an 18-hole course"),
        ("(old) dock", "an (old) dock"), ("ruins", "some ruins"), ("trees", "some trees"),
        ("glass roof", "a glass roof"),
        ("bus", "a bus"), ("grass", "some grass"), ("vegetation", "some vegetation"), ("gas works", "some gas works"),
        ("tennis court", "a tennis court"), ("rows of trees", "some rows of trees"),
        ("piece of ruins", "a piece of ruins"),
    ],
)  # fmt: skip
def test_articles(noun, said):
    assert indefinite(noun) == said


@pytest.mark.parametrize(
    ("noun", "plural", "uncounted"),
    [
        ("ship", False, False),
        ("ships", True, False),
        ("rows of trees", True, False),  # by its head
        ("row of trees", False, False),
        ("bus", False, False),
        ("gas", False, False),
        ("glass", False, False),
        ("people", True, False),
        ("Watercourses", True, False),
        ("tall grass", False, True),
        ("water", False, True),
        ("water tower", False, False),
        ("", False, False),
    ],
)
def test_numbers(noun, plural, uncounted):
    assert (is_plural(noun), is_uncounted(noun)) == (plural, uncounted)
    assert to_be(noun) == ("are" if plural else "is")
