"""METEOR 1.5 against what the original gave, and each part of it with small tables of our own in its file formats."""

import gzip
import itertools
import json
import random
import sys
import zipfile
from collections import Counter

import numpy as np
import pytest

from georefer.errors import InputError, MissingExtra
from georefer.scoring.captions import meteor_resources
from georefer.scoring.captions.meteor import meteor
from georefer.scoring.captions.meteor_align import align
from georefer.scoring.captions.meteor_match import EXACT, PARAPHRASE, STEM, SYNONYM, Match, Sentence, matches_of
from georefer.scoring.captions.meteor_resources import MeteorResources, java_hash, phrase_keys
from georefer.scoring.captions.meteor_stem import stem
from georefer.scoring.captions.meteor_words import MAX_WORDS, words_of

FUNCTION_WORDS = "the\nof\n.\nan\n"
ABBREVIATIONS = "# titles\n\nMr\nNo #NUMERIC_ONLY# \npp #NUMERIC_ONLY#\n"
EXCEPTIONS = "ox\noxen oxes\nbull\noxes\n"
SYNSETS = (
    "auto\n12\nbox\n14\nbull\n13\ncar\n11 12\ncity\n15\nglas\n12\nguard\n19\nhound\n16\nox\n17\npass\n18\n"
    "watchman\n19\nx\n12\n"
)
PARAPHRASES = [
    ("next to", "beside"), ("lake", "pond"), ("lake", "body of water"), ("pool", "basin"), ("basin", "pool"),
    ("a lot of", "many"), ("lake", "tarn"),
]  # fmt: skip


def write(folder, paraphrases=PARAPHRASES, **files):
    """The files that METEOR's resources are read from."""
    contents = {
        "function/english.words": FUNCTION_WORDS,
        "nonbreaking/english.prefixes": ABBREVIATIONS,
        "synonym/english.exceptions": EXCEPTIONS,
        "synonym/english.synsets": SYNSETS,
    } | files
    (folder / "data").mkdir(parents=True)
    with zipfile.ZipFile(folder / "meteor-1.5.jar", "w") as archive:
        for name, content in contents.items():
            if content is not None:
                archive.writestr(name, content)
    if isinstance(paraphrases, list):
        paraphrases = "".join(f"0.5\n{phrase}\n{other}\n" for phrase, other in paraphrases).encode()
    (folder / "data" / "paraphrase-en.gz").write_bytes(gzip.compress(paraphrases))
    return folder


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    return MeteorResources.load(write(tmp_path_factory.mktemp("meteor") / "tiny"))


def one(caption, references, resources):
    corpus, scores = meteor([caption], [references], resources)
    assert corpus == pytest.approx(scores[0], abs=1e-15)
    return scores[0]


# --- against the original ---------------------------------------------------------------------------------


@pytest.mark.shared
@pytest.mark.parametrize("count", ["1", "3"])
def test_every_caption_and_the_corpus_are_as_the_original_has_them(golden, count):
    try:
        resources = MeteorResources.load()
    except MissingExtra:
        pytest.skip("METEOR's tables are not here: they come with pycocoevalcap, of the extra 'captions'")
    rows = list(json.loads(gzip.decompress((golden / "captions" / "ptb_tokens.json.gz").read_bytes()))[count].values())
    expected = json.loads(gzip.decompress((golden / "captions" / "expected.json.gz").read_bytes()))
    expected = expected[f"{count}_reference"]["ptb"]["meteor"]
    corpus, scores = meteor([row["caption"] for row in rows], [row["references"] for row in rows], resources)
    assert len(scores) == len(expected["per_sample"]) == 300
    assert np.abs(scores - expected["per_sample"]).max() < 1e-9
    assert abs(corpus - expected["corpus"]) < 1e-9


