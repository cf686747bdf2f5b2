"""A judge of referring expressions that shares no code with the search: facts and English, read off plain rows.

A world is what a person sees on a chip. Facts and phrases are held against every thing in it, one at a time, in three
ways: SURELY (it is so by the margins), PLAINLY (as a person with a ruler would say), POSSIBLY (it is nearly so, or
nobody knows). A phrase of one thing must fit it and no other both plainly and possibly; a phrase of several, or of
none, must fit the same things in all three ways.
"""

import itertools
import math
import re
from dataclasses import dataclass, field, replace

from shapely.affinity import translate

SURELY, PLAINLY, POSSIBLY = -1, 0, 1
ORDERS = ("position", "size", "neighbour")
NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
FIRSTS = {"leftmost": (1, 0), "rightmost": (-1, 0), "topmost": (1, 1), "bottommost": (-1, 1)}
PHRASE = re.compile(
    rf"(?P<all>the|all) (?:(?P<count>{'|'.join(NUMBERS[2:])}) )?(?:(?P<order>{'|'.join(FIRSTS)}|largest|smallest) )?"
    r"(?P<noun>.+?)(?: in the (?P<part>(?:left|right|top|bottom) half|(?:top|bottom) (?:left|right) quarter|middle)"
    r" of the image)?"
)


@dataclass(frozen=True)
class Thing:
    id: str
    names: frozenset  # what it surely is, as words
    may: frozenset  # what it may be besides
    said: dict
    shape: object
    hidden: bool

    @property
    def box(self):
        return self.shape.bounds

    @property
    def centre(self):
        x1, y1, x2, y2 = self.box
        return (x1 + x2) / 2, (y1 + y2) / 2

    def moved(self, dx, dy):
        return replace(self, shape=translate(self.shape, dx, dy))


@dataclass(frozen=True)
class World:
    things: list
    held: list = field(default_factory=list)  # (subject, predicate, object)
    templates: dict = field(default_factory=dict)
    side: float = 200
    gsd_m: float = 0.5
    said: dict = field(default_factory=dict)  # predicate to words

    def whole(self, thing):
        x1, y1, x2, y2 = thing.box
        return x1 > 0 and y1 > 0 and x2 < self.side and y2 < self.side

    def values(self, name):
        return {t.said[name] for t in self.things if name in t.said}


def words(label):
    return " ".join(str(label).replace("_", " ").split())


def world_of(targets, others, above=None, **more):
    """A world from Objects: the targets, and what else shows."""
    above, templates = above or {}, more.get("templates", {})
    things = []
    for thing, hidden in [*((t, False) for t in targets), *((t, True) for t in others)]:
        sure = above.get(thing.label, {thing.label})
        may = {one for over in above.values() if thing.label in over for one in over}
        known = {n: v for n, v in thing.attributes.items() if n in templates and v is not None}
        said = {n: words(v) if isinstance(v, str) else f"{v:g}" for n, v in known.items() if words(v)}
        args = frozenset(map(words, sure)), frozenset(map(words, may | sure))
        things.append(Thing(thing.id, *args, said, thing.geometry, hidden))
    return World(things, **more)


# --- facts --------------------------------------------------------------------------------------------------


def fits_one(expression, world, how):
    return fitting(expression.facts, world, how, expression.object_id) == {expression.object_id}


def fitting(facts, world, how, target):
    """Ids of what fits the facts of a phrase of one thing."""
    target = next(t for t in world.things if t.id == target)
    left = [
        t for t in world.things if all(holds(t, fact, world, how, target) for fact in facts if fact[0] not in ORDERS)
    ]
    for fact in facts:
        if fact[0] in ("position", "size"):
            left = first(left, fact, 1, world, how)
        elif fact[0] == "neighbour":
            left = nearest(left, fact[1:], world, how)
    return {t.id for t in left}


def fitting_several(facts, world, how):
    """Ids of what fits the facts of a phrase of several things, or None where their number is said wrongly."""
    facts = [fact[:2] if fact[0] == "class" else fact for fact in facts]
    count = next((NUMBERS.index(fact[1]) for fact in facts if fact[0] == "count"), None)
    plain = [fact for fact in facts if fact[0] not in ("position", "size", "count", "relation")]
    left = [t for t in world.things if all(holds(t, fact, world, how, None) for fact in plain)]
    for kind, *said in facts:
        if kind == "relation":
            left = related(left, said, world, how)
    for fact in facts:
        if fact[0] in ("position", "size"):
            left = first(left, fact, count, world, how)
    return {t.id for t in left} if count in (None, len(left)) else None


