"""What METEOR 1.5 knows of English: function words, abbreviations, WordNet's synonyms and a table of paraphrases.

georefer ships none of it. It is read from where the usual package for caption scores keeps it: the archive
`meteor-1.5.jar` (read as a zip, nothing of it is run) and beside it `data/paraphrase-en.gz`.
"""

from __future__ import annotations

import gzip
import importlib.util
import zipfile
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import NamedTuple

import numpy as np

from georefer.errors import InputError, MissingExtra
from georefer.scoring.captions.meteor_stem import stem

ARCHIVE = "meteor-1.5.jar"
PARAPHRASES = Path("data") / "paraphrase-en.gz"
MAX_MEMBER_BYTES = 64 << 20
"""Of a file in the archive, unpacked; the largest has 4 MB."""
MAX_PARAPHRASE_BYTES = 1 << 30
"""Of the table of paraphrases, unpacked; it has 272 MB."""
_CHUNK = 8 << 20

# WordNet's way from a form to its base: what an ending is replaced by, in the order of trying
_ENDINGS = (
    ("s", ""), ("ses", "s"), ("xes", "x"), ("zes", "z"), ("ches", "ch"), ("shes", "sh"), ("men", "man"), ("ies", "y"),
    ("s", ""), ("ies", "y"), ("es", "e"), ("es", ""), ("ed", "e"), ("ed", ""), ("ing", "e"), ("ing", ""),
    ("er", ""), ("est", ""), ("er", "e"), ("est", "e"),
)  # fmt: skip


class Word(NamedTuple):
    """What the matchers compare: words and stems by Java's hash of them, as METEOR does, and synonym sets by number."""

    key: int
    stem_key: int
    synsets: frozenset[int]
    is_function: bool


@dataclass(frozen=True, eq=False, repr=False)
class ParaphraseTable:
    """Phrases and their paraphrases by the hash of their UTF-8 text, which is of this process only.

    The paraphrases of phrase `keys_K[k]`, sorted, are `paraphrases_P[starts_K1[k]:starts_K1[k + 1]]`, as in the file.
    """

    keys_K: np.ndarray
    starts_K1: np.ndarray
    paraphrases_P: np.ndarray
    longest: int
    """Words of the longest phrase or paraphrase."""

    def ranks(self, phrases_N: np.ndarray) -> list[tuple[int, dict[int, int]]]:
        """The places n of phrases that have paraphrases, each with {paraphrase: its place in the file's order}."""
        if not len(self.keys_K):
            return []
        places_N = np.minimum(np.searchsorted(self.keys_K, phrases_N), len(self.keys_K) - 1)
        known = np.flatnonzero(self.keys_K[places_N] == phrases_N)
        return [(n, self._of(k)) for n, k in zip(known.tolist(), places_N[known].tolist(), strict=True)]

    @cached_property
    def _of(self) -> Callable[[int], dict[int, int]]:
        return lru_cache(maxsize=1 << 13)(self._read)

    def _read(self, place: int) -> dict[int, int]:
        start, end = self.starts_K1[place : place + 2]
        return {phrase: rank for rank, phrase in enumerate(self.paraphrases_P[start:end].tolist())}


@dataclass(frozen=True, eq=False, repr=False)
class MeteorResources:
    """Read with `MeteorResources.load()`; the same for every caption, so once per process."""

    function_words: frozenset[str]
    abbreviations: Mapping[str, bool]
    """Words that keep a dot: True for always, False for before a digit only."""
    bases: Mapping[str, Sequence[str]]
    """Irregular form → its base forms."""
    synsets: Mapping[str, str]
    """Base form → the numbers of its synonym sets, with blanks between."""
    paraphrases: ParaphraseTable

    @staticmethod
    def load(path: str | Path | None = None) -> MeteorResources:
        """From a folder that holds meteor-1.5.jar and data/paraphrase-en.gz, or from the package pycocoevalcap.

        Takes some six seconds and 0.2 GB; the last two folders read are kept. MissingExtra if no path is given and
        the package is not installed, InputError if the files are not what they should be.
        """
        return _load(package_folder() if path is None else Path(path))

    @cached_property
    def word(self) -> Callable[[str], Word]:
        """`word(text)`: what is known of a lower-case word, kept for the next time."""
        return lru_cache(maxsize=1 << 16)(self._word)

    def _word(self, text: str) -> Word:
        synsets = self._synsets_of(text)
        for base in self.bases[text] if text in self.bases else [self._base(text)]:
            synsets |= self._synsets_of(base)
        return Word(java_hash(text), java_hash(stem(text)), synsets, text in self.function_words)

    def _synsets_of(self, base: str) -> frozenset[int]:
        return frozenset(map(int, self.synsets.get(base, "").split()))

    def _base(self, text: str) -> str:
        """The base of a regular form, or "" where WordNet has none."""
        if text.endswith("ss") or len(text) <= 2:
            return text
        candidates = (text.removesuffix(old) + new for old, new in _ENDINGS if text.endswith(old))
        return next((base for base in candidates if base in self.synsets), "")