# Words that are in none of the original's tables, so that what it gave (meteor-1.5.jar with COCO's options) holds for
# ours too.
ORIGINAL = [
    ("quon", ["quon"], 1.0),
    ("quon blat", ["quon blat"], 1.0),
    ("zorks", ["zork"], 0.6),  # one stem
    ("quon blat fenk dorv", ["fenk dorv quon blat"], 0.4776696620223255),  # two chunks
    ("quon quon quon", ["quon"], 0.3076923076923077),
    ("quon", ["blat"], 0.0),
    ("", ["quon"], 0.0),
    ("quon", [""], 0.0),
    ("", [""], 0.0),
    (".", ["."], 1.0),  # punctuation is a word
    ("quon", [], 0.0),
    ("zorks zork", ["fenk zork zork"], 0.26816542429323537),  # the way of a match is charged to the path without it
    ("blat fenk", ["blat blats"], 0.2),  # a stem counts nothing in the search
    ("quon blat blat", ["blat blats"], 0.35547509731893995),  # the first of equal paths stays first
    ("zork zork", ["dorv zorks"], 0.0),  # nothing gained and one chunk more: the match is left
    ("zork zork zork zork zork zork zork fenk", ["fenk fenk zork fenk fenk"], 0.17529161909076163),  # 20 are too few
    ("blat blat plim plim blat blat blat blat", ["plim blat plim blat blat plim"], 0.3637077215329678),  # all find more
    ("quon blat dorv", ["fenk plim", "quon dorv blat", "blat quon dorv", "quon plim dorv"], 0.4),
    ("quon ||| blat", ["quon blat"], 1.0),  # dropped from a caption
    ("quon blat", ["plim ||| quon blat fenk"], 0.33520678036654417),  # two references
    ("QUON blat-fenk", ["quon blat fenk"], 1.0),
    ("quon", ["quon", "quon quon"], 1.0),
    ("an", ["c0"], 1.0),  # one hash
    ("zorks zork", ["zork zork"], 0.8),  # a chunk is charged where it ends
]


@pytest.mark.parametrize("caption, references, score", ORIGINAL)
def test_made_up_words_score_as_in_the_original(caption, references, score, tiny):
    assert one(caption, references, tiny) == pytest.approx(score, abs=1e-12)


def test_the_corpus_of_made_up_words_is_as_in_the_original(tiny):
    corpus, scores = meteor([row[0] for row in ORIGINAL], [row[1] for row in ORIGINAL], tiny)
    assert scores == pytest.approx([row[2] for row in ORIGINAL], abs=1e-12)
    assert corpus == pytest.approx(0.35784564006163033, abs=1e-12)


# --- formula ----------------------------------------------------------------------------------------------


def test_the_corpus_is_scored_by_its_sums_and_a_perfect_caption_adds_no_chunk(tiny):
    corpus, scores = meteor(["quon", "quon blat fenk dorv"], [["quon"], ["fenk dorv quon blat"]], tiny)
    assert corpus == pytest.approx(1 - 0.6 * (2 / 5) ** 0.2)
    assert corpus != pytest.approx(scores.mean())


def test_the_corpus_takes_the_counts_of_the_best_reference(tiny):
    best = meteor(["quon blat", "fenk"], [["quon blat"], ["fenk"]], tiny)
    assert meteor(["quon blat", "fenk"], [["plim", "quon blat", "blat"], ["fenk plim", "fenk"]], tiny)[0] == best[0]
    # equal scores: the first one's length counts
    first, last = (meteor(["zork", "fenk"], [refs, ["fenk"]], tiny)[0] for refs in (["a", "b b b"], ["b b b", "a"]))
    assert first > last > 0


@pytest.mark.parametrize(
    "caption, reference, score",
    [
        ("the plim", "the quon", 0.25 * 0.4),  # a function word weighs 0.25, others 0.75; one chunk of one word
        ("the plim", "fenk plim", 0.4 / (0.15 / 0.75 + 0.85 / 0.5)),  # precision 0.75 / 1, recall 0.75 / 1.5
        ("plim", "plim quon", 0.4 / (0.15 / 1 + 0.85 / 0.5)),  # all of the caption is not all of both
        ("plim fenk", "plim quon fenk", (1 - 0.6) / (0.15 + 0.85 * 1.5)),  # a gap ends a chunk
        ("plim fenk", "plim\nfenk", 1),  # a line break is a blank
    ],
)
def test_formula(caption, reference, score, tiny):
    assert one(caption, [reference], tiny) == pytest.approx(score)


