"""Text4Seg's decoder and measures, worked by hand; no reference results of the original were at hand."""

import gzip
import json
import random

import numpy as np
import pytest

from georefer.errors import InputError
from georefer.evaluation.protocols.text4seg import PROTOCOL, decode, stretched
from georefer.geometry import Mask

SIDE = 4
SIZE = (8, 8)
ROW = "others *4"


def seg(*rows):
    return "Sure, it is <seg>" + "\n ".join(rows) + "\n</seg>."


SHIP = seg(ROW, "others *1| ship *2| others *1", "others *1| ship *2| others *1", ROW)


def mask(x1, y1, x2, y2, size=SIZE):
    dense = np.zeros(size, dtype=bool)
    dense[y1:y2, x1:x2] = True
    return Mask.from_dense(dense)


def scored(tmp_path, rows, beside=True, **settings):
    path = tmp_path / "answers.jsonl"
    rows = [{"id": i, "answer": text, "ground_truth": truth.to_coco(), **more} for i, (text, truth, more) in
            enumerate((*row, {})[:3] if len(row) == 2 else row for row in rows)]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PROTOCOL.score(path, {"side": str(SIDE), **settings}, beside)


# --- the decoder -----------------------------------------------------------------------------------------


def cells(text, side=SIDE):
    return "".join(".#"[int(cell)] for cell in decode(text, side).cells_C)


@pytest.mark.parametrize(
    "text, wanted, met",
    [
        (SHIP, "....\n.##.\n.##.\n....", set()),
        (seg(ROW, "others *1| ship *3"), "....\n.###\n####\n####", {"filled-up", "shifted-rows"}),
        (seg(ROW, "ship *2| others *1", ROW, ROW), "....\n##..\n....\n....", {"shifted-rows", "filled-up"}),
        (seg(ROW, "others *1| ship *4", ROW, ROW), "....\n.###\n#...\n....", {"shifted-rows"}),
        (seg("others *16", ROW, ROW, "ship *4"), "....\n....\n....\n....", {"shifted-rows"}),  # cut before the ship
        (seg("ship *4", *["ship *4"] * 3), "....\n....\n....\n....", {"first-label"}),  # the only label
        (seg("sea *4", "ship *4", "sea *4", "sea *4"), "....\n####\n....\n....", {"first-label"}),
        (seg("ship *4", ROW, ROW, ROW), "####\n....\n....\n....", set()),  # others comes first wherever it stands
        (seg("ship *4", "sea *4", ROW, "ship *4"), "####\n####\n....\n####", set()),  # any label
        (seg(ROW, "a|others *2", ROW, ROW), "....\n#.#.\n....\n....", {"bar-in-label", "shifted-rows"}),
        (seg(ROW, " ship  *4", ROW, ROW), "....\n####\n....\n....", set()),
        (seg(ROW, "ship *+4", ROW, ROW), "....\n####\n....\n....", set()),
        (seg(ROW, "ship *-4| ship *4", ROW, ROW), "....\n####\n....\n....", set()),  # a negative run is none
        (seg("ship *0"), "....\n....\n....\n....", {"shifted-rows", "first-label", "filled-up"}),
        (seg("others *1| ship *99999999"), ".###\n####\n####\n####", {"shifted-rows"}),
        ("<seg>others *15| ship *1", "....\n....\n....\n...#", {"shifted-rows"}),  # not closed
        (SHIP + seg("ship *16"), "....\n.##.\n.##.\n....", set()),  # the first grid counts
        ("others *16", "....\n....\n....\n....", {"unreadable"}),
        (seg("others *4| ship"), "....\n....\n....\n....", {"unreadable"}),
        (seg("others *4| ship *four"), "....\n....\n....\n....", {"unreadable"}),
        (seg("ship *4| "), "....\n....\n....\n....", {"unreadable"}),
        (seg("others *4\nship *4"), "....\n....\n....\n....", {"unreadable"}),  # a line break without its blank
        (seg("a *4 *4"), "....\n....\n....\n....", {"unreadable"}),
        (seg("others *1| ship *" + "9" * 5000), "....\n....\n....\n....", {"unreadable"}),
    ],
)
def test_decoding(text, wanted, met):
    assert cells(text) == wanted.replace("\n", "")
    assert decode(text, SIDE).met == met <= set(PROTOCOL.quirks)


def expanded(text, side):
    """The published steps one after the other, with every cell a string of its own."""
    try:
        words = []
        for row in text.strip().split("<seg>")[1].split("</seg>")[0].strip("\n").split("\n "):
            for token in row.split("| "):
                label, count = token.split(" *")
                words += [label] * int(count)
        words = [word.strip() for word in "|".join(words).split("|")]
        order = list(dict.fromkeys(words))
        if "others" in order:
            order.remove("others")
            order.insert(0, "others")
        found = [order.index(word) for word in words]
    except (ValueError, IndexError):
        found = [0] * side * side
    found = (found + [found[-1]] * side * side)[: side * side]
    return np.array(found) > 0


