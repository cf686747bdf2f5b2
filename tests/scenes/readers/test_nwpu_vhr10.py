"""NWPU VHR-10: boxes of ten classes, negative images, files written as they were."""

import pytest
from tests.data.published_2 import nwpu

from georefer.errors import InputError
from georefer.geometry import Objects
from georefer.scenes.interchange.base import Account, LabelledImage
from georefer.scenes.readers.base import Published
from georefer.scenes.readers.nwpu_vhr10 import SOURCE


def test_both_sets_of_images(tmp_path):
    read = SOURCE.read(nwpu(tmp_path / "n"))
    assert list(read.images) == ["positive image set/001.jpg", "002.jpg", "negative image set/001.jpg"]
    first, second, third = read.images.values()
    assert (first.width, first.height, second.width) == (958, 808, None)
    assert first.objects.labels_N.tolist() == ["airplane", "vehicle"]
    assert first.objects.hbb_N4.tolist() == [[563, 478, 630, 573], [10, 20, 30, 40]]
    assert third.attributes == {"negative": True} and len(third.objects) == 0 and read.account.kept == 3


def test_files_come_back(tmp_path):
    read = SOURCE.read(nwpu(tmp_path / "n"))
    account = SOURCE.write(read, tmp_path / "again")
    assert (tmp_path / "again" / "001.txt").read_text() == "(563,478),(630,573),1\n(10,20),(30,40),10\n"
    assert (tmp_path / "again" / "002.txt").read_text() == "(1,2),(3,4),3\n"
    assert account.kept == 3 and not account.dropped.total and not account.changed.total
    assert len(list((tmp_path / "again").iterdir())) == 2


def test_what_the_format_cannot_hold_is_counted(tmp_path):
    objects = Objects.from_hbb([[1.2, 1, 5, 5], [0, 0, 0.2, 9], [0, 0, 9, 9]], ["ship", "ship", "car"])
    images = {"a.jpg": LabelledImage("a.jpg", None, None, objects)}
    account = SOURCE.write(Published("mine", images, (), Account()), tmp_path)
    assert (tmp_path / "a.txt").read_text() == "(1,1),(5,5),2\n"
    assert account.changed.counts == {"written as its box in whole pixels": 1}
    assert account.dropped.counts == {"no area in whole pixels of the image": 1, "class is none of the ten": 1}


def test_bad_lines_are_counted(tmp_path):
    rows = ["(1,2),(3,4),11", "(3,2),(3,4),1", "1,2,3,4,5", "(1,2),(3,4),1", "(" * 100_000]
    (tmp_path / "001.txt").write_text("\n".join(rows))
    read = SOURCE.read(tmp_path)
    assert read.account.kept == 1 and read.account.dropped.counts == {
        "class number is none of the ten": 1, "no area": 1, "not (x1,y1),(x2,y2),class": 2
    }  # fmt: skip
    (tmp_path / "001.txt").write_text("0 0.5 0.5 0.1 0.1")
    with pytest.raises(InputError, match="holds no line like"):
        SOURCE.read(tmp_path)
