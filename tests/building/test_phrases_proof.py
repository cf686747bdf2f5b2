"""Expressions are unique and minimal by another way of counting, which shares no code with the search.

`tests.data.phrase_judge` reads facts and English off plain rows. A phrase must fit its object and no other, also
where everything that is nearly so counts, and after the scene has been shaken by less than the margins; and no part
of its facts may have been enough. Phrases of several objects, or of none, must leave nothing open.
"""

import itertools
import random
from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
from tests.data.phrase_judge import PLAINLY, POSSIBLY, SURELY, fits_one, fitting_several, meant, world_of

from georefer.building.phrases import KINDS, PhraseSettings, expressions, group_expressions
from georefer.geometry import Objects
from georefer.scenes import SceneRelation

TEMPLATES = {"colour": "{value} {label}", "use": "{label} for {value}"}
SETTINGS = PhraseSettings(TEMPLATES, kinds=KINDS, facts=3, levels=2, groups=6)
SIDE, GSD_M = 200, 0.5
PLAIN = ["ship", "ship", "tank", "storage_tank", "crane (old)"]
KNOWN = ["ship", "boat", "fishing boat", "vessel", "houseboat", "house", "tank"]
ABOVE = {
    name: frozenset(classes.split("/"))
    for name, classes in {
        "ship": "ship/vessel", "boat": "boat/vessel", "fishing boat": "fishing boat/boat/vessel", "vessel": "vessel",
        "houseboat": "houseboat/boat/vessel/house", "house": "house", "tank": "tank",
    }.items()
}  # fmt: skip


def objects(seed, labels):
    """Targets, what else shows, and who is moored at what."""
    rng = random.Random(seed)
    count = rng.randint(1, 10)
    hidden = rng.randint(0, 1) if count > 2 else 0
    corner = lambda: rng.choice([0, *(rng.uniform(2, 165) for _ in range(8))])  # noqa: E731  0 is cut by the border
    boxes = [
        (x, y, x + rng.uniform(8, 30), y + rng.uniform(8, 30)) for x, y in ((corner(), corner()) for _ in range(count))
    ]
    options = {"colour": ["red", "blue", None], "use": ["fish", "oil", None]}
    said = [{k: v for k, vs in options.items() if (v := rng.choice(vs))} for _ in range(count)]
    ids = [str(k) for k in range(count)]
    everything = Objects.from_hbb(np.array(boxes), rng.choices(labels, k=count), ids=ids, attributes=said)
    shown = count - hidden
    moored = [(a, "moored-at", b) for a in ids[:shown] for b in ids[:shown] if a != b and rng.random() < 0.15]
    return everything[:shown], everything[shown:], moored


def scene(seed, known=False, turn=(0, False)):
    """The arguments of the search, and the world as the judge sees it; chips are turned as a build turns them."""
    targets, others, moored = objects(seed, KNOWN if known else PLAIN)
    targets, others = (some.turn(SIDE, SIDE, *turn) for some in (targets, others))
    above = ABOVE if known else {}
    world = world_of(targets, others, above, held=moored, templates=TEMPLATES, side=SIDE, gsd_m=GSD_M)
    shown = (targets, others, np.ones(len(targets)), (SIDE, SIDE))
    return shown, {"relations": [SceneRelation(*three) for three in moored], "above": above}, world


def asked(seed, known=False, turn=(0, False), **changes):
    shown, more, world = scene(seed, known, turn)
    return [(e, world) for e in expressions(*shown, replace(SETTINGS, **changes), gsd_m=GSD_M, **more)]


def groups(seed, known=False, turn=(0, False)):
    shown, more, world = scene(seed, known, turn)
    return [(g, world) for g in group_expressions(*shown, SETTINGS, rng=np.random.default_rng(seed), **more)]


def all_of(make, seeds, **more):
    return [pair for seed in seeds for pair in make(seed, **more)]


@pytest.mark.parametrize("known", [False, True], ids=["labels alone", "with a taxonomy"])
def test_a_thousand_expressions_fit_one_object_only(known):
    found = all_of(asked, range(90), known=known)
    assert len(found) >= 1000 and {e.by for e, _ in found} == set(KINDS)
    for expression, world in found:
        for how in (PLAINLY, POSSIBLY):
            assert fits_one(expression, world, how), (expression, world)