def test_decoding_never_expands_and_yet_gives_the_same():
    rng = random.Random(0)
    parts = ["others", "ship", "a|b", "|", "", " ", " *", "*", "3", "4", "0", "-1", "12", "| ", "\n ", "\n", "<seg>",
             "</seg>", "others *4", "ship *3", "x *1", "a|b *2", "Others *2"]  # fmt: skip
    readable = 0
    for _ in range(4000):
        text = "<seg>" + "".join(rng.choices(parts, k=rng.randint(1, 12)))
        decoded = decode(text, SIDE)
        assert (decoded.cells_C == expanded(text, SIDE)).all(), text
        readable += "unreadable" not in decoded.met
    for _ in range(2000):  # texts that can be read, of any lengths
        rows = [
            "| ".join(f"{rng.choice(('others', 'ship', 'a|b', '', 'x'))} *{rng.randint(-1, 6)}" for _ in range(3))
            for _ in range(rng.randint(1, 6))
        ]
        assert (decode(seg(*rows), SIDE).cells_C == expanded(seg(*rows), SIDE)).all(), rows
    assert readable > 100


def test_stretching_is_that_of_torch():
    torch = pytest.importorskip("torch")
    for side in (16, 24):
        ramp = torch.arange(side * side).double().reshape(1, 1, side, side)
        for size in ((512, 512), (480, 640), (333, 777), (1080, 1920), (427, 598)):
            wanted = torch.nn.functional.interpolate(ramp, size=size, mode="nearest")[0, 0].numpy()
            found = stretched(np.arange(side * side), side, Mask.from_counts([size[0] * size[1]], size))
            assert (found == wanted).all(), (side, size)


# --- the measures ----------------------------------------------------------------------------------------

# the ship of 2 x 2 cells is 4 x 4 pixels of 8 x 8
MIDDLE = mask(2, 2, 6, 6)


@pytest.mark.parametrize(
    "text, truth, published, strict, reasons",
    [
        (SHIP, MIDDLE, 16 / 16.00001, 1.0, ()),
        (SHIP, mask(2, 2, 6, 4), 8 / 16.00001, 0.5, ()),
        ("nothing", mask(0, 0, 0, 0), 1.0, 1.0, ()),
        ("nothing", MIDDLE, 0.0, 0.0, ()),
        (seg(*["ship *4"] * 4), mask(0, 0, 8, 8), 0.0, 1.0, ("first-label",)),
        (
            seg(ROW, "others *1| ship *2| others *1", "others *1| ship *2| others *1| x"),
            MIDDLE,
            0.0,
            1,
            ("unreadable",),
        ),
        (seg(ROW, "others *1| ship *2", "others *1| ship *2"), MIDDLE, 16 / 40, 1.0, ("shifted-rows", "filled-up")),
        (seg(ROW, ROW, ROW, "others *3| ship *1"), mask(6, 6, 8, 7, SIZE), 2 / 4.00001, 0.5, ("epsilon",)),
    ],
)
def test_one_answer(tmp_path, text, truth, published, strict, reasons):
    (row,) = scored(tmp_path, [(text, truth)]).rows
    assert row.published == pytest.approx(published, abs=3e-7)
    assert row.strict == pytest.approx(strict, abs=1e-12)
    assert set(reasons) <= set(row.reasons) and (row.differs == bool(row.reasons))


def test_the_left_neighbour_is_a_quirk_where_cells_and_pixels_do_not_fit(tmp_path):
    # 4 cells over 6 pixels: torch takes 0 0 1 2 2 3, the centres lie in 0 1 1 2 3 3
    truth = mask(0, 0, 6, 6, (6, 6))
    ramp = stretched(np.arange(16), 4, truth)[0]
    assert ramp.tolist() == [0, 0, 1, 2, 2, 3]
    assert stretched(np.arange(16), 4, truth, centres=True)[0].tolist() == [0, 1, 1, 2, 3, 3]
    left = seg(*["ship *1| others *3"] * 4)
    (row,) = scored(tmp_path, [(left, mask(0, 0, 1, 6, (6, 6)))]).rows
    assert row.published == pytest.approx(0.5, abs=1e-5) and row.strict == 1 and "left-neighbour" in row.reasons