def holds(thing, fact, world, how, target):
    kind, *said = fact
    if kind == "class":
        return any(name == said[0] or name.endswith(f" {said[0]}") for name in named(thing, how))
    if kind == "attribute":
        return thing.said.get(said[0]) == said[1] or (how == POSSIBLY and said[0] not in thing.said)
    if kind == "area":
        number, area = float(said[0].replace(",", "")), thing.shape.area * world.gsd_m**2
        factor = 1.5 if how == POSSIBLY else 1.1
        return area < number * factor and (area > number / factor or (how == POSSIBLY and not world.whole(thing)))
    if kind == "part":
        return in_part(thing, said[0], world, 0.05 * how)
    if kind == "neighbour":
        return is_near(thing, the_one(said, world), world, how)
    predicate, *anchor = said
    bearers = [t for t in world.things if bears(t, anchor, world, how)]
    if how == POSSIBLY:
        if thing.hidden or (len(bearers) > 1 and any(t.hidden for t in bearers)):
            return True
        least = min(gap(target, b) for b in bearers if (target.id, predicate, b.id) in world.held)
        if any(gap(thing, b) < max(1.5 * least, least + 4) for b in bearers if b != thing):
            return True
    return any((thing.id, predicate, other.id) in world.held for other in bearers if other != thing)


def named(thing, how):
    return thing.may if how == POSSIBLY else thing.names


def bears(thing, anchor, world, how):
    facts = [("class", anchor[0]), *([("attribute", *anchor[1:])] if anchor[1:] else [])]
    return all(holds(thing, fact, world, how, None) for fact in facts)


def the_one(anchor, world):
    (found,) = [t for t in world.things if bears(t, anchor, world, PLAINLY)]
    return found


def in_part(thing, part, world, slack):
    x, y = (v / world.side for v in thing.centre)
    if part == "middle":
        return all(1 / 3 - slack < v < 2 / 3 + slack for v in (x, y))
    wanted = {"left": x < 0.5 + slack, "right": x > 0.5 - slack, "top": y < 0.5 + slack, "bottom": y > 0.5 - slack}
    return all(wanted[word] for word in part.split()[:-1])


def first(left, fact, count, world, how):
    """The first of `left` in some order; POSSIBLY, also those that cannot be said to come after them."""
    kind, word = fact
    if kind == "position":
        sign, axis = FIRSTS[word]
        at = {t.id: sign * t.centre[axis] for t in left}
        margin = 0.06 * world.side
    else:
        sign = -1 if word == "largest" else 1
        at = {t.id: sign * math.log(max(t.shape.area, 1e-9)) for t in left}
        margin = math.log(1.3)
    if not at:
        return []
    last = sorted(at.values())[min(count, len(at)) - 1]
    if how != POSSIBLY:
        return [t for t in left if at[t.id] <= last]
    unknown = [t.id for t in left if kind == "size" and not world.whole(t)]
    return [t for t in left if at[t.id] <= last or at[t.id] < last + margin * (1 - 1e-9) or t.id in unknown]


def nearest(left, anchor, world, how):
    anchor = the_one(anchor, world)
    gaps = {t.id: gap(t, anchor) for t in left}
    best = min(gaps.values(), default=0)
    allow = max(1.5 * best, best + 4) if how == POSSIBLY else best
    return [t for t in left if gaps[t.id] == best or gaps[t.id] < allow]


def is_near(thing, anchor, world, how):
    """Beside several, a thing is next to what nearly touches it, and not to what is a good way off."""
    if thing == anchor:
        return False
    if how == SURELY:
        return thing.shape.distance(anchor.shape) <= 0.05 * world.side
    return gap(thing, anchor) < (0.15 if how == POSSIBLY else 0.1) * world.side


def related(left, said, world, how):
    predicate, *anchor = said
    anchor = the_one(anchor, world)
    sure = {s for s, p, o in world.held if p == predicate and o == anchor.id}
    if how != POSSIBLY:
        return [t for t in left if t.id in sure]
    most = max(gap(t, anchor) for t in world.things if t.id in sure)
    return [t for t in left if t.id in sure or t.hidden or gap(t, anchor) < max(1.5 * most, most + 4)]


