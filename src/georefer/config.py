"""Recipes: TOML into frozen, typed values that live beside their owners.

A settings class is a frozen dataclass; this module fills one from a TOML file and from `key.sub=value`
overrides, refuses what it does not know, and writes the resolved values back so that a run can be repeated.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
import os
import tomllib
import types
import typing
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from georefer.errors import ConfigError

Settings = TypeVar("Settings")


def load_settings(
    cls: type[Settings], path: Path | str | None, overrides: Iterable[str] = (), base: Path | str | None = None
) -> Settings:
    """Settings of class `cls` from a TOML file (or defaults alone), with overrides on top.

    Relative paths in fields of type `Path` start at `base`, by default the recipe's folder, so that a recipe
    works from anywhere; those in overrides start at the working directory. A field of type `Path | str` takes an
    address (http, https) too, as text. ConfigError names the key, what was found and what was expected.
    """
    path = None if path is None else Path(path)
    values = _read_toml(path) if path else {}
    start = Path(base) if base is not None else path.parent if path else None
    return _fill(cls, _merged(values, overrides), str(path or "settings"), start)


def to_plain(settings: Any) -> Any:
    """Settings as plain JSON values, for manifests and run folders."""
    if dataclasses.is_dataclass(settings) and not isinstance(settings, type):
        return {f.name: to_plain(getattr(settings, f.name)) for f in dataclasses.fields(settings)}
    if isinstance(settings, Mapping):
        return {key: to_plain(value) for key, value in settings.items()}
    if isinstance(settings, list | tuple):
        return [to_plain(value) for value in settings]
    return str(settings) if isinstance(settings, Path) else settings


def _read_toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"there is no recipe {path}; give the path of a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, IsADirectoryError) as error:
        raise ConfigError(f"{path} is not valid TOML ({error}); correct it") from error


def _merged(values: dict[str, Any], overrides: Iterable[str]) -> dict[str, Any]:
    for override in overrides:
        key, separator, text = override.partition("=")
        if not separator:
            raise ConfigError(f"'{override}' is no override; expected key=value such as steps=100")
        *tables, last = key.strip().split(".")
        target = values
        for table in tables:
            target = target.setdefault(table, {})
            if not isinstance(target, dict):
                raise ConfigError(f"'{key}' in '{override}' goes through a plain value; name a table's key")
        target[last] = _parse_value(text)
    return values


class _Typed(str):
    """Text given on the command line: as a path it is relative to the working directory, not to the recipe."""


def _parse_value(text: str) -> Any:
    """A TOML value; bare words are strings, because nobody quotes twice in a shell."""
    try:
        return _typed(tomllib.loads(f"v = {text}")["v"])
    except tomllib.TOMLDecodeError:
        return _Typed(text)


def _typed(value: Any) -> Any:
    if isinstance(value, list):
        return [_typed(item) for item in value]
    return _Typed(value) if isinstance(value, str) else value


def _fill(cls: type[Settings], values: Any, where: str, base: Path | None) -> Settings:
    if not isinstance(values, Mapping):
        raise ConfigError(f"{where} holds {values!r} where a table of settings is expected")
    hints = typing.get_type_hints(cls)
    fields = {f.name: f for f in dataclasses.fields(cls)}  # type: ignore[arg-type]
    for key in values:
        if key not in fields:
            raise ConfigError(_unknown_key(key, list(fields), where))
    required = [n for n, f in fields.items() if _is_required(f) and n not in values]
    if required:
        raise ConfigError(f"{where} lacks {', '.join(required)}; add it")
    filled = {key: _convert(hints[key], value, f"{where}: {key}", base) for key, value in values.items()}
    try:
        return cls(**filled)
    except ValueError as error:
        raise ConfigError(f"{where}: {error}") from error


def _is_required(field: dataclasses.Field) -> bool:
    return field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING


def _unknown_key(key: str, known: list[str], where: str) -> str:
    near = difflib.get_close_matches(key, known, 1)
    hint = f"did you mean '{near[0]}'?" if near else f"known keys: {', '.join(known)}"
    return f"{where} has an unknown key '{key}'; {hint}"


def _convert(hint: Any, value: Any, where: str, base: Path | None) -> Any:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return _convert_union(arguments, value, where, base)
    if origin is typing.Literal:
        return _expect(value in arguments, value, f"one of {', '.join(map(repr, arguments))}", where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return _fill(hint, value, where, base)
    if origin in (tuple, list):
        return _convert_tuple(arguments, value, where, base)
    if origin in (dict, Mapping):
        _expect(isinstance(value, Mapping), value, "a table", where)
        return {key: _convert(arguments[1], item, f"{where}.{key}", base) for key, item in value.items()}
    if hint is Path:
        is_address = isinstance(value, str) and value.lower().startswith(("http://", "https://"))
        _expect(isinstance(value, str) and not is_address, value, "a path", where)
        relative_to_recipe = base is not None and not isinstance(value, _Typed)
        return Path(os.path.normpath(base / value)) if relative_to_recipe and base else Path(value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if hint in (int, float, str, bool):
        _expect(isinstance(value, hint) and not (hint is int and isinstance(value, bool)), value, hint.__name__, where)
    return str(value) if hint is str else value


def _convert_union(options: tuple[Any, ...], value: Any, where: str, base: Path | None) -> Any:
    reasons = []
    for option in options:
        if option is type(None):
            continue
        try:
            return _convert(option, value, where, base)
        except ConfigError as error:
            reasons.append(str(error))
    raise ConfigError(reasons[0] if reasons else f"{where} is {value!r}; leave it out")


def _convert_tuple(arguments: tuple[Any, ...], value: Any, where: str, base: Path | None) -> tuple:
    _expect(isinstance(value, list | tuple), value, "a list", where)
    if arguments[-1] is not Ellipsis and len(arguments) != 1:
        _expect(len(value) == len(arguments), value, f"{len(arguments)} values", where)
        return tuple(_convert(h, v, where, base) for h, v in zip(arguments, value, strict=True))
    return tuple(_convert(arguments[0], v, f"{where}[{i}]", base) for i, v in enumerate(value))


def _expect(is_right: bool, value: Any, expected: str, where: str) -> Any:
    if not is_right:
        raise ConfigError(f"{where} is {json.dumps(value, default=str)}; expected {expected}")
    return value
