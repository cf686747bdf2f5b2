"""VRSBench's referring metrics against what the original gave, number by number; its quirks in a row each."""

import gzip
import json
import math

import numpy as np
import pytest
import shapely

from georefer.errors import InputError
from georefer.evaluation.protocols.vrsbench import MODES, PROTOCOL
from georefer.geometry import obb_iou

NAME = "rsbench_referring_v2.json"


def expected(golden):
    return json.loads(gzip.decompress((golden / "vrsbench" / "expected.json.gz").read_bytes()))


def same(found, wanted, tolerance, where=""):
    """Equal in every key, length and type; numbers within the relative tolerance."""
    if isinstance(wanted, dict):
        assert set(found) == set(wanted), where
        for key in wanted:
            same(found[key], wanted[key], tolerance, f"{where}/{key}")
    elif isinstance(wanted, list):
        assert len(found) == len(wanted), where
        for i, (one, other) in enumerate(zip(found, wanted, strict=True)):
            same(one, other, tolerance, f"{where}/{i}")
    elif isinstance(wanted, float):
        assert math.isclose(found, wanted, rel_tol=tolerance, abs_tol=1e-12), (where, found, wanted)
    else:
        assert found == wanted, where


def scored(tmp_path, rows, mode="hbb", beside=True, **settings):
    folder = tmp_path / mode
    folder.mkdir(exist_ok=True)
    (folder / NAME).write_text("".join(json.dumps(row) + "\n" for row in rows))
    return PROTOCOL.score(folder, settings, beside)


def row(answer, truth="{<20><30><50><60>}", **more):
    return {"image_id": "i", "is_unique": 1, "ground_truth": truth, "answer": answer, **more}


def one(tmp_path, answer, mode="hbb", truth="{<20><30><50><60>}"):
    """IoU as published (None where there is no score), the strict one, and the reasons, beside one perfect row."""
    perfect = row("{<20><30><50><60>|<0>}", obb_v1="{<20><30><50><60>|<0>}", obb_v2="{<20><30><50><60>|<0>}")
    asked = row(answer, truth if mode == "hbb" else "x", obb_v1=truth, obb_v2=truth)
    scores = scored(tmp_path, [asked, perfect], mode)
    published = {number: iou for number, iou, *_ in scores.numbers[mode]["per_row"]}
    return published.get(0), scores.rows[0].strict, set(scores.rows[0].reasons)


# --- the reference ---------------------------------------------------------------------------------------


@pytest.mark.shared
def test_every_number_is_as_published(golden):
    wanted = expected(golden)
    found = PROTOCOL.score(golden / "vrsbench", {}, False)
    assert list(found.numbers) == list(MODES)
    assert len(found.rows) == 3 * 761 and not found.stops
    for mode in MODES:
        # unions are float32 in the original: 1e-6 would do, and these are the same to the printed digits
        same(found.numbers[mode], wanted[mode], 1e-12)


@pytest.mark.shared
@pytest.mark.parametrize("mode", MODES)
def test_a_folder_or_a_file_packed_or_plain_gives_its_part(golden, tmp_path, mode):
    packed = golden / "vrsbench" / mode / f"{NAME}.gz"
    (tmp_path / NAME).write_bytes(gzip.decompress(packed.read_bytes()))
    wanted = expected(golden)[mode]
    for path, settings in ((packed.parent, {}), (packed, {}), (tmp_path / NAME, {"mode": mode})):
        found = PROTOCOL.score(path, settings, False).numbers
        assert list(found) == [mode]
        same(found[mode], wanted, 1e-12)


@pytest.mark.shared
def test_rows_of_giant_numbers_are_as_published(golden, tmp_path):
    singles = expected(golden)["single_rows"]
    assert len(singles) >= 6
    for case in singles:
        rows = [case["row"], {**case["row"], "answer": case["second_row_answer"]}]
        found = scored(tmp_path, rows, case["mode"], beside=False).numbers[case["mode"]]
        same(found["all"], case["result"]["metrics"], 1e-6)
        same(found["per_row"], case["result"]["per_row"], 1e-6)


@pytest.mark.shared
def test_rows_at_which_the_original_stops_are_listed(golden, tmp_path):
    crashes = [json.loads(line) for line in (golden / "vrsbench" / "crashes.jsonl").read_text().splitlines()]
    assert len(crashes) >= 3
    for crash in crashes:
        good = row("{<1><2><3><4>|<5>}", obb_v1="{<1><2><3><4>|<5>}")
        scores = scored(tmp_path, [crash["row"], good], crash["mode"])
        assert [stop.id for stop in scores.stops] == [0]
        assert scores.numbers[crash["mode"]]["all"]["total"] == 2


