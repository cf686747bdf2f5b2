"""`georefer score --protocol` on the original's files, against every number that the original scorers gave for them."""

import gzip
import json
import math

import pytest

from georefer.cli import main

pytestmark = pytest.mark.shared

NOT_RESULTS = {"speed", "versions"}
NO_NUMBERS = ("/extract_choice_label", "_note ")
"""Recorded of single functions rather than of files, whose own tests hold them; and remarks."""

REWARDS = {"vlmr1_rec", "vlmr1_od", "vlmr1_text", "vlmr1_iou_pairs", "segzero", "visionreasoner"}

OF_GEO_R1 = {
    "rec", "extract_answer", "extract_answer_od", "ovd_constant", "ovd_scored", "ovd_tie_order", "gres", "gres_parse",
    "gres_clip",
}  # fmt: skip


def but(*names):
    return (REWARDS | OF_GEO_R1) - set(names)


CASES = [
    # protocol, folder of the reference, and keys of its expected.json that are no result of these files
    ("groundset", "groundset", {"csv_level/blank_noise", "csv_level/two_files", "csv_level/unbalanced_quote_mid"}),
    ("coco-captions", "captions", {"ptb_line_break_characters", "failed"}),
    ("fit-rsfg", "fit", {"fit_rsrc"}),
    ("fit-rsrc", "fit", {"complex_comprehension", "fit_vqa", "fit_scene", "hrben"}),
    ("geo-r1", "geo-r1", REWARDS | {"ovd_tie_order", "gres_parse", "gres_clip"}),
    ("vlm-r1", "geo-r1", but("vlmr1_rec", "vlmr1_od", "vlmr1_text")),
    ("seg-zero", "geo-r1", but("segzero")),
    ("visionreasoner", "geo-r1", but("visionreasoner")),
    ("vrsbench", "vrsbench", {"single_rows"}),
]


def expected_of(folder):
    plain = folder / "expected.json"
    return json.loads(
        plain.read_text() if plain.exists() else gzip.decompress((folder / "expected.json.gz").read_bytes())
    )


def differences(found, expected, where=""):
    """Every leaf of `expected` that `found` lacks or has otherwise."""
    if isinstance(expected, dict):
        for key, value in expected.items():
            if not isinstance(found, dict) or key not in found:
                yield f"{where}/{key} is missing"
            else:
                yield from differences(found[key], value, f"{where}/{key}")
    elif isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            yield f"{where} has another length"
        else:
            for i, (a, b) in enumerate(zip(found, expected, strict=True)):
                yield from differences(a, b, f"{where}/{i}")
    elif isinstance(expected, float) and isinstance(found, int | float):
        if not math.isclose(found, expected, rel_tol=1e-9, abs_tol=1e-9):
            yield f"{where} is {found}, expected {expected}"
    elif found != expected:
        yield f"{where} is {found!r}, expected {expected!r}"


def scored(path, protocol, out, *more):
    assert main(["score", str(path), "--protocol", protocol, "--json", str(out), *more]) == 0
    return json.loads(out.read_text())


@pytest.mark.parametrize("protocol, folder, without", CASES)
def test_every_number_is_the_original_s(golden, tmp_path, protocol, folder, without):
    expected = {k: v for k, v in expected_of(golden / folder).items() if k not in without | NOT_RESULTS}
    found = scored(golden / folder, protocol, tmp_path / "out.json")
    wrong = [line for line in differences(found, expected) if not any(name in line for name in NO_NUMBERS)]
    assert not wrong, (len(wrong), wrong[:20])


@pytest.mark.parametrize("case", ["blank_noise", "two_files", "unbalanced_quote_mid"])
def test_tables_are_read_as_the_original_reads_them(golden, tmp_path, case):
    folder = golden / "groundset" / "csv_level" / case
    found = scored(folder, "groundset", tmp_path / "out.json", "--set", "model=finetune")
    expected = expected_of(golden / "groundset")[f"csv_level/{case}"]
    del expected["rows_seen"]
    assert not list(differences(found["finetune/detection"], expected))
