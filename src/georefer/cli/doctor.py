"""Check this installation: packages, PyTorch and its device, GDAL's data, disk space.

Everything that can be broken is tried out in a process of its own, so that a package that cannot even be
imported is a finding and not a crash. Exit code 1 where there is a problem.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Literal

Level = Literal["ok", "warning", "problem"]

LEAST_PYTHON = (3, 11)
CORE = (
    "affine", "geopandas", "jinja2", "numpy", "opencv-python-headless", "pillow", "pyarrow", "pyogrio", "pyproj",
    "rasterio", "scipy", "shapely", "tqdm",
)  # fmt: skip
MODELS = ("torch", "transformers", "tokenizers", "safetensors", "peft")
"""The extra `models`: asking and training."""

LEAST_FREE_GB = 0.5
COMFORTABLE_FREE_GB = 5.0
PATIENCE_S = 180
"""A first import of torch from a cold disk takes its time."""


@dataclass(frozen=True)
class Finding:
    """One thing looked at: how it is, and what to do where it is not well."""

    level: Level
    name: str
    message: str

    def __str__(self) -> str:
        return f"{self.level:<8} {self.name:<12} {self.message}"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="findings as JSON")


def run(options: argparse.Namespace) -> int:
    findings = diagnose()
    if options.json:
        print(json.dumps([vars(finding) for finding in findings], indent=1))
    else:
        print("\n".join(map(str, findings)))
        print(summary(findings))
    return int(any(finding.level == "problem" for finding in findings))


def diagnose() -> list[Finding]:
    """All findings, in the order of their checks; never raises for what is wrong with the installation."""
    checks: tuple[Callable[[], list[Finding]], ...] = (
        check_python, check_core, check_geodata, check_models, check_torchvision, check_kernels, check_torch,
        check_disk,
    )  # fmt: skip
    return [finding for check in checks for finding in check()]


def summary(findings: list[Finding]) -> str:
    """One line: how many problems and warnings there are."""
    problems, warnings = (sum(f.level == level for f in findings) for level in ("problem", "warning"))
    if not problems and not warnings:
        return "everything is well"
    return f"{problems} problem{'s' * (problems != 1)}, {warnings} warning{'s' * (warnings != 1)}"


# --- checks ----------------------------------------------------------------------------------------------


def check_python() -> list[Finding]:
    found = ".".join(map(str, sys.version_info[:3]))
    if sys.version_info < LEAST_PYTHON:
        least = ".".join(map(str, LEAST_PYTHON))
        return [Finding("problem", "python", f"{found} where {least} or later is expected; make a new environment")]
    return [Finding("ok", "python", f"{found} at {sys.executable}")]


def check_core() -> list[Finding]:
    found, missing = _versions(CORE)
    if missing:
        remedy = f"run  {_pip('install')} {' '.join(missing)}"
        return [Finding("problem", "packages", f"{', '.join(missing)} missing, which georefer needs; {remedy}")]
    return [Finding("ok", "packages", _listed(found))]


def check_models() -> list[Finding]:
    found, missing = _versions(MODELS)
    if not missing:
        return [Finding("ok", "models", _listed(found))]
    return [
        Finding(
            "warning", "models",
            f"{', '.join(missing)} not installed: building and scoring work, asking and training do not; "
            f"run  {_pip('install')} 'georefer[models]'",
        )
    ]  # fmt: skip


def check_geodata() -> list[Finding]:
    """rasterio and pyogrio each bring a GDAL with data of its own; a stray environment variable breaks both."""
    return [_check_geodata("rasterio", _RASTERIO_CODE), _check_geodata("pyogrio", _PYOGRIO_CODE)]


def check_torchvision() -> list[Finding]:
    """A torchvision that does not fit torch makes every class of transformers impossible to import."""
    if find_spec("torchvision") is None:
        return [Finding("ok", "torchvision", "not installed, as it should be: nothing here needs it")]
    found, torch = _version("torchvision"), _version("torch")
    tried = _try(_TORCHVISION_CODE)
    if tried.failure is None:
        return [Finding("ok", "torchvision", f"{found} works with torch {torch}; nothing here needs it")]
    return [
        Finding(
            "problem", "torchvision",
            f"{found} does not work with torch {torch} ({tried.failure}), and while it is there transformers cannot "
            f"load any model; run  {_pip('uninstall')} -y torchvision",
        )
    ]  # fmt: skip


def check_kernels() -> list[Finding]:
    """Beside the package `kernels`, an import of bitsandbytes fetches compiled code from the Hub and runs it.

    It does so on processors with bfloat16 arithmetic and on late versions of macOS (bitsandbytes 0.50,
    backends/{cpu,mps}/ops.py), asks nobody, and needs the network; where torch is built for CUDA it fails, each time.
    """
    if find_spec("kernels") is None or find_spec("bitsandbytes") is None:
        return []
    return [
        Finding(
            "warning", "kernels",
            f"{_version('kernels')} beside bitsandbytes {_version('bitsandbytes')}, which then may fetch compiled code "
            f"from the Hub and run it when it is imported; nothing here needs it: run  {_pip('uninstall')} -y kernels",
        )
    ]  # fmt: skip


def check_torch() -> list[Finding]:
    if find_spec("torch") is None:
        return []
    tried = _try(_TORCH_CODE)
    if tried.failure is not None:
        remedy = f"run  {_pip('install')} --force-reinstall torch"
        return [Finding("problem", "torch", f"installed, but it cannot be imported ({tried.failure}); {remedy}")]
    return [_device(tried.value), *_speed_hints(tried.value)]


def check_disk() -> list[Finding]:
    free_gb = shutil.disk_usage(Path.cwd()).free / 1e9
    message = f"{free_gb:.1f} GB free at {Path.cwd()}"
    if free_gb < LEAST_FREE_GB:
        return [Finding("problem", "disk", f"{message}, too little for a run; make room or work elsewhere")]
    if free_gb < COMFORTABLE_FREE_GB:
        return [Finding("warning", "disk", f"{message}; datasets and checkpoints of a larger model may not fit")]
    return [Finding("ok", "disk", message)]


# --- how the checks look ---------------------------------------------------------------------------------


def _check_geodata(package: str, code: str) -> Finding:
    if find_spec(package) is None:
        return Finding("problem", package, f"not installed; run  {_pip('install')} {package}")
    tried = _try(code)
    if tried.failure is None:
        return Finding("ok", package, f"GDAL {tried.value['gdal']}, knows EPSG:2154")
    astray = [name for name in ("PROJ_DATA", "PROJ_LIB", "GDAL_DATA", "GDAL_DRIVER_PATH") if name in os.environ]
    remedy = f"unset {', '.join(astray)}, set by another GDAL" if astray else (
        f"run  {_pip('install')} --force-reinstall {package}"
    )  # fmt: skip
    return Finding("problem", package, f"its GDAL cannot use EPSG:2154 ({tried.failure}); {remedy}")


def _device(found: dict[str, Any]) -> Finding:
    threads, cores = found["threads"], _cores()
    if found["gpus"]:
        cards = ", ".join(f"{gpu['name']} ({gpu['gb']:.0f} GB)" for gpu in found["gpus"])
        return Finding("ok", "torch", f"{found['version']} on {cards}, {threads} CPU threads")
    message = f"{found['version']} on the CPU, {threads} threads for {cores} cores"
    if threads > cores:
        return Finding("warning", "torch", f"{message}, which slows it down; set OMP_NUM_THREADS={cores}")
    return Finding("ok", "torch", message)


def _speed_hints(found: dict[str, Any]) -> list[Finding]:
    if found["gpus"] or _has_bf16():
        return []
    return [
        Finding(
            "warning", "bfloat16",
            "this CPU has no bfloat16 arithmetic, so models in it are several times slower than in float32; "
            "keep dtype float32",
        )
    ]  # fmt: skip


def _has_bf16() -> bool:
    """Whether the processor says so; unknown systems get the benefit of the doubt."""
    try:
        flags = Path("/proc/cpuinfo").read_text()
    except OSError:
        return True
    return any(flag in flags for flag in ("avx512_bf16", "amx_bf16", "bf16 "))


def _cores() -> int:
    has_affinity = hasattr(os, "sched_getaffinity")
    return len(os.sched_getaffinity(0)) if has_affinity else os.cpu_count() or 1


def _pip(verb: str) -> str:
    return f"{sys.executable} -m pip {verb}"


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "(unknown version)" if find_spec(package) else "(not installed)"


def _versions(packages: tuple[str, ...]) -> tuple[dict[str, str], list[str]]:
    found, missing = {}, []
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            missing.append(package)
    return found, missing


def _listed(found: dict[str, str]) -> str:
    return ", ".join(f"{name} {number}" for name, number in found.items())


# --- trying things out -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Tried:
    """What a piece of code printed as JSON, or the last line of its complaint."""

    value: Any
    failure: str | None


def _try(code: str) -> _Tried:
    """Runs code in a fresh interpreter that sees the packages which this one sees."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            [sys.executable, "-c", code],
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=environment,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Tried(None, f"{type(error).__name__}: {error}"[:200])
    if done.returncode:
        lines = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        return _Tried(None, lines[-1].strip()[:200])
    return _Tried(json.loads(done.stdout.strip().splitlines()[-1]), None)


