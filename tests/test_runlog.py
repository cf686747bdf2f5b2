import json

import pytest

from georefer.runlog import JsonLines, swap_folder, versions, write_json, written_beside


def test_a_cut_last_line_is_left_out_and_removed(tmp_path):
    lines = JsonLines(tmp_path / "a.jsonl")
    assert lines.read() == []
    lines.append([{"a": 1}, {"a": 2}])
    with lines.path.open("a") as file:
        file.write('{"a": 3')  # killed while writing
    assert lines.read() == [{"a": 1}, {"a": 2}]
    lines.cut_tail()
    lines.append([{"a": 4}])
    assert lines.read() == [{"a": 1}, {"a": 2}, {"a": 4}]


def test_a_file_is_whole_or_absent(tmp_path):
    path = tmp_path / "deep" / "x.txt"
    with pytest.raises(RuntimeError), written_beside(path) as partial:
        partial.write_text("half")
        raise RuntimeError
    assert list(path.parent.iterdir()) == []
    with written_beside(path) as partial:
        partial.write_text("whole")
    assert [p.name for p in path.parent.iterdir()] == ["x.txt"]


def test_json_holds_no_nan(tmp_path):
    write_json(tmp_path / "x.json", {"a": float("nan"), "b": [1.5, float("nan")]})
    assert json.loads((tmp_path / "x.json").read_text()) == {"a": None, "b": [1.5, None]}


def test_versions_name_this_package():
    assert "georefer" in versions()


def test_a_folder_is_swapped_and_never_missing(tmp_path, monkeypatch):
    new, final = tmp_path / "new", tmp_path / "final"
    for folder, text in ((new, "new"), (final, "old")):
        folder.mkdir()
        (folder / "x").write_text(text)
    rename = type(new).rename

    def dies(self, target):
        if self == new:
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(type(new), "rename", dies)
    with pytest.raises(KeyboardInterrupt):
        swap_folder(new, final)
    assert (tmp_path / "final.old" / "x").read_text() == "old"
    monkeypatch.undo()
    swap_folder(new, final)
    assert (final / "x").read_text() == "new"
