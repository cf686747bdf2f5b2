"""Mappings: a TOML file that says which class of a taxonomy a feature is, by its layer, shape and attributes.

Values are compared without regard to case, numbers may carry a unit of length, and patterns are kept to what ends in
bounded time, since attributes come from strangers. `docs/how-to/map-your-layers.md` shows a file.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import cached_property, partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import shapely

from georefer.building.columns import Columns, number_of
from georefer.config import load_settings
from georefer.errors import ConfigError
from georefer.scenes.taxonomy import Parents, all_above, read_parents, ready_taxonomies

Shape = Literal["point", "line", "area"]
SHAPES: tuple[Shape, ...] = ("point", "line", "area")

WIDTHS_M = 0.2, 300.0
"""A width from an attribute must lie between these to be believed."""

MAX_BYTES, MAX_PATTERN, MAX_VALUE = 1_000_000, 100, 100


@dataclass(frozen=True)
class Condition:
    """What an attribute must be like; all that is given must hold."""

    among: tuple[str, ...] = ()
    regex: str | None = None
    """Pattern of the whole value, compared without regard to case."""
    min: float | None = None
    max: float | None = None
    """Ends of a range, both included; a length may be written with its unit and is taken in metres."""
    present: bool = True
    """False: the attribute must have no value."""

    def __post_init__(self) -> None:
        if self.regex is not None:
            _refuse_unbounded(self.regex)

    def holds(self, text: str | None, separator: str) -> bool:
        """Whether one value, as lower-case text, fulfils the condition."""
        if text is None or not self.present:
            return (text is None) != self.present
        if self.among and not any(part in self._among for part in _parts(text, separator)):
            return False
        if self.regex is not None and not re.fullmatch(self.regex, text[:MAX_VALUE], re.IGNORECASE):
            return False
        if self.min is None and self.max is None:
            return True
        value = number_of(text)
        return value is not None and (self.min is None or value >= self.min) and (self.max is None or value <= self.max)

    @cached_property
    def _among(self) -> frozenset[str]:
        return frozenset(value.casefold() for value in self.among)


@dataclass(frozen=True)
class ClassSettings:
    """One class: where it stands in the taxonomy, how it is called, and how wide its lines are."""

    parents: tuple[str, ...] = ()
    plural: str | None = None
    synonyms: tuple[str, ...] = ()
    labels: Mapping[str, str] = field(default_factory=dict)
    """Its name in other languages, such as {fr = "maison"}."""
    plurals: Mapping[str, str] = field(default_factory=dict)
    width_m: float | None = None
    """Width of its lines; left out: that of the class above."""
    buffer_m: float | None = None
    """Radius of its points; left out: that of the class above."""


@dataclass(frozen=True)
class RuleSettings:
    """Features that fulfil everything given become class `to`, or what `values` says of their `attribute`."""

    to: str | None = None
    attribute: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    ignore: bool = False
    """Features that fit are left out on purpose."""
    when: Mapping[str, Condition | bool | int | float | str | tuple[str, ...]] = field(default_factory=dict)
    """Attribute to what it must be: a value, a list of them, true (any) or false (none), or a `Condition`."""
    layers: tuple[str, ...] = ()
    """Names of layers, without regard to case; `*` stands for anything."""
    geometry: tuple[Shape, ...] = ()
    priority: int = 0
    """Of several rules that fit, the highest wins; of equals the narrower class, then the one that stands first."""
    width_m: float | None = None
    width_from: Mapping[str, float] | None = None
    """Attributes that hold the width of a line, each with the metres that one of it means; the first usable wins."""
    buffer_m: float | None = None

    def __post_init__(self) -> None:
        forms = (self.to is not None) + (self.attribute is not None) + self.ignore
        if forms != 1 or bool(self.values) != (self.attribute is not None):
            raise ValueError("a rule has one of: to, attribute with values, ignore = true")


@dataclass(frozen=True)
class MappingSettings:
    """The contents of a mapping file."""

    name: str
    source: str = ""
    """Where the attributes are documented."""
    taxonomy: str | None = None
    """A ready taxonomy or a file beside this one, instead of or besides `classes`."""
    classes_of: str | None = None
    """A ready mapping of which the classes are taken over."""
    separator: str = ""
    """What stands between several values of one attribute, such as ";" in OpenStreetMap."""
    tags_in: str = ""
    """Column that holds further attributes as "key"=>"value", as GDAL writes OpenStreetMap's."""
    aliases: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Other names of attributes, such as those that a shapefile cuts to ten letters."""
    ignore: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Attribute to values that say nothing, as if they were not there."""
    width_from: Mapping[str, float] = field(default_factory=dict)
    classes: Mapping[str, ClassSettings] = field(default_factory=dict)
    rules: tuple[RuleSettings, ...] = ()