@pytest.mark.parametrize(
    "caption, reference, score",
    [
        ("plim", "plim", 1),
        ("zorking", "zorked", 0.6),
        ("car", "auto", 0.8),
        ("cars", "auto", 0.8),  # by the rules for endings
        ("oxes", "bull", 0.8),  # by the list of exceptions, where a form has two bases
        ("oxen", "bull", 0),
        ("watchmen", "guard", 0.8),
        ("glass", "auto", 0),  # no ending "s" after an "s" or in two letters
        ("xs", "auto", 0),
        ("cars", "car", 0),  # by stem and as synonyms: not certain, and nothing is gained
        ("passes", "pass", 0),  # likewise
        ("beside", "next to", 0.6),
        ("next to", "beside", 0.6),  # paraphrases count both ways
        ("body of water", "lake", 0.6),
        ("pond", "tarn", 0),
        ("pool", "basin", 0),  # both ways are in the table: twice the same match
        ("many quon", "a lot of quon", None),
    ],
)
def test_each_matcher(caption, reference, score, tiny):
    if score is None:
        # matched 0.6 * 0.75 + 0.75 of 1.5 and 0.6 * (2 * 0.75 + 0.25) + 0.75 of 2.5, in one chunk of all
        precision, recall = 1.2 / 1.5, 1.8 / 2.5
        score = 1 / (0.15 / precision + 0.85 / recall)
    assert one(caption, [reference], tiny) == pytest.approx(score)


def test_counts_must_agree_and_nothing_scores_nothing(tiny):
    with pytest.raises(InputError, match="2 captions and 1"):
        meteor(["a", "b"], [["a"]], tiny)
    corpus, scores = meteor([], [], tiny)
    assert corpus == 0 and scores.shape == (0,)


# --- matches and search -----------------------------------------------------------------------------------


def test_matches_come_by_stage_then_place(tiny):
    caption, reference = (Sentence.of(text, tiny) for text in ("car cars lake tarn pond", "cars lake auto"))
    assert matches_of(caption, reference) == [
        [Match(0, 1, 1, 1, EXACT), Match(0, 1, 0, 1, STEM), Match(0, 1, 0, 1, SYNONYM)],
        # as in the file: pond before tarn
        [Match(1, 1, 2, 1, EXACT), Match(1, 1, 4, 1, PARAPHRASE), Match(1, 1, 3, 1, PARAPHRASE)],
        [Match(2, 1, 0, 1, SYNONYM), Match(2, 1, 1, 1, SYNONYM)],
    ]
    assert {match.stage for group in matches_of(caption, caption) for match in group} == {EXACT}


def test_a_certain_match_is_kept_though_nothing_is_gained():
    assert align([[Match(0, 1, 0, 1, STEM)]], 1) == [Match(0, 1, 0, 1, STEM)]
    assert align([[Match(0, 1, 0, 1, STEM), Match(0, 1, 0, 1, SYNONYM)]], 1) == []


def test_a_paraphrase_counts_half_its_words_rounded_down():
    phrase = Match(0, 3, 0, 2, PARAPHRASE)  # 1 + 1
    assert align([[Match(0, 1, 0, 1, EXACT), phrase], [Match(1, 1, 1, 1, EXACT)], []], 2)[0].stage == EXACT
    assert align([[Match(0, 1, 1, 1, STEM), phrase], [], []], 2) == [phrase]


def test_a_word_is_used_once():
    phrase = Match(0, 2, 0, 2, PARAPHRASE)
    assert align([[phrase], [Match(1, 1, 2, 1, EXACT)]], 3) == [phrase]  # a word of the reference, and first found
    assert align([[Match(0, 1, 1, 1, EXACT)], [Match(1, 2, 0, 2, PARAPHRASE)], []], 2) == [Match(0, 1, 1, 1, EXACT)]


def test_small_alignments_are_the_best_of_all():
    rng = random.Random(0)
    for _ in range(200):  # three words have at most 34 alignments, so the beam holds them all
        caption, reference = ([rng.choice("ab") for _ in range(rng.randint(1, 3))] for _ in range(2))
        matches = [
            [
                Match(j, 1, i, 1, EXACT if rng.random() < 0.7 else STEM)
                for i, word in enumerate(caption)
                if word == other
            ]
            for j, other in enumerate(reference)
        ]
        found = align(matches, len(caption))
        users = Counter(match.caption_start for group in matches for match in group)
        # a match that shares no word is taken without being weighed
        certain = {group[0].start for group in matches if len(group) == 1 and users[group[0].caption_start] == 1}
        every = itertools.product(*[[*group, *([] if j in certain else [None])] for j, group in enumerate(matches)])
        free = [[match for match in kept if match] for kept in every]
        free = [kept for kept in free if len({match.caption_start for match in kept}) == len(kept)]
        assert worth(found) == max(map(worth, free)), (matches, found)