@pytest.mark.shared
def test_every_row_that_strict_scoring_sees_otherwise_has_a_reason(golden):
    scores = PROTOCOL.score(golden / "vrsbench", {}, True)
    differing = scores.differing()
    assert len(differing) > 1500
    assert all(r.reasons and set(r.reasons) <= set(PROTOCOL.quirks) for r in differing)
    assert not any(r.reasons for r in scores.rows if not r.differs)
    values = {(b.part, b.measure): (b.published, b.strict) for b in scores.beside}
    for mode in MODES:
        assert values[mode, "acc 0.5"][0] == pytest.approx(scores.numbers[mode]["all"]["acc"]["0.5"])
        assert values[mode, "meanIoU"][0] == pytest.approx(scores.numbers[mode]["all"]["meanIoU"])
    # mirrored and radian angles cost good answers more than they give bad ones
    assert values["obb_v1", "acc 0.5"][1] > values["obb_v1", "acc 0.5"][0] + 20


# --- the quirks, by hand ---------------------------------------------------------------------------------

BOX = "{<20><30><50><60>}"


@pytest.mark.parametrize(
    "answer, published, strict, reasons",
    [
        (BOX, 1.0, 1.0, set()),
        ("{<50><30><80><60>}", 31 / 1891, 0.0, {"plus-one"}),  # boxes that touch
        ("{<20><30><20><30>}", 1 / 961, 0.0, {"plus-one"}),  # no area at all
        ("{<35><30><50><60>}", 16 * 31 / 961, 0.5, {"plus-one"}),
        ("{<50><60><20><30>}", 0.0, 1.0, {"corner-order"}),
        ("{<-20><30><50><60>}", 1.0, 30 / 70, {"digits-only"}),
        ("[20.5, 30.5, 50.5, 60.5]", 0.0, 29.5**2 / (1800 - 29.5**2), {"digits-only"}),
        ("There are 2 objects: " + BOX, 231 / 1629, 1.0, {"any-number", "plus-one"}),
        ('{"bbox_2d": [20, 30, 50, 60]}', 231 / 1629, 1.0, {"any-number", "plus-one"}),
        (f"{{<1><2><3><4>}} {BOX}", 0.0, 0.0, set()),  # two boxes: the first counts, for strict scoring none
        (f"{BOX} {{<1><2><3><4>}}", 1.0, 0.0, {"surplus"}),
        ("20 30 50 60 7 8", 1.0, 0.0, {"surplus"}),
        ("20,30,50,60", 1.0, 1.0, set()),
        ("{<020><030><050><060>}", 1.0, 1.0, set()),
        ("{<٢٠><30><50><60>}", 1.0, 0.0, {"digits-only"}),  # digits of other scripts are digits
        ("{<20><30><50>}", None, 0.0, set()),
        ("I cannot find it", None, 0.0, set()),
        ("", None, 0.0, set()),
    ],
)
def test_horizontal_quirks(tmp_path, answer, published, strict, reasons):
    found = one(tmp_path, answer)
    assert found[0] == (None if published is None else pytest.approx(published, abs=1e-12))
    assert found[1] == pytest.approx(strict, abs=1e-9)
    assert found[2] >= reasons and bool(found[2]) == bool(reasons)


V1 = "{<40><40><30><10>|<-35>}"


def turned(box, other, unit):
    """IoU of two v1 boxes by georefer's own geometry, with the angle in degrees or, as published, in radians."""
    pair = np.array([box, other], dtype=float)
    pair[:, 4] = pair[:, 4] if unit == "degrees" else -np.degrees(pair[:, 4])
    return float(obb_iou(pair[:1], pair[1:])[0, 0])


@pytest.mark.parametrize(
    "answer, published, strict, reasons",
    [
        (V1, 1.0, 1.0, set()),
        ("{<40><40><30><10>|<35>}", 1.0, "-35 35", {"digits-only"}),  # mirrored, and still perfect
        ("{<40><40><30><10>|<-45>}", "35r 45r", "-35 -45", {"radians"}),
        ("{<20><30><50><60>}", None, 0.0, set()),
        ("40 40 30 10 35 7", None, 0.0, set()),
        (f"box1: {V1}", None, 1.0, {"any-number"}),  # six numbers are no kind of box
        ("40 40 60 40 60 60 40 60", "corners", 0.0, {"surplus"}),  # eight are four corners
        ("{<90><90><4><4>|<-35>}", 0.0, 0.0, set()),
    ],
)
def test_quirks_of_v1(tmp_path, answer, published, strict, reasons):
    angles = {
        "-35 35": turned([40, 40, 30, 10, -35], [40, 40, 30, 10, 35], "degrees"),
        "-35 -45": turned([40, 40, 30, 10, -35], [40, 40, 30, 10, -45], "degrees"),
        "35r 45r": turned([40, 40, 30, 10, 35], [40, 40, 30, 10, 45], "radians"),
        "corners": turned([40, 40, 30, 10, 35], [50, 50, 20, 20, 0], "radians"),
    }
    found = one(tmp_path, answer, "obb_v1", V1)
    published = angles.get(published, published)
    assert found[0] == (None if published is None else pytest.approx(published, abs=1e-6))
    assert found[1] == pytest.approx(angles.get(strict, strict), abs=1e-9)
    assert found[2] >= reasons and bool(found[2]) == bool(reasons)


