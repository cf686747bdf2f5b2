"""What all formats share: files that are not trusted, accounts, and the table."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import shapely
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.geometry import GeoGrid, Objects
from georefer.imagery.write import write_png
from georefer.scenes import Scene
from georefer.scenes.interchange import FORMATS, LabelledImage, files, image_sizes, read, write
from georefer.scenes.interchange.base import Account, Rows
from georefer.scenes.interchange.files import safe_name

EVIL = ["../a.png", "/etc/passwd", "a/../../b", "C:\\a.png", "..\\a.png", "\\\\host\\a", "~/a", "", " ", "a\0b", "a\nb",
        None, 3, "x" * 2000, "."]  # fmt: skip


@pytest.mark.parametrize("name", EVIL)
def test_names_that_lead_out_are_refused(name, tmp_path):
    assert safe_name(name) is None
    if isinstance(name, str):
        for format_, options in (("coco", {}), ("dota", {}), ("yolo", {}), ("voc", {})):
            with pytest.raises(InputError, match="relative name"):
                write(format_, [LabelledImage(name, 9, 9, Objects.none())], tmp_path / "deep" / "er", **options)


@given(st.text(max_size=30))
def test_a_safe_name_stays_inside(tmp_path_factory, name):
    safe = safe_name(name)
    root = tmp_path_factory.getbasetemp().resolve()
    assert safe is None or ((root / safe).resolve().is_relative_to(root) and safe_name(safe) == safe)


def test_ordinary_names_stay():
    assert [safe_name(n) for n in ("a.png", "x/y z/é.tif", "x\\y.png", "./a", "a..b.png")] == [
        "a.png", "x/y z/é.tif", "x/y.png", "a", "a..b.png",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "content", [b"\xff\xfe\x00", b"{", b"[" * 200_000, b"1" * 9_000, b"3", b"[1]", b'{"images": 3}']
)
def test_files_that_are_no_annotations_are_refused_in_one_sentence(tmp_path, content):
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(InputError) as error:
        read("coco", tmp_path / "a.json")
    assert "\n" not in str(error.value) and len(str(error.value)) < 500


def test_large_files_are_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(files, "MAX_JSON_BYTES", 10)
    (tmp_path / "a.json").write_text(json.dumps({"images": [], "annotations": []}))
    with pytest.raises(InputError, match="larger than the 10 bytes"):
        read("coco", tmp_path / "a.json")


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path):
    (tmp_path / "P1.txt").write_bytes(b"\xef\xbb\xbf0 0 4 0 4 4 0 4 ship 0\r\n")
    assert read("dota", tmp_path).account.kept == 1


def test_links_out_of_the_folder_are_not_followed(tmp_path):
    (tmp_path / "secret.txt").write_text("0 0 4 0 4 4 0 4 ship 0")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "a.txt").symlink_to(tmp_path / "secret.txt")
    with pytest.raises(InputError, match=r"holds no \.txt file"):
        read("dota", tmp_path / "d")
    (tmp_path / "d" / "b.txt").write_text("0 0 4 0 4 4 0 4 ship 0")
    assert read("dota", tmp_path / "d").account.dropped.counts == {"link out of the folder, not followed": 1}


def test_sizes_are_read_from_a_folder_of_images(tmp_path):
    (tmp_path / "x").mkdir()
    write_png(tmp_path / "x" / "a.png", np.zeros((30, 40, 3), np.uint8))
    write_png(tmp_path / "grey.png", np.zeros((3, 4), np.uint8))
    (tmp_path / "note.txt").write_text("no image")
    assert image_sizes(tmp_path) == {"grey.png": (4, 3), "x/a.png": (40, 30)}


@pytest.mark.parametrize("name", FORMATS)
def test_what_is_not_there_is_said(name, tmp_path):
    options = {"yolo": {"sizes": {}, "names": ["a"]}, "coco-results": {"truth": None}}
    with pytest.raises(InputError, match="check the path"):
        read(name, tmp_path / "nothing", **options.get("yolo" if name.startswith("yolo") else name, {}))
    with pytest.raises(InputError, match="choose among coco, coco-results, dota"):
        read("coco2", tmp_path)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    (tmp_path / "a.json").write_text("old")
    objects = Objects.from_hbb([[0, 0, 1, 1]], ["a"], attributes=[{"x": object()}])
    with pytest.raises(InputError, match="no JSON value"):
        write("coco", [LabelledImage("a.png", 9, 9, objects)], tmp_path / "a.json")
    assert [p.name for p in tmp_path.iterdir()] == ["a.json"] and (tmp_path / "a.json").read_text() == "old"


def test_ids_are_made_unique_without_taking_those_to_come():
    account = Account()
    rows = Rows(account)
    for id_ in (None, "0", "0", None, "5"):
        rows.add(shapely.box(0, 0, 1, 1), "a", "hbb", id=id_)
    assert rows.objects().ids_N.tolist() == ["1", "0", "2", "3", "5"]
    assert account.kept == 5 and account.changed.total == 1


def test_an_account_says_what_happened():
    account = Account(3)
    for n in range(5):
        account.dropped.add("no area", f"a.txt:{n}")
    account.changed.add("holes filled", "x")
    assert str(account).splitlines() == [
        "3 objects kept, 5 rows dropped", "  dropped 5: no area (as in a.txt:0; a.txt:1; a.txt:2)",
        "  changed 1: holes filled (as in x)",
    ]  # fmt: skip


def test_scenes_go_out_and_masks_go_everywhere(tmp_path):
    mask = shapely.Polygon([(0, 0), (4, 0), (4, 2), (2, 2), (2, 4), (0, 4)])
    scene = Scene("s1", b"", Objects.of([mask], ["ship"], kind="mask"), GeoGrid.none(40, 30), "train")
    image = LabelledImage.of_scene(scene)
    assert (image.file_name, image.width, image.height) == ("s1.png", 40, 30)
    for name in ("coco", "dota", "yolo", "yolo-obb", "yolo-seg", "voc"):
        assert write(name, [image], tmp_path / name / "out").kept == 1
    (found,) = read("coco", tmp_path / "coco" / "out").images[0].objects
    assert found.kind == "mask" and found.geometry.equals(mask)


def test_the_example_of_the_reference_page_runs(tmp_path, monkeypatch, capsys):
    page = Path(__file__).parents[3] / "docs" / "reference" / "interchange.md"
    (code,) = re.findall(r"```python\n(.*?)```", page.read_text(), re.S)
    assert len(code.strip().splitlines()) == 5
    monkeypatch.chdir(tmp_path)
    exec(compile(code, page.name, "exec"), {})
    said = capsys.readouterr().out
    assert "1 objects kept, 0 rows dropped" in said and "<Objects 1: 1 ship>" in said
    assert all(f"| `{name}` |" in page.read_text() for name in FORMATS)