def test_the_numbers(tmp_path):
    rows = [(SHIP, MIDDLE, {"image": "a"}), ("none", MIDDLE, {"image": "a"}), (SHIP, mask(2, 2, 6, 4), {"image": "b"})]
    scores = scored(tmp_path, rows)
    numbers = scores.numbers["answers"]
    assert numbers["giou"] == pytest.approx(0.5, abs=1e-6)
    assert numbers["ciou"] == pytest.approx((16 + 0 + 8) / (16 + 16 + 16), abs=1e-6)
    # boxes end at the last pixel: 3 x 3 of 3 x 3, nothing, and 3 x 1 of 3 x 3
    assert numbers["acc"] == pytest.approx(100 / 3)
    assert numbers["samples"] == 3 and numbers["unreadable"] == 1
    assert numbers["printed"] == ["mllm_mask:  giou: 0.5000, ciou: 0.5000", "mllm_mask:  acc: 33.3333"]
    beside = {b.measure: (b.published, b.strict) for b in scores.beside}
    assert beside["giou"] == pytest.approx((0.5, 0.5), abs=1e-6)
    assert beside["acc"] == pytest.approx((100 / 3, 200 / 3))  # whole boxes: 4 x 2 of 4 x 4 is one half
    assert not scored(tmp_path, rows, beside=False).beside


def test_boxes_of_one_pixel_have_no_area_and_are_never_right(tmp_path):
    corner = seg("ship *1| others *3", ROW, ROW, ROW)
    truth = mask(0, 0, 1, 1, (4, 4))
    scores = scored(tmp_path, [(corner, truth)])
    assert scores.numbers["answers"]["acc"] == 0 and scores.beside[2].strict == 100
    assert scores.numbers["answers"]["giou"] == pytest.approx(1 / 1.00001, abs=1e-7)
    assert scores.rows[0].reasons == ("epsilon",)


def test_sums_are_float32_as_the_meters_are(tmp_path):
    rows = [(SHIP, MIDDLE)] * 3
    numbers = scored(tmp_path, rows).numbers["answers"]
    one = np.float32(16) / (np.float32(16) + np.float32(1e-5))
    assert numbers["giou"] == float((one + one + one) / np.float32(3))


def test_rows_without_an_answer_and_too_many_cells_are_listed(tmp_path):
    rows = [(None, MIDDLE), (7, MIDDLE), (seg("others *1| ship *" + "9" * 18), MIDDLE), (SHIP, MIDDLE)]
    scores = scored(tmp_path, rows)
    assert [stop.id for stop in scores.stops] == [0, 1, 2]
    assert [row.published for row in scores.rows[:3]] == [0, 0, 0]


@pytest.mark.parametrize(
    "row, settings, match",
    [
        ({"id": 1, "answer": ""}, {}, "ground_truth is no COCO"),
        ({"id": 1, "answer": "", "ground_truth": {"size": [0, 4], "counts": []}}, {}, "without pixels"),
        ({"id": 1, "answer": "", "ground_truth": MIDDLE.to_coco()}, {"side": "0"}, "no side of a grid"),
        ({"id": 1, "answer": "", "ground_truth": MIDDLE.to_coco()}, {"side": "1000"}, "no side of a grid"),
        (None, {}, "holds no answers"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, row, settings, match):
    (tmp_path / "a.jsonl").write_text(json.dumps(row) if row else "")
    with pytest.raises(InputError, match=match):
        PROTOCOL.score(tmp_path / "a.jsonl", settings, False)


def test_folders_packed_files_and_repeated_ids(tmp_path):
    line = json.dumps({"id": 1, "answer": SHIP, "ground_truth": MIDDLE.to_coco()})
    with pytest.raises(InputError, match=r"holds 0 \*.jsonl"):
        PROTOCOL.score(tmp_path, {}, False)
    (tmp_path / "x.jsonl.gz").write_bytes(gzip.compress(line.encode()))
    assert PROTOCOL.score(tmp_path, {"side": "4"}, False).numbers["x"]["samples"] == 1
    (tmp_path / "answers.jsonl").write_text(f"{line}\n{line}\n")
    with pytest.raises(InputError, match="more than once"):
        PROTOCOL.score(tmp_path, {}, False)
    assert PROTOCOL.score(tmp_path, {"partial": "yes"}, False).numbers["answers"]["samples"] == 2


def test_megabytes_of_junk_are_read_in_bounded_time(tmp_path):
    junk = ["<seg>" * 200_000, "<seg>" + "|" * 1_000_000 + " *9", "<seg>" + "others *1| ship *1| " * 50_000 + "x *1",
            "<seg>" + "a *99999999\n " * 80_000 + "a *1", "<seg>" + " *" * 500_000, "<seg>" + "9" * 1_000_000,
            "<seg>" + "".join(f"l{i} *1| " for i in range(80_000)) + "x *1", "<seg>" + "\n " * 400_000]  # fmt: skip
    scores = scored(tmp_path, [(text, MIDDLE) for text in junk])
    assert len(scores.rows) == len(junk) and all(row.reasons for row in scores.differing())
