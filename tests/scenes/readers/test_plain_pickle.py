"""Pickles of plain values are read as pickle reads them; nothing else is, and nothing runs."""

import collections
import datetime
import pickle
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from georefer.errors import InputError
from georefer.scenes.readers import plain_pickle
from georefer.scenes.readers.plain_pickle import read_plain_pickle

SHARED = ["x", {"y": 1}]
PLAIN = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(-9, 9), inner),
    max_leaves=20,
)


class Runs:
    """What `pickle.loads` would call."""

    def __init__(self, what, *arguments):
        self.call = (what, arguments)

    def __reduce__(self):
        return self.call


def read(folder, data):
    (folder / "a.p").write_bytes(data)
    return read_plain_pickle(folder / "a.p")


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize(
    "value",
    [
        [{"ref_id": 1, "tokens": ["a", "b"], "n": -5, "score": 1.5, "none": None, "yes": True, "no": False}],
        ["äöü 航空", "line\nfeed", "", "x" * 70_000, "quote ' \" \\"],
        [0, 255, 256, 65_535, 65_536, 2**31, -(2**31), 2**40, -(2**63)],
        [(), (1,), (1, 2), (1, 2, 3), (1, 2, 3, 4), [], {}],
        [SHARED, SHARED, {"again": SHARED}],
        {str(n): [n] * 3 for n in range(3_000)},
    ],
)
def test_plain_values_are_read_as_pickle_reads_them(tmp_path, value, protocol):
    assert read(tmp_path, pickle.dumps(value, protocol)) == value


@given(value=PLAIN, protocol=st.integers(0, 5))
def test_any_plain_value(tmp_path_factory, value, protocol):
    assert read(tmp_path_factory.mktemp("pickles"), pickle.dumps(value, protocol)) == value


def test_values_that_python_2_wrote(tmp_path):
    assert read(tmp_path, b"(lp0\n(dp1\nS'ref_id'\np2\nI7\nsS'raw'\np3\nVa\\u00e4\np4\nsa.") == [
        {"ref_id": 7, "raw": "aä"}
    ]
    data = b"\x80\x02]q\x00}q\x01(U\x03abcq\x02K\x07U\x01dL12L\nua."
    assert read(tmp_path, data) == [{"abc": 7, "d": 12}]


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize(
    "value",
    [
        [Runs(__import__("os").system, "echo ran > ran.txt")],
        Runs(eval, "1 + 1"),
        {"a": Runs(__import__("builtins").open, "ran.txt", "w")},
        collections.OrderedDict(a=1),
        datetime.date(2020, 1, 1),
        [{1, 2}],
        [1j],
    ],
)
def test_nothing_is_imported_or_called(tmp_path, monkeypatch, value, protocol):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match="no pickle of plain"):
        read(tmp_path, pickle.dumps(value, protocol))
    assert [file.name for file in tmp_path.iterdir()] == ["a.p"]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b".",
        b"not a pickle",
        b"\x80\x04]",  # no end
        b"\x80\x04]].",  # two values left
        b"]0.",  # taken from below
        b"a.", b"e.", b"u.", b"t.", b"0.", b"1.", b"\x85.", b"s.", b"\x94.",  # nothing to work on
        b"h\x07.",  # a memo that nothing was put into
        b"](K\x01K\x02u.",  # items of a list
        b"}(K\x01u.",  # a key alone
        b"}K\x01a.",  # appended to a dict
        b"}](K\x01K\x02\x86K\x03u.",
        b"}(](K\x01eK\x01u.",  # a list as a key
        b"}(" + b"(" * 5_000 + b"t" * 5_000 + b"K\x01u.",  # a key nested without end
        b"I" + b"9" * 5_000 + b"\n.",  # digits without end
        b"L" + b"9" * 5_000 + b"L\n.",
        b"\x8b" + struct.pack("<i", 100_000) + b"\x7f" * 100_000 + b".",  # a number of 800,000 bits
        b"\x8b" + struct.pack("<i", -5) + b".",
        b"\x8a\x09" + b"\xff" * 8 + b"\x01.",  # just over 64 bits
        b"\x8d" + struct.pack("<Q", 1 << 62) + b"abc.",  # a text that claims 4 EiB
        b"X" + struct.pack("<I", 0xFFFFFFF0) + b"abc.",
        b"\x95" + struct.pack("<Q", 1 << 62) + b"\x82\x01.",  # a frame of that size, an extension
        b"\x96" + struct.pack("<Q", 1 << 40) + b"a.",
        b"Q.", b"R.", b"b.", b"\x81.", b"\x93.", b"Pid\n.", b"2.",  # persistent ids, calls, states, copies
        b"S'unclosed\n.",
        b"F1e\n.",
        b"X\x02\x00\x00\x00\xff\xff.",  # no UTF-8
    ],
)  # fmt: skip
def test_broken_and_hostile_pickles_are_refused(tmp_path, data):
    with pytest.raises(InputError, match="no pickle of plain"):
        read(tmp_path, data)


def test_a_place_in_the_memo_is_no_memory(tmp_path):
    # pickle itself makes a table up to that place: 32 GiB
    assert read(tmp_path, b"]r\xff\xff\xff\xff(j\xff\xff\xff\xffK\x01e.")[1] == 1
    assert read(tmp_path, b"]p4000000000000\n0g4000000000000\n.") == []


def test_a_value_that_grows_by_sharing_stays_small(tmp_path):
    laughs = b"]q\x00" + b"".join(
        b"](h" + bytes([n]) * 1 + (b"h" + bytes([n])) * 9 + b"eq" + bytes([n + 1]) for n in range(100)
    )
    value = read(tmp_path, b"(" + laughs + b"l.")  # 10 ** 100 places, some 1,000 pointers
    assert len(value) == 101 and len(value[-1]) == 10 and value[-1][0] is value[-2]


def test_pickles_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(plain_pickle, "MAX_OPCODES", 50)
    with pytest.raises(InputError, match="more than 50 steps"):
        read(tmp_path, b"(" + b"K\x01" * 60 + b"l.")
    monkeypatch.setattr(plain_pickle, "MAX_BYTES", 50)
    with pytest.raises(InputError, match="larger"):
        read(tmp_path, b"(" + b"K\x01" * 60 + b"l.")
    with pytest.raises(InputError, match="cannot be opened"):
        read_plain_pickle(tmp_path / "missing.p")