@pytest.mark.parametrize("known", [False, True], ids=["labels alone", "with a taxonomy"])
def test_a_thousand_phrases_mean_their_object_to_a_reader_of_the_words_alone(known):
    found = all_of(asked, range(90), known=known, facts=2)
    assert len(found) >= 1000 and {e.by for e, _ in found} == set(KINDS)
    for expression, world in found:
        for how in (PLAINLY, POSSIBLY):
            assert meant(expression.text, world, how) == {expression.object_id}, (expression, world)


@pytest.mark.parametrize("known", [False, True], ids=["labels alone", "with a taxonomy"])
def test_a_thousand_phrases_of_several_or_none_leave_nothing_open(known):
    found = all_of(groups, range(300), known=known)
    sizes = Counter(min(len(g.object_ids), 2) for g, _ in found)
    assert len(found) >= 1000 and set(sizes) == {0, 2} and min(sizes.values()) >= 200, sizes
    assert {g.by for g, _ in found} >= set(KINDS) - {"area", "relation"}  # few are related to one thing
    for group, world in found:
        for how in (SURELY, PLAINLY, POSSIBLY):
            assert fitting_several(group.facts, world, how) == set(group.object_ids), (group, how, world)
        for how in (PLAINLY, POSSIBLY):
            assert meant(group.text, world, how) == set(group.object_ids), (group, how, world)


@pytest.mark.parametrize("turn", [(1, False), (2, True), (3, False)])
def test_turned_chips_are_phrased_anew(turn):
    for expression, world in all_of(asked, range(12), turn=turn, known=True):
        assert fits_one(expression, world, POSSIBLY) and meant(expression.text, world, PLAINLY) == {
            expression.object_id
        }
    for group, world in all_of(groups, range(30), turn=turn, known=True):
        assert meant(group.text, world, POSSIBLY) == set(group.object_ids)


def test_they_still_do_when_the_scene_is_drawn_a_little_differently():
    rng = random.Random(0)
    for expression, world in all_of(asked, range(40)):
        for _ in range(5):
            moved = replace(world, things=[t.moved(rng.uniform(-1, 1), rng.uniform(-1, 1)) for t in world.things])
            assert fits_one(expression, moved, PLAINLY), (expression, world)
    for group, world in all_of(groups, range(80)):
        moved = replace(world, things=[t.moved(rng.uniform(-1, 1), rng.uniform(-1, 1)) for t in world.things])
        assert fitting_several(group.facts, moved, PLAINLY) == set(group.object_ids), (group, world)


@pytest.mark.parametrize("known", [False, True], ids=["labels alone", "with a taxonomy"])
def test_no_part_of_the_facts_would_have_done(known):
    found = [(e, world) for e, world in all_of(asked, range(80), known=known) if len(e.facts) > 1]
    assert len(found) >= 1000 and {len(e.facts) for e, _ in found} == {2, 3, 4}
    for expression, world in found:
        own, *rest = expression.facts
        for count in range(len(rest)):
            for part in itertools.combinations(rest, count):
                assert not fits_one(replace(expression, facts=(own, *part)), world, POSSIBLY), (part, world)


def test_no_two_expressions_of_a_scene_read_alike_and_all_hold_their_words():
    for seed in range(60):
        found = [e for e, _ in asked(seed, known=True)]
        assert len({e.text.casefold() for e in found}) == len(found)
        for expression in found:
            spoken = [word for kind, *words in expression.facts for word in words[kind in ("attribute", "relation") :]]
            assert expression.text.startswith("the ")
            assert all(w in expression.text for w in spoken if w not in ("colour", "use")), expression
            assert expression.level == len(expression.facts)


def test_the_same_scene_gives_the_same_expressions():
    for make in (asked, groups):
        assert [e for e, _ in make(5)] == [e for e, _ in make(5)]


@pytest.mark.parametrize("seed", range(12))
def test_extra_attributes_keep_phrases_unique(seed):
    for expression, world in asked(seed, minimal=False, facts=2):
        assert fits_one(expression, world, POSSIBLY)
