"""Tokens of served answers find their place in the text, whatever the server makes of spaces and bytes."""

import json

import pytest

from georefer.models.spans import Told, told


def content(*tokens):
    """Rows as servers send them: (token, its bytes or None)."""
    return {
        "content": [
            {"token": t, "bytes": None if b is None else list(b), "logprob": -0.5 * n}
            for n, (t, b) in enumerate(tokens)
        ]
    }


def alone(*tokens):
    """As vLLM: bytes of what each token reads alone."""
    return content(*((token, token.encode()) for token in tokens))


@pytest.mark.parametrize(
    ("text", "scores", "parts"),
    [
        # bytes join to the text
        ("[12, 3] ship", alone("[", "12", ",", " ", "3", "]", " ship"), ["[", "12", ",", " ", "3", "]", " ship"]),
        # and go on with a token of the end, which is not in it
        ("none", alone("no", "ne", "<|im_end|>"), ["no", "ne", ""]),
        # the answer was stripped
        ("a b", alone("\n", "a", " b", "\n"), ["", "a", " b", ""]),
        ("a b", alone("\na", " b", "\n"), ["a", " b", ""]),
        # no bytes told, only tokens
        ("[1, 2]", content(("[1", None), (", ", None), ("2]", None)), ["[1", ", ", "2]"]),
        # a letter of two tokens, by its bytes: it belongs to the last
        ("né [1]", content(("n", b"n"), ("\ufffd", b"\xc3"), ("\ufffd", b"\xa9"), (" [1]", b" [1]")),
         ["n", "", "é", " [1]"]),
        # and the same where only unreadable tokens are told: it belongs to what follows
        ("né [1]", alone("n", "\ufffd", "\ufffd", "[", "1]"), ["n", "", "", "é [", "1]"]),
        ("car 汽", alone("car", "\ufffd", "\ufffd"), ["car", "", ""]),
        # each token decoded alone lost the space before it; a space is the next token's
        ("car [12, 3] red", alone("car", "[12", ",", "3", "]", "red"), ["car", " [12", ",", " 3", "]", " red"]),
        ("car [12]", alone("\u2581car", "\u2581[", "12", "]", "</s>"), ["car", " [", "12", "]", ""]),
        ("car  [1]", alone("car", "", "", "[1]"), ["car", "", "", "  [1]"]),
        # special tokens between others that the text leaves out
        ("ship(1,2)", alone("<|object_ref_start|>", "ship", "<|object_ref_end|>", "(1", ",2)", "<|im_end|>"),
         ["", "ship", "", "(1", ",2)", ""]),
        ("<loc_12> a", alone("<loc_12>", "a"), ["<loc_12>", " a"]),
    ],
)  # fmt: skip
def test_tokens_stand_where_they_were_said(text, scores, parts):
    found = told(text, json.loads(json.dumps(scores)))
    assert [text[start:end] for start, end in found.spans] == parts
    assert found.logprobs == tuple(-0.5 * n for n in range(len(parts)))


@pytest.mark.parametrize(
    "scores",
    [
        None,  # not asked for
        {},
        {"content": None},
        {"content": []},
        {"content": 3},
        {"content": ["a", "b"]},
        {"content": [{"token": "a"}, {"token": "b"}]},  # no probability
        alone("a", "c"),  # another text
        alone("a"),  # a part of it
        alone("token_id:5", "token_id:6"),
        {"content": [{"token": "a b", "bytes": [999], "logprob": 0.0}]},
        {"content": [{"token": "a", "bytes": 10**15, "logprob": 0.0}]},  # which would fill the memory
        {"content": [{"token": "a b", "bytes": None, "logprob": float("nan")}]},
        {"content": [{"token": "a b", "bytes": None, "logprob": float("-inf")}]},
        {"content": [{"token": "\ud800", "bytes": None, "logprob": 0.0}]},
    ],
)
def test_tokens_that_are_not_those_of_the_text_tell_nothing(scores):
    assert told("a b", scores) == Told("a b")


def test_an_unreadable_end_stands_for_few_characters():
    assert told("a" + " b" * 10, alone("a", "\ufffd")) == Told("a" + " b" * 10)


def test_a_word_that_comes_again_is_not_skipped():
    """What stands far behind is not the next token, even if it reads the same."""
    assert told("a b c b", alone("a", "c", "b")) == Told("a b c b")


def test_a_probability_above_one_is_one():
    assert told("a", {"content": [{"token": "a", "bytes": None, "logprob": 1e-4}]}).logprobs == (0.0,)