_RASTERIO_CODE = """
import json, rasterio
from rasterio.crs import CRS
from rasterio.warp import transform
(x,), (y,) = transform(CRS.from_epsg(4326), CRS.from_epsg(2154), [3.0], [46.5])
assert abs(x - 700000) < 1 and abs(y - 6600000) < 1, f"3 E, 46.5 N went to {x:.0f}, {y:.0f}"
print(json.dumps({"gdal": rasterio.__gdal_version__}))
"""

_PYOGRIO_CODE = """
import json, tempfile, pathlib
import geopandas, pyogrio, shapely
with tempfile.TemporaryDirectory() as folder:
    path = pathlib.Path(folder) / "a.gpkg"
    pyogrio.write_dataframe(geopandas.GeoDataFrame(geometry=[shapely.Point(7e5, 66e5)], crs="EPSG:2154"), path)
    assert pyogrio.read_info(path)["crs"] == "EPSG:2154", f"read back as {pyogrio.read_info(path)['crs']}"
print(json.dumps({"gdal": ".".join(map(str, pyogrio.__gdal_version__))}))
"""

_TORCHVISION_CODE = """
import torch, torchvision
torchvision.ops.nms(torch.zeros(1, 4), torch.zeros(1), 0.5)
print("{}")
"""

_TORCH_CODE = """
import json, torch
count = torch.cuda.device_count() if torch.cuda.is_available() else 0
gpus = [torch.cuda.get_device_properties(i) for i in range(count)]
print(json.dumps({
    "version": torch.__version__,
    "threads": torch.get_num_threads(),
    "gpus": [{"name": gpu.name, "gb": gpu.total_memory / 1e9} for gpu in gpus],
}))
"""
