"""Records one by one, names and sizes of pictures, ids of objects: what all readers of published sets rest on."""

import json

import pytest
import shapely
from tests.data.published_1 import picture

from georefer.errors import InputError
from georefer.scenes.interchange.base import Account
from georefer.scenes.readers import common

BOX = shapely.box(1, 2, 3, 4)


def read(path):
    account = Account()
    return [row for _, row in common.records(path, account)], account


@pytest.mark.parametrize(
    "text, rows, dropped",
    [
        ('{"a": 1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], {}),  # lines
        ('\ufeff\n\n{"a": 1}', [{"a": 1}], {}),  # a byte order mark, empty lines, no last line feed
        ('[{"a": 1}, {"a": 2}]', [{"a": 1}, {"a": 2}], {}),  # an array
        ('[\n {"a": 1},\n {"a":\n  2}\n]\n', [{"a": 1}, {"a": 2}], {}),  # an array over lines
        ("[]", [], {}),
        ("", [], {}),
        ('{"a":\n1}\n{"a": 2}\n', [{"a": 1}, {"a": 2}], {}),  # a record wrapped between values
        ('{"a": "x\ny"}\n{"a": 2}\n', [{"a": "x\ny"}, {"a": 2}], {}),  # and within a text
        ('{"a": 1}{"a": 2} {"a": 3}\n', [{"a": 1}, {"a": 2}, {"a": 3}], {}),  # several on a line
        ('{"a": 1\n{"a": 2}\n', [{"a": 2}], {"line that is no JSON": 1}),  # one cut off
        ('oops\n{"a": 2}\n]\n', [{"a": 2}], {"line that is no JSON": 2}),
        ('7\n"b"\n{"a": 2}\n', [{"a": 2}], {"no JSON object": 2}),
        ("[" * 100_000 + "\n", None, {}),  # nested without end
        ('{"a":' * 50_000 + '\n{"a": 2}', [{"a": 2}], {"line that is no JSON": 1}),
        ('[{"a": 1}, {"a": 2', None, {}),  # an array cut off
        ('[{"a": 1} x]', None, {}),
    ],
)
def test_records(tmp_path, text, rows, dropped):
    file = tmp_path / "rows.json"
    file.write_text(text, "utf-8")
    if rows is None:
        with pytest.raises(InputError):
            read(file)
    else:
        found, account = read(file)
        assert found == rows and account.dropped.counts == dropped


@pytest.mark.parametrize("indent", [None, 1])
def test_arrays_longer_than_a_chunk_are_read_record_by_record(tmp_path, monkeypatch, indent):
    monkeypatch.setattr(common, "CHUNK_CHARS", 64)
    rows = [{"n": n, "text": "],[{}" * (n % 40)} for n in range(300)]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps(rows, indent=indent))
    assert read(file)[0] == rows
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert read(file)[0] == rows
    # wrapped at every comma, in blocks that cut lines anywhere
    file.write_text("".join(json.dumps(row).replace(", ", ",\n") + "\n" for row in rows))
    assert read(file)[0] == rows


def test_records_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(common, "MAX_RECORD_CHARS", 1 << 12)
    monkeypatch.setattr(common, "CHUNK_CHARS", 1 << 10)
    for text in ('{"a": "' + "x" * 20_000 + '"}', '[{"a": "' + "x" * 20_000 + '"}]', "[" + '"' * 20_001):
        (tmp_path / "long.json").write_text(text)
        with pytest.raises(InputError):
            read(tmp_path / "long.json")
    (tmp_path / "bad.jsonl").write_text("[1,\n{\n" + "{x\n" * 1_100)
    with pytest.raises(InputError):
        read(tmp_path / "bad.jsonl")
    (tmp_path / "bad.jsonl").write_text("{x\n" * 1_100)
    with pytest.raises(InputError, match="no JSON"):
        read(tmp_path / "bad.jsonl")
    monkeypatch.setattr(common, "MAX_RECORDS", 3)
    (tmp_path / "many.jsonl").write_text("{}\n" * 4)
    with pytest.raises(InputError, match="more than"):
        read(tmp_path / "many.jsonl")


def test_endless_digits_are_no_number(tmp_path):
    (tmp_path / "a.jsonl").write_text('{"a": ' + "9" * 10_000 + ', "b": 12345678901234567890, "c": -7}\n')
    ((row,), _) = read(tmp_path / "a.jsonl")
    assert row["a"] == float("inf") and row["b"] == 12345678901234567890.0 and row["c"] == -7
    assert common.box_shape([0, 0, row["a"], 5])[0] is None


@pytest.mark.parametrize("data", [b"\xff\xfe{}", b'{"a": "\xff"}\n'])
def test_what_is_no_text(tmp_path, data):
    (tmp_path / "a.jsonl").write_bytes(data)
    with pytest.raises(InputError):
        read(tmp_path / "a.jsonl")
    with pytest.raises(InputError):
        read(tmp_path / "missing.jsonl")