def test_v2_takes_the_diagonal_for_the_sides(tmp_path):
    # a square of 30 turned by nothing: the diagonal lies along x, so the box has no height and meets nothing
    assert one(tmp_path, "{<20><30><50><60>|<0>}", "obb_v2", "{<20><30><50><60>|<0>}") == (0.0, 1.0, {"diagonal"})
    # at 45 degrees both sides become 30, whatever the rectangle; strict: corners at (20, 30) and (50, 60) along 45
    # degrees are the ends of a line
    found = one(tmp_path, "{<20><30><50><60>|<45>}", "obb_v2", "{<20><30><50><60>|<45>}")
    assert found[0] == pytest.approx(1.0, abs=1e-6) and found[1] == 0.0 and "diagonal" in found[2]
    # a rectangle of 10 x 20 turned by its true angle: corners (0, 0) and 10 u + 20 v, with u at atan2(3, 4)
    corners = "{<50><50><46><72>|<37>}"
    assert one(tmp_path, corners, "obb_v2", corners)[1] == pytest.approx(1.0)
    # more than five numbers are cut to five, with two boxes as with one
    assert one(tmp_path, f"{corners} {corners}", "obb_v2", corners)[0] == pytest.approx(1.0, abs=1e-6)


def test_an_iou_of_one_half_is_decided_by_the_last_digit_as_published(tmp_path):
    """Boxes of which one is the other doubled: GEOS' own rounding makes some of them 0.49999999999999994."""
    truths = [(31, 52, 7, 18, angle) for angle in range(90)]
    rows = [row(f"{x},{y},{2 * w},{h},{a}", obb_v1=f"{x},{y},{w},{h},{a}") for x, y, w, h, a in truths]
    all_of = scored(tmp_path, rows, "obb_v1", beside=False).numbers["obb_v1"]
    expected = 0
    for x, y, w, h, a in truths:
        middle, cos, sin = np.array([x, y]), np.cos(float(a)), np.sin(float(a))
        pair = []
        for side in (w, 2 * w):
            along, across = np.array([side / 2 * cos, -side / 2 * sin]), np.array([-h / 2 * sin, -h / 2 * cos])
            front, back = middle + along, middle - along
            pair.append(shapely.Polygon([front + across, front - across, back - across, back + across]))
        expected += pair[0].intersection(pair[1]).area / float(np.float32(pair[0].union(pair[1]).area)) >= 0.5
    assert 10 < expected < 80
    assert all_of["all"]["counts"]["0.5"] == expected
    assert all(iou == pytest.approx(0.5, abs=1e-6) for _, iou, *_ in all_of["per_row"])


def test_slivers_and_degenerate_boxes_do_not_stop_it(tmp_path):
    texts = ["5,5,0,9,7", "5,5,9,0,0", "5,5,0,0,0", "5,5,9,9,90", f"5,5,{2**31},9,30", f"5,5,9,{2**63},30", "5,5,9,9,1"]
    for mode in MODES[1:]:
        rows = [row(said, obb_v1=true, obb_v2=true) for said in texts for true in texts]
        numbers = scored(tmp_path, rows, mode).numbers[mode]
        assert numbers["all"]["total"] == 49 and numbers["all"]["valid"] >= 36
        assert all(0 <= iou <= 1.001 for _, iou, *_ in numbers["per_row"])


def test_sums_leave_out_what_cannot_be_read(tmp_path):
    rows = [row(BOX), row("{<35><30><50><60>}", is_unique=0), row("none", is_unique=False), row(BOX, is_unique=2)]
    scores = scored(tmp_path, rows)
    numbers = scores.numbers["hbb"]
    half = 16 * 31 / 961
    assert numbers["all"]["total"] == 3 and numbers["all"]["valid"] == 2 and numbers["all"]["invalid_lines"] == 1
    assert numbers["all"]["counts"] == {"0.5": 2, "0.7": 1}
    assert numbers["all"]["meanIoU"] == pytest.approx(100 * (1 + half) / 3)
    assert numbers["all"]["cumIoU"] == pytest.approx(100 * (961 + 496) / (2 * 961))
    assert numbers["unique"]["total"] == 1 and numbers["non_unique"]["total"] == 2
    assert numbers["all"]["other_messages"] == ["not enough values to unpack (expected 4, got 0)"]
    assert numbers["all"]["printed"][0] == "number of total/valid samples: 3 2"
    assert scores.rows[3].published is None and scores.rows[3].reasons == ("skipped",)
    assert any("1 rows are skipped" in note for note in scores.notes)
    # among the unique ones all is well, and a part without any score has no sums
    assert numbers["unique"]["cumIoU"] == 100 and not scores.stops
    assert scored(tmp_path, [row("none")]).numbers["hbb"]["all"]["cumIoU"] is None
    assert [s.id for s in scored(tmp_path, [row("none")]).stops] == ["all"]


