"""Pictures that are not trusted: where they are looked for, what their headers say, masks."""

import struct
import zlib

import pytest
from tests.data.published_1 import mask_file, picture

from georefer.scenes.readers import pictures


def bomb(width, height):
    """A PNG of a few bytes that claims a size."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0)),
        (b"IDAT", zlib.compress(b"")),
        (b"IEND", b""),
    ]
    parts = [
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("ending", [".png", ".JPG", ".tif", ".bmp", ".webp"])
def test_sizes_of_pictures(tmp_path, ending):
    assert pictures.picture_size(picture(tmp_path / f"a{ending}", (30, 20))) == (30, 20)


@pytest.mark.parametrize(
    "data",
    [b"", b"GIF89a" + b"\x00" * 30, b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"II*\x00\xff\xff\xff\xff", b"RIFF" * 9],
)
def test_what_is_no_picture_has_no_size(tmp_path, data):
    (tmp_path / "a.png").write_bytes(data)
    assert pictures.picture_size(tmp_path / "a.png") is None
    assert pictures.picture_size(tmp_path / "missing.png") is None and pictures.picture_size(tmp_path) is None


def test_sizes_that_are_claimed_cost_nothing(tmp_path):
    (tmp_path / "a.png").write_bytes(bomb(60_000, 60_000))
    assert pictures.picture_size(tmp_path / "a.png") is None
    assert pictures.read_mask(tmp_path / "a.png", (None, None)) == (None, "mask file that cannot be read")


def test_files_are_found_only_inside_their_folder(tmp_path):
    inside, outside = picture(tmp_path / "in" / "sub" / "a.png", (3, 2)), picture(tmp_path / "out.png", (3, 2))
    (tmp_path / "in" / "link.png").symlink_to(outside)
    (tmp_path / "in" / "loop.png").symlink_to(tmp_path / "in" / "loop.png")
    assert pictures.inside(tmp_path / "in", "sub/a.png") == inside
    for name in ("../out.png", str(outside), "link.png", "loop.png", "sub", "", "missing.png", "a\x00.png", "x" * 900):
        assert pictures.inside(tmp_path / "in", name) is None


def test_masks_from_files(tmp_path):
    shape, reason = pictures.read_mask(mask_file(tmp_path / "a.png", (9, 7), (2, 1, 5, 4)), (9, 7))
    assert shape.bounds == (2, 1, 5, 4) and reason == ""
    assert pictures.read_mask(tmp_path / "a.png", (None, None))[0].area == 9
    assert pictures.read_mask(tmp_path / "a.png", (7, 9)) == (None, "mask of another size than its image")
    assert pictures.read_mask(mask_file(tmp_path / "b.png", (9, 7), None), (9, 7)) == (None, "")
    assert pictures.read_mask(None, (9, 7)) == (None, "mask file missing")
    (tmp_path / "c.png").write_bytes(b"GIF89a")
    assert pictures.read_mask(tmp_path / "c.png", (9, 7)) == (None, "mask file that cannot be read")
