"""The doctor finds what is broken, says what to do, and is not broken by it."""

import argparse
import sys
from importlib.machinery import PathFinder

import pytest

from georefer.cli import doctor


def broken_torchvision(folder, monkeypatch, code="raise RuntimeError('operator torchvision::nms does not exist')"):
    """A package as an index serves it for another build of torch: metadata fine, import fails.

    A stand-in for torch lies beside it, because the real one takes seconds to import.
    """
    (folder / "torch").mkdir()
    (folder / "torch" / "__init__.py").write_text("def zeros(*shape): return shape")
    (folder / "torchvision").mkdir()
    (folder / "torchvision" / "__init__.py").write_text(code)
    info = folder / "torchvision-0.28.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: torchvision\nVersion: 0.28.0\n")
    monkeypatch.syspath_prepend(str(folder))


def hide(monkeypatch, *packages):
    """As if these were not installed, for this process and for metadata."""
    real_spec, real_version = doctor.find_spec, doctor.version

    def version(name):
        if name in packages:
            raise doctor.PackageNotFoundError(name)
        return real_version(name)

    monkeypatch.setattr(doctor, "version", version)
    monkeypatch.setattr(doctor, "find_spec", lambda name: None if name in packages else real_spec(name))


def test_a_broken_torchvision_is_a_problem_with_a_remedy(tmp_path, monkeypatch):
    broken_torchvision(tmp_path, monkeypatch)
    (finding,) = doctor.check_torchvision()
    assert finding.level == "problem"
    assert "0.28.0" in finding.message and "operator torchvision::nms does not exist" in finding.message
    assert finding.message.endswith(f"run  {sys.executable} -m pip uninstall -y torchvision")
    # looking at it did not import it here
    assert "torchvision" not in sys.modules


def test_a_torchvision_that_works_is_no_problem(tmp_path, monkeypatch):
    working = "class ops:\n    nms = staticmethod(lambda *a: None)"
    broken_torchvision(tmp_path, monkeypatch, working)
    assert doctor.check_torchvision()[0].level == "ok"


@pytest.mark.skipif(PathFinder.find_spec("torchvision") is not None, reason="torchvision is installed here")
def test_no_torchvision_is_as_it_should_be():
    (finding,) = doctor.check_torchvision()
    assert finding.level == "ok" and "not installed" in finding.message


@pytest.mark.parametrize(
    ("present", "found"),
    [((), 0), (("kernels",), 0), (("bitsandbytes",), 0), (("kernels", "bitsandbytes"), 1)],
)
def test_kernels_beside_bitsandbytes_is_a_warning(tmp_path, monkeypatch, present, found):
    for name in present:
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("raise RuntimeError('looking must not import')")
        info = tmp_path / f"{name}-7.8.9.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 7.8.9\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    hide(monkeypatch, *{"kernels", "bitsandbytes"} - set(present))
    findings = doctor.check_kernels()
    assert [f.level for f in findings] == ["warning"] * found
    assert all(
        f.message.startswith("7.8.9 beside bitsandbytes 7.8.9") and "uninstall -y kernels" in f.message
        for f in findings
    )


def test_both_gdals_are_tried_out_and_a_stray_variable_is_named(tmp_path, monkeypatch):
    assert [f.level for f in doctor.check_geodata()] == ["ok", "ok"]
    monkeypatch.setenv("PROJ_DATA", str(tmp_path))
    monkeypatch.setenv("PROJ_LIB", str(tmp_path))
    findings = doctor.check_geodata()
    assert "problem" in {f.level for f in findings}
    assert all("unset PROJ_DATA, PROJ_LIB" in f.message for f in findings if f.level == "problem")


def test_without_the_models_extra_it_warns_and_goes_on(monkeypatch):
    hide(monkeypatch, "torch", "transformers", "peft", "torchvision")
    (finding,) = doctor.check_models()
    assert finding.level == "warning" and "torch, transformers, peft not installed" in finding.message
    assert "georefer[models]" in finding.message
    assert doctor.check_torch() == []


def test_a_missing_core_package_is_a_problem(monkeypatch):
    hide(monkeypatch, "rasterio")
    assert doctor.check_core()[0].level == "problem" and "rasterio" in doctor.check_core()[0].message
    assert doctor._check_geodata("rasterio", "").level == "problem"


@pytest.mark.parametrize(("free_gb", "level"), [(0.1, "problem"), (2, "warning"), (100, "ok")])
def test_disk_space(monkeypatch, free_gb, level):
    usage = doctor.shutil.disk_usage("/")
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage._replace(free=free_gb * 1e9))
    assert doctor.check_disk()[0].level == level


def test_torch_that_cannot_be_imported_is_a_finding(tmp_path, monkeypatch):
    (tmp_path / "torch").mkdir()
    (tmp_path / "torch" / "__init__.py").write_text("raise ImportError('libtorch_cpu.so: no such file')")
    monkeypatch.syspath_prepend(str(tmp_path))
    (finding,) = doctor.check_torch()
    assert finding.level == "problem" and "libtorch_cpu.so" in finding.message


def test_hints_about_speed():
    cpu = {"version": "2.13.0+cpu", "threads": 64, "gpus": []}
    assert doctor._device(cpu).level == ("warning" if doctor._cores() < 64 else "ok")
    gpu = {"version": "2.13.0", "threads": 4, "gpus": [{"name": "H200", "gb": 150.1}]}
    assert "H200 (150 GB)" in doctor._device(gpu).message and doctor._speed_hints(gpu) == []


def test_the_exit_code_is_one_only_for_problems(monkeypatch, capsys):
    for level, code in (("ok", 0), ("warning", 0), ("problem", 1)):
        monkeypatch.setattr(doctor, "diagnose", lambda level=level: [doctor.Finding(level, "thing", "as it is")])
        assert doctor.run(argparse.Namespace(json=False)) == code
        assert f"{level:<8} thing" in capsys.readouterr().out


def test_this_installation_has_no_problem():
    """All checks for real, in one go."""
    findings = doctor.diagnose()
    assert {"python", "packages", "rasterio", "pyogrio", "disk"} <= {f.name for f in findings}
    assert [f for f in findings if f.level == "problem"] == []