def test_pictures_are_found_only_in_their_folder(tmp_path):
    picture(tmp_path / "in" / "sub" / "a.PNG", (30, 20))
    picture(tmp_path / "out.png", (5, 5))
    (tmp_path / "in" / "link.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "in" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    gathered = common.Gathering("set", tmp_path / "in")

    def of(name, **options):
        key = gathered.image(name, "here", nominal=(8, 8), **options)
        return key and (key, gathered.size(key))

    assert of("a.jpg", subfolders=("sub",)) == ("sub/a.PNG", (30, 20))  # another ending, corrected
    assert of("link.png") == ("link.png", (8, 8))  # a link out of the folder is not followed
    assert of("broken.png") == ("broken.png", (8, 8))
    for name in ("../out.png", "/etc/passwd", "C:\\a.png", "", None, 7, "a\x00b", "~/a.png", "x" * 2_000):
        assert of(name) is None
    changed = gathered.account.changed.counts
    assert changed == {
        "image name with another ending than the picture's, corrected": 1,
        "picture that cannot be read": 1,
    }
    assert gathered.account.dropped.counts == {"image name leads out of its folder": 9}
    with pytest.raises(InputError, match="no usable row"):
        gathered.published(tmp_path)
    with pytest.raises(InputError):
        common.Gathering("set", tmp_path / "nowhere")


def test_sizes_measured_stated_nominal_and_unknown(tmp_path):
    picture(tmp_path / "a.png", (30, 20))
    gathered = common.Gathering("set", tmp_path)
    for name, options, size, attributes in (
        ("a.png", {"size": (31, 20), "nominal": (8, 8)}, (30, 20), {}),
        ("b.png", {"size": ("31", "20"), "nominal": (8, 8)}, (31, 20), {}),
        ("c.png", {"size": (0, "x"), "nominal": (8, 8)}, (8, 8), {"size": "nominal"}),
        ("d.png", {}, (None, None), {}),
    ):
        key = gathered.image(name, "here", **options)
        assert gathered.size(key) == size
        gathered.ask("1", key, "caption")
        assert gathered.published(tmp_path).images[key].attributes == attributes
    assert gathered.account.changed.counts == {"size in the file is not the picture's, which was taken": 1}


def test_an_object_said_again_is_the_same_one(tmp_path):
    gathered = common.Gathering("set")
    key = gathered.image("a.png", "here")
    assert [gathered.add(key, BOX, "ship", "hbb") for _ in range(3)] == ["0"] * 3
    assert gathered.add(key, BOX, "ship", "obb") == "1" and gathered.add(key, BOX, "boat", "hbb") == "2"
    assert gathered.add(key, BOX, "ship", "hbb", id="x") == "x"
    assert gathered.add(key, BOX, "ship", "hbb", id="x") == "3"
    assert gathered.account.changed.counts == {"id used twice in one image, replaced": 1}
    gathered.ask("1", key, "rec", params={"fine": [1], "deep": json.loads("[" * 30 + "]" * 30), "inf": float("inf")})
    (image,), (question,) = (published := gathered.published(tmp_path)).images.values(), published.questions
    assert image.objects.ids_N.tolist() == ["0", "1", "2", "x", "3"] and question.params == {"fine": [1]}


@pytest.mark.parametrize(
    "numbers, bounds, note",
    [
        ([1, 2, 3, 4], (1, 2, 3, 4), ""),
        (["1", "2", "3", "4.5"], (1, 2, 3, 4.5), ""),
        ([3, 4, 1, 2], (1, 2, 3, 4), "corners in another order, sorted"),
        ([1, 2, 1, 4], None, "box without area"),
        ([1, 2, 3], None, "box that is not four numbers"),
        ([1, 2, 3, None], None, "box that is not four numbers"),
        ([1, 2, 3, float("nan")], None, "box that is not four numbers"),
        ({"x": 1}, None, "box that is not four numbers"),
    ],
)
def test_boxes(numbers, bounds, note):
    shape, said = common.box_shape(numbers)
    assert (None if shape is None else shape.bounds, said) == (bounds, note)


def test_outlines():
    assert common.outline_shape([[0, 0], [4, 0], [4, 3]])[0].area == 6
    assert common.outline_shape([0, 0, 4, 0, 4, 3])[0].area == 6
    for bad in ([], [0, 0, 1, 1], [0, 0, 1, 1, 2], [0, 0, 1, 1, 2, 2], [[0, 0, 0]] * 3, "abc", None, [[0, 0], "ab"]):
        assert common.outline_shape(bad)[0] is None
    wild = [[(n * 7919) % 997, (n * 104_729) % 991] for n in range(2_000)]
    assert common.outline_shape(wild) == (None, "outline that crosses itself too often")


def test_nothing_is_written_where_a_value_is_no_json(tmp_path):
    with pytest.raises(InputError):
        common.write_records(tmp_path / "a.jsonl", [{"a": float("nan")}])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.json"])
def test_halves_of_letters_are_written_as_they_were_read(tmp_path, name):
    rows = [{"a": "\ud800 航空"}, {"a": "航空"}]
    common.write_records(tmp_path / name, rows)
    assert read(tmp_path / name)[0] == rows and "航空" in (tmp_path / name).read_text("utf-8") + "航空" * (
        name == "a.json"
    )


def test_records_stay_on_their_line_for_every_reader(tmp_path):
    """`str.splitlines` ends a line at separators that JSON leaves as they are."""
    rows = [{"text": "one\u2028two\x85three\u2029"}, {"text": "plain"}]
    common.write_records(tmp_path / "rows.jsonl", rows)
    assert [json.loads(line) for line in (tmp_path / "rows.jsonl").read_text(encoding="utf-8").splitlines()] == rows