def worth(kept):
    pairs = itertools.pairwise(kept)
    breaks = sum((b.start, b.caption_start) != (a.start + 1, a.caption_start + 1) for a, b in pairs)
    return sum(match.stage == EXACT for match in kept), -(breaks + bool(kept))


# --- words and stems --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "text, words",  # what the original's normaliser prints, in small letters
    [
        ("A U.S. plane, 3.5 m long.", "a us plane , 3.5 m long ."),
        ("Mr. Smith saw No. 5 and no. 5", "mr. smith saw no. 5 and no . 5"),
        ("No. five", "no. five"),  # a small letter follows
        ("No. Five", "no . five"),
        ("see etc. then Inc. Then", "see etc. then inc . then"),
        ("it's the dogs' 1990's don't o'clock", "it 's the dogs ' 1990 's don 't o 'clock"),
        ("well-known top–right --x", "well known top - right -x"),
        ("wait...what.. a...b", "wait ... what .. a ... b"),
        ("1,000 cars,trucks,5 x,,y", "1,000 cars , trucks , 5 x , ,y"),
        ("“quoted” ‘single’ ``old''", '" quoted " \' single \' " old "'),
        ("pp. 3 pp. x", "pp. 3 pp. x"),
        ("$5/m² & (x) Ünïcode 日本", "$ 5 / m ² & ( x ) ünïcode 日 本"),
        ("i.e. v. e.g. ph.d. 3.4.", "ie v. eg phd 3.4 ."),
        ("a\u00a0b\u3000c\td", "a b c d"),
        ("\x01 a \x1f", "a"),
        ("", ""),
        ("...", "..."),
    ],
)
def test_words(text, words, tiny):
    assert words_of(text, tiny.abbreviations) == words.split(" ") * bool(words)


def test_long_texts_are_cut_and_read_in_bounded_time(tiny):
    assert words_of("plim " * 5000, {}) == ["plim"] * MAX_WORDS
    for junk in ("the ", ".", "'", ",1", "a.", "a-", "|", "\ud800", "\x00", "lake "):
        assert 0 <= one(junk * 250_000, ["the lake next to a city ."], tiny) < 0.1


@pytest.mark.parametrize(
    "word, expected",
    [
        # as the current edition of the algorithm has not: these are the 2014 ones
        ("university", "univers"), ("organization", "organ"), ("evening", "even"), ("biologists", "biologist"),
        ("internal", "intern"), ("erred", "er"), ("paste", "past"), ("emergency", "emerg"), ("laterally", "later"),
        # each step
        ("dogs'", "dog"), ("dog's", "dog"), ("'tis", "tis"), ("caresses", "caress"), ("ties", "tie"), ("cries", "cri"),
        ("gas", "gas"), ("gaps", "gap"), ("kiwis", "kiwi"), ("agreed", "agre"), ("feed", "feed"), ("hopping", "hop"),
        ("hoping", "hope"), ("sing", "sing"), ("luxuriated", "luxuri"), ("sky", "sky"), ("dying", "die"),
        ("inning", "inning"), ("cry", "cri"), ("by", "by"), ("say", "say"), ("relational", "relat"),
        ("geologi", "geolog"), ("badly", "bad"), ("generate", "generat"), ("communism", "communism"),
        ("negative", "negat"), ("adoption", "adopt"), ("union", "union"), ("rate", "rate"), ("controll", "control"),
        ("youth", "youth"), ("empowered", "empow"), ("general", "general"),
        ("boyish", "boyish"), ("ayyed", "ayi"), ("is", "is"), ("québec", "québec"),
    ],
)  # fmt: skip
def test_stem(word, expected):
    assert stem(word) == expected


