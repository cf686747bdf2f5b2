"""COCO's words of captions: against the original's on the golden texts, and rule by rule on small ones."""

import gzip
import json

import pytest

from georefer.scoring.captions.ptb import ptb_lines, ptb_tokenize


@pytest.mark.shared
def test_equals_the_original(golden):
    folder = golden / "captions"
    words = json.loads(gzip.decompress((folder / "ptb_tokens.json.gz").read_bytes()))
    items = [json.loads(line) for line in gzip.decompress((folder / "captions.jsonl.gz").read_bytes()).splitlines()]
    for count in ("1", "3"):
        for item in items:
            expected = words[count][str(item["id"])]
            assert ptb_tokenize(item["caption"]) == expected["caption"]
            given = item["references"][: int(count)]
            assert [ptb_tokenize(text) for text in given] == expected["references"]


@pytest.mark.shared
def test_line_breaks_make_the_lines_that_the_original_had(golden):
    expected = json.loads(gzip.decompress((golden / "captions" / "expected.json.gz").read_bytes()))
    trap = expected["ptb_line_break_characters"]
    for name, text in trap["inputs"].items():
        lines = ptb_lines(["First item.", text, "Last item."])
        assert lines[:3] == [trap["outputs"][name][str(place)][0] for place in range(3)], repr(text)


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ""),
        (" \t\n", ""),
        ("A red Car.", "a red car"),
        ("...?!-,;:'\"", "?!"),  # runs of these two marks are words that are not left out
        ("(see [1]) {x}", "-lrb- see -lsb- 1 -rsb- -rrb- -lcb- x -rcb-"),
        ("It's the boats' car, they've can't", "it 's the boats car they 've ca n't"),
        ("don’t “quote” ‘me’", "do n't quote me"),
        ("cannot gonna wanna 'tis", "can not gon na wan na 't is"),
        ("cannot's gonnas", "cannot 's gonnas"),
        ("ma'am O'Neil rock'n'roll '90s 1990's", "ma'am o'neil rock 'n' roll '90s 1990 's"),
        ("e.g. U.S. Mr. X vs. St. Mary's etc.", "e.g. u.s. mr. x vs. st. mary 's etc."),
        ("No. 5 is no. It is no.5", "no. 5 is no it is no. 5"),  # an abbreviation before numbers only
        ("plan b. plan B. The end", "plan b. plan b the end"),  # a capital "The" ends the sentence before it
        ("plan B.\n\nX", "plan b. x"),
        ("trees., houses", "trees. houses"),  # the dot stays before a comma
        ("pool,two-story", "pool,two-story"),  # commas stay in words with hyphens
        ("pool,two", "pool two"),
        ("top-right L-shaped 2-story a--b", "top-right l-shaped 2-story a b"),
        ("3.5 m, 50%, 10,000 $5 £5 5¢", "3.5 m 50 % 10,000 $ 5 # 5 5 cents"),
        ("1/2 mile, 3 1/2 miles", "1/2 mile 3\xa01/2 miles"),  # one word with a no-break space
        ("(555) 555-5555", "-lrb-555-rrb-\xa0555-5555"),
        ("and/or a/b/c/d", "and/or a/b/c / d"),
        ("½ 5m² 20°C 3×3", "1/2 5m ² 20 ° c 3 × 3"),
        ('<p>a</p> <a b="c"> <1>', '<p> a </p> <a\xa0b="c"> < 1 >'),
        ("x@y.z http://a.bc/d. www.a.com", "x@y.z http://a.bc/d www.a.com"),
        ("R&D C++ #tag @me **b** a_b", "r&d c++ #tag @me ** b ** a_b"),
        ("001.png img_001.png", "001.png img_001 png"),
        (":-) :P x:Pool", ":--rrb- :p x pool"),
        ("&amp; &lt; &quot;", "& <"),
        ("café 東京 😀 a\u00adb", "café 東京 ab"),  # what it does not know is left out
        ("wow!yes end.start a!!", "wow!yes end.start a !!"),
    ],
)
def test_rules(text, words):
    assert ptb_tokenize(text) == words


def test_a_word_is_read_alike_alone_and_in_a_long_text():
    # texts of plain words come from a cache, others are read as a whole
    plain = "The U.S. boats' car, e.g. two-story (a) don't. End"
    assert ptb_tokenize(f"{plain} <a b>") == f"{ptb_tokenize(plain)} <a\xa0b>"


def test_lines_hang_together():
    assert ptb_lines(["a\rb", "c"]) == ["a", "b", "c"]
    assert ptb_lines(["a\nb", "a\r\nb"]) == ["a b", "a", "b"]
    assert ptb_lines(["a\r", "b\v", "c"]) == ["a", "b", "", "c"]  # "\r" and the newline behind it are one
    assert ptb_lines(["a no.", "5", "no.", "a"]) == ["a no.", "5", "no", "a"]
    assert ptb_lines(["in B.", "", "The end"]) == ["in b", "", "the end"]
    assert ptb_lines(["in B.", "The end"]) == ["in b", "the end"]
    assert ptb_lines(["in B.", "The end"], peek=False) == ["in b.", "the end"]
    assert ptb_lines(["in B.", "the end"]) == ["in b.", "the end"]
    assert ptb_lines([]) == [""]


@pytest.mark.parametrize(
    "piece", ["a,", "a-", "<a ", "a.b-", "a@", "1 ", "'", "<!a", "http://", "a" * 5_000, "b. ", "("]
)
def test_hostile_texts_are_read_in_bounded_time(piece):
    ptb_tokenize(piece * (60_000 // len(piece)))
