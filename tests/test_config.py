from dataclasses import dataclass, field
from pathlib import Path

import pytest

from georefer.config import load_settings, to_plain
from georefer.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    rate: float = 1.0
    mode: str = "a"


@dataclass(frozen=True)
class Outer:
    sources: tuple[Path, ...]
    steps: int = 10
    inner: Inner = Inner()
    weights: dict[str, float] = field(default_factory=dict)
    limit: int | None = None
    flag: bool = False

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ValueError(f"steps is {self.steps}; expected at least 1")


def recipe(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_values_are_typed_and_paths_start_at_the_recipe(tmp_path):
    path = recipe(tmp_path, 'sources = ["a.tif"]\nlimit = 3\n[inner]\nrate = 2\n[weights]\nrec = 1\n')
    settings = load_settings(Outer, path)
    assert settings == Outer((tmp_path / "a.tif",), 10, Inner(2.0), {"rec": 1.0}, 3)


@dataclass(frozen=True)
class Fetched:
    sources: tuple[Path | str, ...]
    folder: Path = Path()


def test_an_address_stays_text_where_a_field_takes_one(tmp_path):
    path = recipe(tmp_path, 'sources = ["https://host/a.tif", "b.tif"]\n')
    assert load_settings(Fetched, path) == Fetched(("https://host/a.tif", tmp_path / "b.tif"))
    typed = load_settings(Fetched, path, ['sources=["HTTP://host/a.tif", "b.tif"]'])
    assert typed == Fetched(("HTTP://host/a.tif", Path("b.tif"))) and type(typed.sources[0]) is str
    with pytest.raises(ConfigError, match=r'folder is "https://host/x"; expected a path'):
        load_settings(Fetched, path, ["folder=https://host/x"])


def test_overrides_win_and_their_paths_start_here(tmp_path):
    path = recipe(tmp_path, 'sources = ["a.tif"]\n')
    settings = load_settings(Outer, path, ["steps=3", "inner.mode=b c", "flag=true", 'sources=["b.tif"]'])
    assert (settings.steps, settings.inner.mode, settings.flag) == (3, "b c", True)
    assert load_settings(Inner, None, ["rate=0.5"]).rate == 0.5


@pytest.mark.parametrize(
    "text, message",
    [
        ("sources = []\nstep = 3", "unknown key 'step'; did you mean 'steps'"),
        ("steps = 3", "lacks sources"),
        ('sources = []\nsteps = "many"', 'steps is "many"; expected int'),
        ("sources = []\nsteps = true", "expected int"),
        ("sources = []\nsteps = 0", "expected at least 1"),
        ("sources = 3", "expected a list"),
        ("sources = []\ninner = 3", "a table of settings is expected"),
        ("sources = []\n[inner]\nrat = 3", "inner has an unknown key 'rat'"),
        ("sources = [", "not valid TOML"),
    ],
)
def test_a_wrong_recipe_gets_one_sentence(tmp_path, text, message):
    with pytest.raises(ConfigError, match=r"recipe\.toml") as caught:
        load_settings(Outer, recipe(tmp_path, text))
    assert message in str(caught.value)


def test_a_missing_recipe_is_said():
    with pytest.raises(ConfigError, match="there is no recipe"):
        load_settings(Outer, "nowhere.toml")


def test_an_override_without_value_is_said(tmp_path):
    with pytest.raises(ConfigError, match="expected key=value"):
        load_settings(Inner, None, ["rate"])


def test_settings_become_plain_values():
    assert to_plain(Outer((Path("a"),), weights={"x": 1.0})) == {
        "sources": ["a"], "steps": 10, "inner": {"rate": 1.0, "mode": "a"}, "weights": {"x": 1.0},
        "limit": None, "flag": False,
    }  # fmt: skip