class Words(NamedTuple):
    """How a class is called in one language."""

    label: str
    plural: str
    synonyms: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Mapped:
    """Classes of N features (None: none fits), with what is known of their size; `unknown` counts values."""

    classes_N: np.ndarray
    width_N: np.ndarray
    """Width of lines in metres, NaN where nothing says so."""
    radius_N: np.ndarray
    """Radius of points in metres, NaN likewise."""
    ignored_N: np.ndarray
    tied_N: np.ndarray
    """Whether unrelated classes fitted equally well."""
    unknown: Mapping[str, np.ndarray]
    """ "attribute=value" to the features that have no class because of it, most frequent first."""


class LayerMapping:
    """A mapping file, read and checked: `classify` says what features are, `words` how their classes are called."""

    def __init__(self, settings: MappingSettings, folder: Path | None = None) -> None:
        self.name, self._settings = settings.name, settings
        taken = load_mapping(settings.classes_of).classes if settings.classes_of else {}
        self.classes: dict[str, ClassSettings] = {**taken, **settings.classes}
        self.parents: Parents = _parents(settings.taxonomy, self.classes, folder)
        self._above = all_above(self.parents)
        self._rules = [_Rule(rule) for rule in settings.rules]
        self._ignored = {name: {v.casefold() for v in values} for name, values in settings.ignore.items()}
        named = {name for rule in settings.rules for name in (rule.to, *rule.values.values()) if name is not None}
        if unknown := sorted((named | set(self.classes)) - set(self.parents)):
            raise ConfigError(
                f"mapping '{self.name}' names the classes {unknown[:5]}, which its taxonomy does not hold; add them "
                "under [classes]"
            )
        self._sizes = {name: (self._size(name, "width_m"), self._size(name, "buffer_m")) for name in named}

    @cached_property
    def languages(self) -> tuple[str, ...]:
        """Languages other than the mapping's own in which classes are named."""
        return tuple(sorted({language for settings in self.classes.values() for language in settings.labels}))

    @cached_property
    def numeric(self) -> tuple[str, ...]:
        """Attributes that are read as numbers."""
        sources = [self._settings.width_from, *(rule.settings.width_from or {} for rule in self._rules)]
        ranged = [
            name
            for rule in self._rules
            for name, wanted in rule.when.items()
            if wanted.min is not None or wanted.max is not None
        ]
        return tuple(dict.fromkeys([*(name for source in sources for name in source), *ranged]))

    def words(self, name: str, language: str | None = None) -> Words:
        """Label, plural and synonyms; a class without a name in `language` keeps its own."""
        settings = self.classes.get(name, ClassSettings())
        if language is None or language not in settings.labels:
            return Words(name, settings.plural or regular_plural(name), settings.synonyms)
        label = settings.labels[language]
        return Words(label, settings.plurals.get(language, label), ())

    def columns(self, frame: Any) -> Columns:
        """The attributes of a table by the mapping's names for them."""
        return Columns(frame, self._settings.aliases, self._settings.tags_in, self._ignored)

    def classify(self, frame: Any, layer: str) -> Mapped:
        """Classes of all features of a table with geometry, which came from a layer of this name."""
        columns, count = self.columns(frame), len(frame)
        shape_N = shape_kinds(np.asarray(frame.geometry.values, dtype=object))
        rules = [rule for rule in self._rules if rule.fits_layer(layer)]
        best_N = np.full(count, -(2**31), dtype=np.int64)
        chosen_N = np.full(count, -1)
        classes_N = np.full(count, None, dtype=object)
        tied_N = np.zeros(count, dtype=bool)
        for number, rule in enumerate(rules):
            fits_N, said_N = rule.apply(columns, shape_N, self._settings.separator)
            higher_N = fits_N & (rule.settings.priority > best_N)
            for i in np.flatnonzero(fits_N & (rule.settings.priority == best_N)):
                higher_N[i] = self._is_kind(said_N[i], classes_N[i])
                tied_N[i] |= not higher_N[i] and not self._is_kind(classes_N[i], said_N[i], same=True)
            tied_N &= ~(fits_N & (rule.settings.priority > best_N))
            best_N[higher_N], chosen_N[higher_N] = rule.settings.priority, number
            classes_N[higher_N] = said_N[higher_N]
        ignored_N = (chosen_N >= 0) & np.array([label is None for label in classes_N], dtype=bool)
        width_N, radius_N = self._measures(columns, classes_N, chosen_N, rules)
        open_N = (chosen_N < 0) & ~columns.has_ignored_N()
        ignored_N |= (chosen_N < 0) & ~open_N
        return Mapped(classes_N, width_N, radius_N, ignored_N, tied_N, self._unknown(rules, columns, open_N))

    def _is_kind(self, narrow: str | None, wide: str | None, same: bool = False) -> bool:
        if narrow is None or wide is None:
            return same and narrow is wide
        return (same or narrow != wide) and wide in self._above[narrow]

    def _size(self, name: str, key: str) -> float:
        """Width or radius of a class, or of the nearest class above that has one; NaN without."""
        waiting = [name]
        for label in waiting:
            if (value := getattr(self.classes.get(label), key, None)) is not None:
                return float(value)
            waiting += [parent for parent in self.parents[label] if parent not in waiting]
        return np.nan

    def _measures(self, columns: Columns, classes_N: np.ndarray, chosen_N: np.ndarray, rules: Sequence[_Rule]) -> Any:
        nothing = np.nan, np.nan
        width_N, radius_N = np.array([self._sizes.get(c, nothing) for c in classes_N]).reshape(-1, 2).T.copy()
        for number in np.unique(chosen_N[chosen_N >= 0]):
            rule, of_N = rules[number].settings, chosen_N == number
            if rule.buffer_m is not None:
                radius_N[of_N] = rule.buffer_m
            if rule.width_m is not None:
                width_N[of_N] = rule.width_m
            sources = self._settings.width_from if rule.width_from is None else rule.width_from
            for name, metres in reversed(list(sources.items())):
                said_N = columns.numbers(name) * metres
                use_N = of_N & (said_N >= WIDTHS_M[0]) & (said_N <= WIDTHS_M[1])
                width_N[use_N] = said_N[use_N]
        return width_N, radius_N

    def _unknown(self, rules: Sequence[_Rule], columns: Columns, open_N: np.ndarray) -> dict[str, np.ndarray]:
        """Values of features that no rule fits, each feature under one: rather one that no rule names at all."""
        found: dict[str, np.ndarray] = {}
        names = list(dict.fromkeys(name for rule in rules for name in rule.attributes))
        named = {name: set().union(*(rule.named(name) for rule in rules)) for name in names}
        for wants_named in (False, True):
            for name in names:
                codes_N, texts = columns.coded(name)
                fits = np.array([*((text in named[name]) == wants_named for text in texts), False], dtype=bool)
                of_N = open_N & fits[codes_N]
                for code in np.unique(codes_N[of_N]):
                    found[f"{name}={texts[code][:MAX_VALUE]}"] = np.flatnonzero(of_N & (codes_N == code))
                open_N = open_N & ~of_N
        return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def load_mapping(source: str | Path) -> LayerMapping:
    """A ready mapping by name ("osm", "overture", "bdtopo"), or the one of a TOML file."""
    if str(source) in ready_mappings():
        with as_file(files("georefer.building").joinpath("mappings", f"{source}.toml")) as path:
            return LayerMapping(load_settings(MappingSettings, path), path.parent)
    path = Path(source)
    if path.suffix != ".toml":
        ready = ", ".join(ready_mappings())
        raise ConfigError(f"'{path}' is no mapping; give a ready one ({ready}) or a file that ends in .toml")
    if path.is_file() and path.stat().st_size > MAX_BYTES:
        raise ConfigError(f"{path} is larger than {MAX_BYTES} bytes where a mapping is expected; name another file")
    return LayerMapping(load_settings(MappingSettings, path), path.parent)


