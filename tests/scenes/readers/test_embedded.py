"""Pictures inside Parquet files: named once by their content, found again by their place."""

import pytest
from tests.data.geo_r1_fs import cell, encoded, parquet_rows, rec_row, vrsbench_fs

from georefer.errors import InputError
from georefer.scenes.readers import embedded
from georefer.scenes.readers.common import Gathering
from georefer.scenes.readers.embedded import Embedded, embedded_picture, parquet_files, picture_in


def test_files_by_split(tmp_path):
    assert parquet_files(tmp_path) == {}
    folder = vrsbench_fs(tmp_path)
    assert sorted(parquet_files(folder)) == ["train_10shot", "train_1shot", "val"]
    parquet_rows(folder / "data" / "val-00001-of-00002.parquet", [rec_row(1, (1, 1, 2, 2))])
    assert [file.name for file in parquet_files(folder / "data")["val"]] == [
        "val-00000-of-00001.parquet", "val-00001-of-00002.parquet",
    ]  # fmt: skip
    assert list(parquet_files(folder / "data" / "val-00001-of-00002.parquet")) == ["val"]
    assert parquet_files(tmp_path / "nowhere.parquet") == {}


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (cell(b"x", "a.png"), (b"x", "a.png")),
        ([cell(b"x"), cell(b"y")], (b"x", None)),  # the first of a list
        (b"x", (b"x", None)),
        ([], (None, None)),
        (cell(b""), (None, None)),
        (cell(None, "a.png"), (None, "a.png")),  # a path into somebody's cache is no picture
        ("x", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_picture_in_a_cell(value, expected):
    assert picture_in(value) == expected


def test_a_picture_has_one_name_by_its_content(tmp_path):
    gathered = Gathering("x")
    pictures = Embedded(gathered)
    one, two, three = (encoded(n) for n in range(3))
    jpeg = encoded(4, format="JPEG")
    names = [
        pictures.image(cell(data, path), ("f.parquet", number, "image"), "row")
        for number, (data, path) in enumerate(
            [(one, "/cache/a.png"), (one, "b.png"), (two, "C:\\x\\a.png"), (three, None), (jpeg, "a.jpg"), (jpeg, "z")]
        )
    ]
    assert names[0] == names[1] == "a.png" and names[4] == names[5]
    assert names[2].startswith("a-") and names[4].startswith("a-") and names[4].endswith(".jpg")  # a.png has the name
    assert len(set(names)) == 4 and gathered.size(names[3]) == (64, 48)
    assert pictures.image(cell(one[:20]), ("f", 9, "image"), "row") is None
    assert pictures.image(cell(encoded(9), "../.."), ("f", 9, "image"), "row") is None  # no name at all
    assert gathered.account.dropped.total == 2


@pytest.mark.parametrize("where", ["", "data"])
def test_bytes_are_found_again_by_place(tmp_path, where):
    rows = [{"image": cell(encoded(n))} for n in range(5)]
    parquet_rows(tmp_path / where / "val.parquet", rows, row_group_size=2)
    for number in (4, 0, 1, 3):
        found = embedded_picture(tmp_path, {embedded.PLACE: ["val.parquet", number, "image"]})
        assert found == encoded(number)
    assert embedded_picture(tmp_path, {}) is None
    for place in (["gone.parquet", 0, "image"], ["../val.parquet", 0, "image"]):
        with pytest.raises(InputError, match="give the folder of the Parquet files"):
            embedded_picture(tmp_path, {embedded.PLACE: place})
    with pytest.raises(InputError, match="it has changed since"):
        embedded_picture(tmp_path, {embedded.PLACE: ["val.parquet", 5, "image"]})


def test_files_that_claim_too_much_are_refused(tmp_path, monkeypatch):
    path = parquet_rows(tmp_path / "a.parquet", [rec_row(1, (1, 1, 9, 9))])
    monkeypatch.setattr(embedded, "MAX_GROUP_BYTES", 100)
    with pytest.raises(InputError, match="unpacks to"):
        list(embedded.rows(path, "images"))
