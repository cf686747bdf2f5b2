"""The tiny model's tokenizer: whole numbers and whole frequent words are one token each, anything else falls to bytes.

A model of a million parameters can learn to copy a box number that is one token; spelling it digit by digit
costs minutes of training and three times the answer length. So the vocabulary is made by hand, not by merges.
"""

from __future__ import annotations

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import islice

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, EOS, IMAGE, USER, ASSISTANT = "<pad>", "<eos>", "<image>", "<user>", "<assistant>"
SPECIAL_TOKENS = (PAD, EOS, IMAGE, USER, ASSISTANT)

# Order matters: digit runs stand alone (so a number is the same token after "[", ", " or a space), the
# separator ", " is one piece, words and punctuation keep the one space before them, other white space is bytes.
_PIECES = r"\p{N}+|, | ?\p{L}+| ?[^\s\p{L}\p{N}]+|\s"


def build_tokenizer(
    texts: Iterable[str], numbers: int = 128, max_words: int = 2000, marks: Sequence[str] = ()
) -> PreTrainedTokenizerFast:
    """Tokenizer with every integer 0..`numbers` as one token, and the `max_words` most frequent pieces of `texts`.

    `marks` are further pieces of one token each wherever they stand, such as `dialects.runs.MASK_TOKENS`.

    Never meets an unknown: a piece outside the vocabulary is written byte by byte, so decode(encode(text)) is
    the text. Ties in frequency are broken by spelling, so the same texts give the same ids.
    """
    pre_tokenizer = _pre_tokenizer(marks)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    words = _frequent(texts, pre_tokenizer, max_words)
    wanted = [*SPECIAL_TOKENS, *alphabet, *map(str, range(numbers + 1)), *marks, *words]
    vocabulary = {token: index for index, token in enumerate(dict.fromkeys(wanted))}
    # `ignore_merges`: a piece found whole in the vocabulary is taken whole; without merges the rest is bytes.
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[], ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizer
    backend.decoder = decoders.ByteLevel()
    return _wrapped(backend)


def _wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        eos_token=EOS,
        additional_special_tokens=[IMAGE, USER, ASSISTANT],
        clean_up_tokenization_spaces=False,
        padding_side="left",
    )


def grown_tokenizer(
    tokenizer: PreTrainedTokenizerFast, texts: Iterable[str], most: int = 2000
) -> PreTrainedTokenizerFast:
    """The tokenizer with a token more for each of the `most` frequent pieces of `texts` that it spells in bytes.

    Ids of before stay what they are; the new ones follow them.
    """
    plain = json.loads(tokenizer.backend_tokenizer.to_str())
    vocabulary = plain["model"]["vocab"]
    pre_tokenizer = tokenizer.backend_tokenizer.pre_tokenizer
    spelled = (piece for piece in _frequent(texts, pre_tokenizer, sys.maxsize) if piece not in vocabulary)
    for piece in islice(spelled, most):
        vocabulary[piece] = len(vocabulary)
    return _wrapped(Tokenizer.from_str(json.dumps(plain)))


def number_ids(tokenizer: PreTrainedTokenizerFast, numbers: int) -> list[int]:
    """Token id of each integer 0..`numbers`, in order."""
    ids = tokenizer.convert_tokens_to_ids([str(number) for number in range(numbers + 1)])
    assert isinstance(ids, list)
    return ids


def text_ids(tokenizer: PreTrainedTokenizerFast, text: str) -> list[int]:
    """Ids of plain text: a "<image>" typed by a user stays seven characters and never becomes an image."""
    return tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)


def word_ids(tokenizer: PreTrainedTokenizerFast, words: Sequence[str]) -> list[int]:
    """Ids of words as they stand inside a sentence (after a space), leaving out those that fall to bytes."""
    pieces = [text_ids(tokenizer, " " + part) for word in words for part in word.split()]
    return list(dict.fromkeys(piece[0] for piece in pieces if len(piece) == 1))


def _pre_tokenizer(marks: Sequence[str]) -> pre_tokenizers.PreTokenizer:
    pieces = "|".join([*map(re.escape, marks), _PIECES])
    split = pre_tokenizers.Split(Regex(pieces), behavior="isolated")
    return pre_tokenizers.Sequence([split, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def _frequent(texts: Iterable[str], pre_tokenizer: pre_tokenizers.PreTokenizer, max_words: int) -> list[str]:
    # Digit runs are left out: numbers come from the frame's range alone, so that 500 in a caption adds nothing.
    pieces = (piece for text in texts for piece, _ in pre_tokenizer.pre_tokenize_str(text))
    counts = Counter(piece for piece in pieces if not piece.isdigit())
    ranked = sorted(counts.items(), key=lambda item: (-item[1], item[0]))
    return [piece for piece, _ in ranked[:max_words]]