def ready_mappings() -> list[str]:
    """Names of the mappings that come with this package."""
    folder = files("georefer.building").joinpath("mappings")
    return sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml"))


def regular_plural(name: str) -> str:
    """The regular English plural, of the last word."""
    if re.search(r"(?i)[^aeiou]y$", name):
        return f"{name[:-1]}ies"
    return f"{name}es" if re.search(r"(?i)(s|x|z|ch|sh)$", name) else f"{name}s"


def shape_kinds(shapes_N: np.ndarray) -> np.ndarray:
    """0, 1 or 2 for points, lines and areas; of a collection, its largest kind; -1 for none."""
    return shapely.get_dimensions(shapes_N).astype(int)


class _Rule:
    """A rule with its conditions made ready."""

    def __init__(self, settings: RuleSettings) -> None:
        self.settings = settings
        self.when = {name: _condition(wanted) for name, wanted in settings.when.items()}
        self.values = {value.casefold(): label for value, label in settings.values.items()}
        self._layers = [pattern.casefold() for pattern in settings.layers]
        self._shapes = [SHAPES.index(shape) for shape in settings.geometry or SHAPES]

    @property
    def attributes(self) -> Iterator[str]:
        """Attributes whose values this rule tells apart."""
        if self.settings.attribute is not None:
            yield self.settings.attribute
        yield from (name for name, wanted in self.when.items() if wanted.among or wanted.regex)

    def named(self, name: str) -> set[str]:
        """Values of an attribute that this rule knows."""
        own = set(self.values) if name == self.settings.attribute else set()
        return own | {value.casefold() for value in self.when[name].among} if name in self.when else own

    def fits_layer(self, layer: str) -> bool:
        return not self._layers or any(fnmatchcase(layer.casefold(), pattern) for pattern in self._layers)

    def apply(self, columns: Columns, shape_N: np.ndarray, separator: str) -> tuple[np.ndarray, np.ndarray]:
        """Which features fit, and the class of each (None where they are to be left out)."""
        fits_N = np.isin(shape_N, self._shapes)
        said_N = np.full(len(shape_N), self.settings.to, dtype=object)
        for name, wanted in self.when.items():
            fits_N &= columns.test(name, partial(wanted.holds, separator=separator))
        if self.settings.attribute is not None:
            codes_N, texts = columns.coded(self.settings.attribute)
            labels = [
                next((self.values[p] for p in _parts(text, separator) if p in self.values), None) for text in texts
            ]
            said_N = np.array([*labels, None], dtype=object)[codes_N]
            fits_N &= np.array([*(label is not None for label in labels), False], dtype=bool)[codes_N]
        return fits_N, said_N


