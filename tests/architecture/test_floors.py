"""The rule of floors: a room imports only what stands to its left, and the root modules."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[2] / "src" / "georefer"
FLOORS = (
    "geometry", "dialects", "imagery", "scoring", "scenes", "tasks", "building", "models", "training", "inference",
    "evaluation", "serving", "cli",
)  # fmt: skip
ROOT_MODULES = {"errors", "config", "runlog", "engine"}
HEAVY = {"torch", "transformers", "peft", "tokenizers", "safetensors"}
HEAVY_ROOMS = {"models", "training", "inference"}
FILES = sorted(SOURCE.rglob("*.py"))


def room_of(path: Path) -> str:
    relative = path.relative_to(SOURCE)
    return relative.parts[0] if len(relative.parts) > 1 else relative.stem


def imports_of(path: Path) -> set[str]:
    """Every module named in an import anywhere in the file, also inside functions."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            found.add(node.module or "")
            if node.module == "georefer":
                found |= {f"georefer.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_a_room_imports_only_what_stands_to_its_left(path):
    room = room_of(path)
    if room not in FLOORS:
        return
    allowed = set(FLOORS[: FLOORS.index(room) + 1]) | ROOT_MODULES
    for name in imports_of(path):
        if name.startswith("georefer."):
            assert name.split(".")[1] in allowed or name == "georefer.__version__", f"{path.name} imports {name}"


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(SOURCE)))
def test_heavy_libraries_stay_in_their_rooms(path):
    tops = {name.split(".")[0] for name in imports_of(path)}
    if room_of(path) not in HEAVY_ROOMS:
        assert not tops & HEAVY, f"{path} imports {tops & HEAVY}"
    if room_of(path) != "imagery":
        assert not tops & {"rasterio", "pyogrio"}, f"{path} opens files outside imagery/"
    assert "torchvision" not in tops


def test_root_modules_import_no_room():
    for name in ROOT_MODULES:
        inside = {m for m in imports_of(SOURCE / f"{name}.py") if m.startswith("georefer.")}
        assert {m.split(".")[1] for m in inside} <= ROOT_MODULES, f"{name}.py imports {inside}"


def test_every_room_is_on_the_list():
    rooms = {p.name for p in SOURCE.iterdir() if p.is_dir() and p.name != "__pycache__"}
    assert rooms <= set(FLOORS)


def test_import_georefer_is_light():
    code = "import sys, georefer; print(*sorted({m.split('.')[0] for m in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "georefer" in loaded
    assert not set(loaded) & (HEAVY | {"numpy", "rasterio", "geopandas"})


def test_no_module_has_grown_into_a_god_file():
    for path in FILES:
        lines = len(path.read_text().splitlines())
        assert lines <= 420, f"{path.relative_to(SOURCE)} has {lines} lines; split it by subject"


def test_no_function_has_grown_out_of_sight():
    for path in FILES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                length = (node.end_lineno or node.lineno) - node.lineno + 1
                assert length <= 70, f"{path.relative_to(SOURCE)}: {node.name} has {length} lines"
