"""Rewording a dataset as a step of its own: what is added, what stays, and that a stopped run goes on."""

import hashlib
import json
from dataclasses import replace

import pytest
from tests.data.endpoint import completion, server
from tests.data.small import small_scene

from georefer.building.reword import expression_of, reword, vocabulary_of
from georefer.building.rewriter import RewriteSettings
from georefer.errors import ConfigError, DatasetError, InputError
from georefer.scenes import DatasetWriter, Question, open_dataset

LEFT = {"expression": "the leftmost pool", "by": "position", "facts": [["class", "pool"], ["position", "leftmost"]]}
ALL = {"expression": "all pools", "by": "class", "facts": [["class", "pool", "pools"]]}
SAID = {
    "the leftmost pool": ["the pool furthest to the left", "the rightmost pool"],
    "all pools": ["the pools", "the pool"],
}


def good(number, phrases):
    return completion(json.dumps([SAID.get(phrase, []) for phrase in phrases]))


def dataset(folder, words=None):
    """Two scenes to train on and one to test on, each asked of one pool, of all pools, and of tanks."""
    splits = {"train": (0, 1), "test": (2,)}
    with DatasetWriter(folder) as writer:
        for split, numbers in splits.items():
            scenes = [small_scene(n, split=split) for n in numbers]
            asked = [
                Question(f"{scene.id}/{task}/0", scene.id, task, params, ids)
                for scene in scenes
                for task, params, ids in (
                    ("rec", LEFT, ("0",)), ("grec", ALL, ("0", "1")), ("detection", {"label": "tank"}, ()),
                )
            ]  # fmt: skip
            writer.write(split, scenes, asked)
        words = {"pool": {"plural": "pools", "synonyms": ["basin"]}} if words is None else words
        return writer.finish("# Mine\n", labels=["pool", "tank"], words=words, counts={"train: scenes": 2})


def settings(url, **more):
    return RewriteSettings(url, "m", **{"retries": 0, **more})


def test_questions_are_asked_again_in_words_that_keep_their_facts(tmp_path):
    given = dataset(tmp_path / "given")
    with server(good) as (url, seen):
        made = reword(given, tmp_path / "made", settings(url))
    # each phrase was asked once, though two scenes have it, and nothing that is only tested on
    assert [phrases for _, _, phrases in seen] == [["the leftmost pool", "all pools"]]
    assert made.questions("test") == given.questions("test")
    found = made.questions("train")
    assert [q for q in found if "reworded_from" not in q.params] == given.questions("train")
    assert [q.id for q in found[:5]] == [
        "scene-0/rec/0", "scene-0/rec/0/r0", "scene-0/grec/0", "scene-0/grec/0/r0", "scene-0/detection/0",
    ]  # fmt: skip
    assert found[1] == replace(
        found[0],
        id="scene-0/rec/0/r0",
        params={**LEFT, "expression": "the pool furthest to the left", "reworded_from": "scene-0/rec/0"},
    )
    assert found[3].params["expression"] == "the pools" and found[3].answer_ids == ("0", "1")
    done = made.manifest["reworded"]
    assert done["counts"] == {
        "refused: a class or attribute is missing or changed": 2, "refused: position is missing or changed": 2,
        "taken": 4,
    }  # fmt: skip
    assert done["from"] == given.fingerprint and made.manifest["labels"] == ["pool", "tank"]
    for split in ("train", "test"):
        pairs = zip(made.scenes(split), given.scenes(split), strict=True)
        assert all(a.image == b.image and a.id == b.id for a, b in pairs)
    card = (made.folder / "README.md").read_text()
    assert card.startswith("# Mine") and "4 questions" in card


def test_a_run_that_was_stopped_goes_on_and_ends_with_the_same_bytes(tmp_path):
    given, cache = dataset(tmp_path / "given"), tmp_path / "cache.jsonl"

    def breaks(number, phrases):
        return (401, b"") if number == 2 else good(number, phrases)

    with server(breaks) as (url, seen), pytest.raises(ConfigError):
        reword(given, tmp_path / "made", settings(url, batch=1, cache=cache))
    assert len(seen) == 2 and not (tmp_path / "made").exists()
    with server(good) as (url, seen):
        reword(given, tmp_path / "made", settings(url, batch=1, cache=cache))
        assert [phrases for _, _, phrases in seen] == [["all pools"]]
        reword(given, tmp_path / "again", settings(url, batch=1, cache=cache))
        assert len(seen) == 1
    assert hashes(tmp_path / "made") == hashes(tmp_path / "again")


def hashes(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_thought_speaks_of_the_new_words(tmp_path):
    params = {**LEFT, "thought": 'There are 2 pools. Only one object answers to "the leftmost pool".'}
    with DatasetWriter(tmp_path / "given") as writer:
        scene = small_scene(0, split="train")
        writer.write("train", [scene], [Question("a", scene.id, "rec", params, ("0",))])
        given = writer.finish("given", labels=["pool"])
    with server(good) as (url, _):
        found = reword(given, tmp_path / "made", settings(url)).questions("train")
    said = 'There are 2 pools. Only one object answers to "the pool furthest to the left".'
    assert [q.params["thought"] for q in found] == [params["thought"], said]


def test_a_server_that_says_nothing_leaves_the_dataset_as_it_is(tmp_path):
    given = dataset(tmp_path / "given")
    made = reword(given, tmp_path / "made", settings("http://127.0.0.1:9"))
    assert made.questions("train") == given.questions("train")
    assert made.manifest["reworded"]["unanswered"] == {"no answer: the connection failed": 1}


def test_what_is_reworded_already_is_not_reworded_again(tmp_path):
    given = dataset(tmp_path / "given")
    with server(good) as (url, _):
        once = reword(given, tmp_path / "once", settings(url))
        twice = reword(once, tmp_path / "twice", settings(url, per_phrase=1), splits=("test",))
    assert twice.questions("train") == once.questions("train")
    assert len(twice.questions("test")) == len(given.questions("test")) + 2


def test_synonyms_of_the_manifest_may_stand_for_the_class(tmp_path):
    for words, taken in (({}, 0), (None, 1)):
        given = dataset(tmp_path / f"given{taken}", words)
        found = [e for q in given.questions("test") if (e := expression_of(q))]
        known = vocabulary_of(given.manifest, found)
        assert len(known.free_synonyms("pool")) == taken and known.labels == ("pool", "tank")


def test_wrong_input_is_refused_and_nothing_is_asked(tmp_path):
    given = dataset(tmp_path / "given")
    with server(good) as (url, seen):
        with pytest.raises(InputError, match="no split"):
            reword(given, tmp_path / "made", settings(url), splits=("validation",))
        with pytest.raises(DatasetError, match="exists already"):
            reword(given, tmp_path / "given", settings(url))
        with DatasetWriter(tmp_path / "plain") as writer:
            scene = small_scene(0, split="train")
            writer.write("train", [scene], [Question("a", scene.id, "rec", {"expression": "the pool"}, ("0",))])
            writer.finish("plain")
        with pytest.raises(InputError, match="holds an expression with facts"):
            reword(open_dataset(tmp_path / "plain"), tmp_path / "made", settings(url))
    assert not seen and not (tmp_path / "made").exists()