@pytest.mark.parametrize(
    "text, key", [("", 0), ("hello", 99162322), ("😀", 0xD83D * 31 + 0xDE00), ("an", 3117), ("c0", 3117)]
)
def test_java_hash(text, key):
    assert java_hash(text) == key


# --- files ------------------------------------------------------------------------------------------------


def test_paraphrases_keep_the_order_of_the_file_wherever_they_stand(tmp_path, monkeypatch):
    monkeypatch.setattr(meteor_resources, "_CHUNK", 25)  # entries are cut anywhere
    entries = [("b", "x"), ("a c", "y"), ("b", "w"), ("c", "x"), ("b", "a b c d")]
    table = MeteorResources.load(write(tmp_path / "m", entries)).paraphrases
    keys = dict(zip("bcxyw", phrase_keys([b"b", b"c", b"x", b"y", b"w"]).tolist(), strict=True))
    found = dict(table.ranks(phrase_keys([b"b", b"nothing", b"a c", b"c"])))
    assert table.longest == 4
    many = [(phrase, f"{phrase}{i}") for i in range(200) for phrase in "gfe"]
    (_, ranks), *_ = MeteorResources.load(write(tmp_path / "many", many)).paraphrases.ranks(phrase_keys([b"f"]))
    assert ranks == {key: i for i, key in enumerate(phrase_keys([b"f%d" % i for i in range(200)]).tolist())}
    assert found[0] == {keys["x"]: 0, keys["w"]: 1, int(phrase_keys([b"a b c d"])[0]): 2}
    assert found[2] == {keys["y"]: 0} and found[3] == {keys["x"]: 0} and 1 not in found


def test_tables_may_be_empty(tmp_path):
    empty = MeteorResources.load(
        write(tmp_path / "m", [], **{"synonym/english.exceptions": "", "synonym/english.synsets": ""})
    )
    assert one("lake the", ["lake of"], empty) == pytest.approx(0.4 * 0.75)


def test_the_installed_package_is_found_and_not_imported(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    with pytest.raises(MissingExtra, match=r"METEOR .*georefer\[captions\]"):
        MeteorResources.load()
    folder = tmp_path / "pycocoevalcap"
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('imported')")
    with pytest.raises(MissingExtra):  # a package without the archive
        MeteorResources.load()
    write(folder / "meteor")
    assert MeteorResources.load().function_words == {"the", "of", ".", "an"}
    assert MeteorResources.load() is MeteorResources.load(folder / "meteor")


@pytest.mark.parametrize(
    "broken, message",
    [
        ({"function/english.words": None}, "english.words"),
        ({"synonym/english.synsets": "car\n1\nauto"}, "shorter|longer"),
        ({"synonym/english.synsets": "car\none"}, "numbers were expected"),
        ({"synonym/english.exceptions": b"\xff\n\xfe"}, "decode"),
        ({"paraphrases": b"0.1\nlake\n"}, "within an entry"),
        ({"paraphrases": b"x" * 100}, "more than 50 bytes|within an entry"),
    ],
)
def test_damaged_tables_are_refused(tmp_path, monkeypatch, broken, message):
    monkeypatch.setattr(meteor_resources, "_CHUNK", 50)
    with pytest.raises(InputError, match=message):
        MeteorResources.load(write(tmp_path / "m", **broken))


def test_other_files_in_their_place_are_refused(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="cannot be read"):
        MeteorResources.load(tmp_path / "nowhere")
    folder = write(tmp_path / "m")
    (folder / "data" / "paraphrase-en.gz").write_bytes(b"plain")
    with pytest.raises(InputError, match="cannot be read"):
        MeteorResources.load(folder)
    (folder / "meteor-1.5.jar").write_bytes(b"plain")
    with pytest.raises(InputError, match="not a zip"):
        MeteorResources.load(folder)


def test_sizes_are_bounded(tmp_path, monkeypatch):
    folder = write(tmp_path / "m")
    monkeypatch.setattr(meteor_resources, "MAX_PARAPHRASE_BYTES", 20)
    with pytest.raises(InputError, match="more than 20 bytes"):
        MeteorResources.load(folder)
    monkeypatch.setattr(meteor_resources, "MAX_MEMBER_BYTES", 5)
    with pytest.raises(InputError, match="more than 5 bytes"):
        MeteorResources.load(folder)