def java_hash(text: str) -> int:
    """Java's `String.hashCode`, which METEOR compares in place of the words: "an" and "c0" are one word to it."""
    key = 0
    units = text.encode("utf-16-le", "surrogatepass")
    for low, high in zip(units[::2], units[1::2], strict=True):
        key = (31 * key + low + (high << 8)) & 0xFFFFFFFF
    return key


def package_folder() -> Path:
    spec = importlib.util.find_spec("pycocoevalcap")  # found, not imported
    for folder in (spec and spec.submodule_search_locations) or ():
        if (Path(folder) / "meteor" / ARCHIVE).is_file():
            return Path(folder) / "meteor"
    raise MissingExtra("METEOR", "captions")


@lru_cache(maxsize=2)
def _load(folder: Path) -> MeteorResources:
    try:
        with zipfile.ZipFile(folder / ARCHIVE) as archive:
            return MeteorResources(
                function_words=frozenset(_lines(archive, "function/english.words")),
                abbreviations=_abbreviations(_lines(archive, "nonbreaking/english.prefixes")),
                bases=_bases(_lines(archive, "synonym/english.exceptions")),
                synsets=_synsets(_lines(archive, "synonym/english.synsets")),
                paraphrases=read_paraphrases(folder / PARAPHRASES),
            )
    except (OSError, EOFError, KeyError, RuntimeError, ValueError, zlib.error, zipfile.BadZipFile) as error:
        raise InputError(
            f"METEOR's resources in {folder} cannot be read ({error}); a folder with {ARCHIVE} and {PARAPHRASES} "
            "was expected; name one, or install pycocoevalcap again"
        ) from error


def _lines(archive: zipfile.ZipFile, name: str) -> list[str]:
    with archive.open(name) as file:
        content = file.read(MAX_MEMBER_BYTES + 1)
    if len(content) > MAX_MEMBER_BYTES:
        raise ValueError(f"{name} has more than {MAX_MEMBER_BYTES:,} bytes")
    return content.decode().removesuffix("\n").split("\n") if content else []


def _pairs(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Entries of two lines each."""
    return zip(lines[::2], lines[1::2], strict=True)


def _abbreviations(lines: Sequence[str]) -> dict[str, bool]:
    entries = [line.split() for line in lines if line.strip() and not line.lstrip().startswith("#")]
    return {word: more[:1] != ["#NUMERIC_ONLY#"] for word, *more in entries}


def _synsets(lines: Sequence[str]) -> dict[str, str]:
    synsets = dict(_pairs(lines))
    for word, numbers in synsets.items():
        if not numbers.replace(" ", "0").isdecimal():
            raise ValueError(f"synonym sets of {word!r} are {numbers[:40]!r}, where numbers were expected")
    return synsets


def _bases(lines: Sequence[str]) -> dict[str, list[str]]:
    bases: dict[str, list[str]] = {}
    for base, forms in _pairs(lines):
        for form in forms.split():
            bases.setdefault(form, []).append(base)
    return bases


def read_paraphrases(path: Path) -> ParaphraseTable:
    """A gzipped table of entries of three lines: a probability that METEOR ignores, a phrase, its paraphrase."""
    phrases, paraphrases, longest = [], [], 0
    for lines in _entries(path):
        longest = max(longest, 1 + max(line.count(b" ") for line in lines))
        phrases.append(phrase_keys(lines[1::3]))
        paraphrases.append(phrase_keys(lines[2::3]))
    keys_P = np.concatenate([np.empty(0, np.int64), *phrases])
    order_P = np.argsort(keys_P, kind="stable")
    keys_P = keys_P[order_P]
    first_P = np.ones(len(keys_P), bool)
    first_P[1:] = keys_P[1:] != keys_P[:-1]
    starts_K = np.flatnonzero(first_P)
    return ParaphraseTable(
        keys_K=keys_P[starts_K],
        starts_K1=np.append(starts_K, len(keys_P)),
        paraphrases_P=np.concatenate([np.empty(0, np.int64), *paraphrases])[order_P],
        longest=longest,
    )


def phrase_keys(phrases: Sequence[bytes]) -> np.ndarray:
    """64-bit hashes of phrases: five million entries of Python would take a gigabyte, these take 80 MB."""
    return np.fromiter(map(hash, phrases), np.int64, len(phrases))


def _entries(path: Path) -> Iterator[list[bytes]]:
    """Lines in lists of whole entries."""
    rest, total = b"", 0
    with gzip.open(path) as file:
        while chunk := file.read(_CHUNK):
            total += len(chunk)
            if total > MAX_PARAPHRASE_BYTES:
                raise ValueError(f"{path.name} has more than {MAX_PARAPHRASE_BYTES:,} bytes")
            lines = (rest + chunk).split(b"\n")
            whole = (len(lines) - 1) // 3 * 3
            rest = b"\n".join(lines[whole:])
            if len(rest) > _CHUNK:
                raise ValueError(f"{path.name} has an entry of more than {_CHUNK:,} bytes")
            if whole:
                yield lines[:whole]
    if rest:
        lines = rest.removesuffix(b"\n").split(b"\n")
        if len(lines) != 3:
            raise ValueError(f"{path.name} ends within an entry")
        yield lines