def gap(a, b):
    dx = max(a.box[0], b.box[0]) - min(a.box[2], b.box[2])
    dy = max(a.box[1], b.box[1]) - min(a.box[3], b.box[3])
    return math.hypot(max(dx, 0), max(dy, 0))


# --- English ------------------------------------------------------------------------------------------------


def meant(text, world, how):
    """Ids of what an English phrase means, without knowing its facts; None where its number is said wrongly.

    POSSIBLY goes for nouns alone: what nobody knows of a thing may be true of it.
    """
    said = PHRASE.fullmatch(text)
    assert said, f"no phrase that anybody would say: {text!r}"
    noun, anchor, predicate, some = split(said["noun"], world)
    noun, area = about(noun)
    many = said["all"] == "all" or said["count"] is not None
    left = {t.id: t for t in world.things if noun in nouns(t, world, how)}
    several = {t.id: t for t in world.things if noun in nouns(t, world, how, plural=True)}
    many = many or bool(several and not left)
    found = list((several if many else left).values())
    if area:
        found = [t for t in found if area / 1.1 < t.shape.area * world.gsd_m**2 < area * 1.1]
    if said["part"]:
        found = [t for t in found if in_part(t, said["part"], world, 0)]
    if predicate:
        bearers = [t for t in world.things if anchor in nouns(t, world, PLAINLY)]
        assert some or len(bearers) == 1, text
        ids = {t.id for t in bearers}
        found = [t for t in found if any(t.id == s and p == predicate and o in ids - {s} for s, p, o in world.held)]
    elif anchor:
        (beside,) = [t for t in world.things if anchor in nouns(t, world, PLAINLY)]
        found = [t for t in found if t != beside]
        if many or not any(gap(t, beside) <= 0.15 * world.side for t in found):
            found = [t for t in found if gap(t, beside) < 0.1 * world.side]
        else:
            found = [min(found, key=lambda t: gap(t, beside))]
    if said["order"]:
        kind = "position" if said["order"] in FIRSTS else "size"
        count = NUMBERS.index(said["count"]) if said["count"] else 1
        found = first(found, (kind, said["order"]), count, world, PLAINLY)
    if said["count"] and len(found) != NUMBERS.index(said["count"]):
        return None
    return {t.id for t in found}


def split(noun, world):
    """(noun, anchor, predicate, whether the anchor is one of several)."""
    if " next to the " in noun:
        head, _, anchor = noun.rpartition(" next to the ")
        return head, anchor, None, False
    for predicate in sorted({p for _, p, _ in world.held}):
        spoken = world.said.get(predicate, predicate.replace("-", " "))
        if found := re.fullmatch(rf"(.+?) {spoken} (the|an?|another|some) (.+)", noun):
            return found[1], found[3], predicate, found[2] != "the"
    return noun, None, None, False


def about(noun):
    found = re.search(r" of about ([\d.,]+) m²", noun)
    return (noun.replace(found[0], ""), float(found[1].replace(",", ""))) if found else (noun, None)


def nouns(thing, world, how, plural=False):
    """Every way to call a thing by class and attributes."""
    said = {
        n: {thing.said[n]} if n in thing.said else world.values(n) if how == POSSIBLY else () for n in world.templates
    }
    names = {" ".join(name.split()[k:]) for name in named(thing, how) for k in range(len(name.split()))}
    found = {many(name) if plural else name for name in names}
    for count in (1, 2):
        for chosen in itertools.permutations(sorted(said), count):
            for values in itertools.product(*(sorted(said[n]) for n in chosen)):
                for name in names:
                    found.add(described(name, chosen, values, world, plural))
    return found


def described(name, chosen, values, world, plural):
    noun, is_many = name, False
    if plural and "{label}" in world.templates[chosen[0]]:
        noun, is_many = many(noun), True
    for attribute, value in zip(chosen, values, strict=True):
        noun = world.templates[attribute].replace("{value}", value).replace("{label}", noun)
        if plural and not is_many:
            noun, is_many = many(noun), True
    return noun


def many(noun):
    """The plural by the noun's first word group: "ship for fish" is one of several ships for fish."""
    joint = next((joint for joint in (" with ", " for ", " of ", " (") if joint in noun), None)
    if joint:
        head, _, rest = noun.partition(joint)
        return f"{many(head)}{joint}{rest}"
    if noun.endswith(("s", "ch", "sh", "x")):
        return f"{noun}es"
    return f"{noun[:-1]}ies" if re.search("[^aeiou]y$", noun) else f"{noun}s"