def _condition(wanted: Any) -> Condition:
    if isinstance(wanted, Condition):
        return wanted
    if isinstance(wanted, bool):
        return Condition(present=wanted)
    if isinstance(wanted, tuple):
        return Condition(among=wanted)
    return Condition(min=wanted, max=wanted) if isinstance(wanted, int | float) else Condition(among=(wanted,))


def _parts(text: str, separator: str) -> list[str]:
    """The whole value, then its parts."""
    if not separator or separator not in text:
        return [text]
    return [text, *(part.strip() for part in text.split(separator))]


def _parents(taxonomy: str | None, classes: Mapping[str, ClassSettings], folder: Path | None) -> Parents:
    parents: dict[str, tuple[str, ...]] = {}
    if taxonomy is not None:
        is_file = taxonomy not in ready_taxonomies() and folder is not None
        parents.update(read_parents(folder / taxonomy if is_file and folder else taxonomy))
    for name, settings in classes.items():
        parents[name] = tuple(dict.fromkeys([*parents.get(name, ()), *settings.parents]))
    for above in [parent for settings in classes.values() for parent in settings.parents]:
        parents.setdefault(above, ())
    return parents


def _refuse_unbounded(pattern: str) -> None:
    """Refuses patterns that could take exponential time: those that repeat a group or choose too often."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"regex {pattern[:60]!r} is no pattern ({error}); correct it") from error
    bare = re.sub(r"\\[^0-9]|\[\^?\]?(?:\\.|[^\]\\])*\]", "x", pattern).replace("(?:", "(")
    repeats, options = len(re.findall(r"[*+{]", bare)), bare.count("?") + bare.count("|")
    if len(pattern) > MAX_PATTERN or re.search(r"\)[*+{]|\(\?|\\", bare) or repeats > 2 or options > 8:
        raise ValueError(
            f"regex {pattern[:60]!r} may take too long; expected at most {MAX_PATTERN} letters, 2 repeats, 8 choices, "
            "and no repeated group, look-around or back-reference; list the values instead"
        )