def test_stops(tmp_path):
    rows = [
        row(BOX),
        row(None),
        {"image_id": "i", "unique": True, "ground_truth": BOX, "answer": BOX},  # as VRSBench's own files have it
        {"is_unique": 1, "ground_truth": BOX, "answer": BOX},
        row("9" * 5000),
        row(None, is_unique=2),  # skipped before anything is read
        {"image_id": "i", "is_unique": 0, "ground_truth": 7, "answer": BOX},
    ]
    scores = scored(tmp_path, rows)
    assert [(s.part, s.id) for s in scores.stops if isinstance(s.id, int)] == [("hbb", i) for i in (1, 2, 3, 4, 6)]
    assert scores.numbers["hbb"]["all"]["total"] == 6 and scores.numbers["hbb"]["all"]["valid"] == 3
    assert scores.numbers["hbb"]["unique"]["valid"] == 3


def test_a_truth_without_a_box_is_nobodys_fault(tmp_path):
    found = one(tmp_path, BOX, truth="none")
    assert found == (None, None, {"truth-unreadable"})


def test_repeated_ids_are_refused_unless_told_otherwise(tmp_path):
    rows = [row(BOX, question_id=3), row(BOX, question_id=3)]
    with pytest.raises(InputError, match="more than once"):
        scored(tmp_path, rows)
    assert scored(tmp_path, rows, partial="yes").numbers["hbb"]["all"]["total"] == 2
    assert scored(tmp_path, [row(BOX, question_id=3), row(BOX, question_id=4)]).numbers["hbb"]["all"]["total"] == 2


def test_the_mode_comes_from_the_folder(tmp_path):
    rows = [row(V1, obb_v1=V1, obb_v2=V1)]
    for folder, mode in (("outputs_obb_v1_new", "obb_v1"), ("out", "hbb"), ("obb_v2", "obb_v2")):
        (tmp_path / folder).mkdir(exist_ok=True)
        (tmp_path / folder / NAME).write_text(json.dumps(rows[0]))
        assert list(PROTOCOL.score(tmp_path / folder, {}, False).numbers) == [mode]
    assert list(PROTOCOL.score(tmp_path, {}, False).numbers) == list(MODES)
    assert list(PROTOCOL.score(tmp_path, {"mode": "obb_v2"}, False).numbers) == ["obb_v2"]


@pytest.mark.parametrize(
    "make, settings, match",
    [
        (lambda folder: None, {}, "hold no rsbench_referring_v2.json"),
        (lambda folder: None, {"mode": "obb"}, "no mode of VRSBench"),
        (lambda folder: (folder / NAME).write_text("[1, 2]"), {}, "JSON object"),
        (lambda folder: (folder / NAME).write_text("{"), {}, "no JSON"),
        (lambda folder: (folder / NAME).write_text(""), {}, "holds no answers"),
    ],
)
def test_bad_input_is_one_sentence(tmp_path, make, settings, match):
    folder = tmp_path / "files"
    folder.mkdir()
    make(folder)
    with pytest.raises(InputError, match=match):
        PROTOCOL.score(folder, settings, False)


def test_a_folder_of_an_unclear_mode_and_a_missing_one_are_refused(tmp_path):
    with pytest.raises(InputError, match="names neither obb_v1 nor obb_v2"):
        scored(tmp_path, [row(BOX)], "obb_new")
    with pytest.raises(InputError, match="does not exist"):
        PROTOCOL.score(tmp_path / "nowhere", {}, False)


@pytest.mark.parametrize("mode", MODES)
def test_megabytes_of_junk_are_read_in_bounded_time(tmp_path, mode):
    junk = ["[1 " * 300_000, "{<1>" * 250_000, "1" * 1_000_000, "<" * 1_000_000, "-1." * 300_000, "[" * 1_000_000]
    giants = [f"{{<{10**k}><{10**k}><{10**k}><{10**k}>|<{10**k}>}}" for k in (8, 18, 20, 60, 300, 4000)]
    rows = [row(text, text, obb_v1=text, obb_v2=text) for text in [*junk, *giants, BOX]]
    rows += [row(text, BOX, obb_v1=V1, obb_v2=V1) for text in [*junk, *giants]]
    scores = scored(tmp_path, rows, mode)
    assert len(scores.rows) == len(rows)
    assert all(r.reasons for r in scores.differing())
    json.dumps(scores.numbers)
