"""Every engine is held to the same promises; Ray's rows skip where it is not installed."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.data.area import make_area, small_recipe

from georefer.building.build import build
from georefer.engine import AHEAD, ENGINES, Processes, Ray, Serial, engine_of
from georefer.errors import ConfigError, GeoreferError, MissingExtra, RasterError

try:
    import ray
except ImportError:
    ray = None

NEEDS_RAY = pytest.mark.skipif(ray is None, reason="Ray is not installed; the extra 'ray' brings it")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def nodes():
    """A Ray cluster of two nodes on this machine."""
    from ray.cluster_utils import Cluster

    started = {"num_cpus": 1, "include_dashboard": False, "object_store_memory": 80 << 20}
    cluster = Cluster(initialize_head=True, head_node_args=started)
    cluster.add_node(**{**started, "include_dashboard": None})
    ray.init(address=cluster.address, log_to_driver=False, logging_level="error")
    yield [node["NodeID"] for node in ray.nodes() if node["Alive"]]
    ray.shutdown()
    cluster.shutdown()


@pytest.fixture(params=["serial", "processes", pytest.param("ray", marks=NEEDS_RAY)])
def engine(request):
    if request.param == "ray":
        request.getfixturevalue("nodes")
    return engine_of(request.param, 2)


@dataclass
class Squares:
    """Keeps something open, as a reader of rasters does."""

    power: int = 2
    seen: list = field(default_factory=list)

    def __call__(self, item):
        self.seen.append(item)
        time.sleep(0.02 * (item % 3))  # results are ready out of order
        return item**self.power, len(self.seen)


class Refuses:
    def __call__(self, item):
        if item == 3:
            raise RasterError("tile.tif broke off")
        if item == 5:
            raise MissingExtra("the thing", "models")  # its __init__ does not survive pickling
        return item


class Divides:
    def __call__(self, item):
        return 1 / item


def test_results_come_in_order_from_workers_that_stay(engine):
    results = list(engine.map(Squares(), range(12)))
    assert [value for value, _ in results] == [i**2 for i in range(12)]
    # more than one item met the same worker
    assert max(count for _, count in results) > 2


def test_nothing_to_do_gives_nothing(engine):
    assert list(engine.map(Squares(), [])) == []


def test_an_input_error_keeps_its_type_and_names_the_item(engine):
    results = engine.map(Refuses(), range(6), "chip {}".format)
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(RasterError, match=r"^chip 3: tile.tif broke off$"):
        next(results)


def test_an_error_that_cannot_travel_comes_as_its_words(engine):
    with pytest.raises(GeoreferError, match=r"georefer\[models\]"):
        list(engine.map(Refuses(), [5]))


def test_any_other_error_gets_a_note_with_item_and_place(engine):
    with pytest.raises(ZeroDivisionError) as caught:
        list(engine.map(Divides(), [1, 0], "chip {}".format))
    (note,) = caught.value.__notes__
    assert "while working on chip 0" in note and "1 / item" in note


def test_items_are_taken_only_as_results_are_fetched(engine):
    taken = []
    results = engine.map(Squares(), (taken.append(i) or i for i in range(1000)))
    next(results)
    assert len(taken) <= AHEAD * 2 + 1
    results.close()
    assert len(taken) < 20


class Dies:
    def __call__(self, item):
        if item == 2:
            os.kill(os.getpid(), signal.SIGKILL)
        return item


def test_a_dead_worker_is_said():
    with pytest.raises(GeoreferError, match="died while working on chip"):
        list(Processes(1).map(Dies(), range(4), "chip {}".format))


class Where:
    def __call__(self, item):
        time.sleep(0.05)
        return ray.get_runtime_context().get_node_id()


@NEEDS_RAY
def test_ray_works_on_both_nodes(nodes):
    assert set(Ray(2).map(Where(), range(8))) == set(nodes)


@NEEDS_RAY
def test_a_build_over_two_nodes_gives_the_same_bytes(nodes, tmp_path):
    make_area(tmp_path, side=256)
    settings = small_recipe(tmp_path)
    folders = [build(settings, tmp_path / e.__class__.__name__, engine=e).folder for e in (Serial(), Ray(2))]
    one, other = (
        {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        for folder in folders
    )
    assert one == other and any(name.startswith("scenes/") for name in one)


@pytest.mark.parametrize(
    "name, workers, kind", [("serial", None, Serial), ("processes", 3, Processes), ("ray", None, Ray)]
)
def test_engines_by_name(name, workers, kind):
    assert isinstance(engine_of(name, workers), kind)
    assert name in ENGINES


@pytest.mark.parametrize("name, workers", [("threads", None), ("processes", 0)])
def test_unknown_engines_and_no_workers_are_refused(name, workers):
    with pytest.raises(ConfigError, match="expected"):
        engine_of(name, workers)


def test_ray_that_is_not_there_names_its_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(MissingExtra, match=r"georefer\[ray\]"):
        list(Ray().map(Squares(), [1]))


SCRIPT = """
import os, sys, time
from pathlib import Path
from georefer.engine import Processes

class Slow:
    def __call__(self, item):
        Path(sys.argv[1], str(os.getpid())).touch()
        time.sleep(0.2)

if __name__ == "__main__":
    try:
        list(Processes(2).map(Slow(), range(10_000)))
    except KeyboardInterrupt:
        print("interrupted")
"""


@pytest.mark.parametrize("sent, said", [(signal.SIGINT, "interrupted\n"), (signal.SIGKILL, "")])
def test_workers_end_with_their_parent(tmp_path, sent, said):
    (tmp_path / "pids").mkdir()
    (tmp_path / "script.py").write_text(SCRIPT)
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path / "pids")]
    parent = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    workers = wait_for(lambda: len(found := [int(p.name) for p in (tmp_path / "pids").iterdir()]) == 2 and found)
    parent.send_signal(sent)
    out, err = parent.communicate(timeout=60)
    assert out == said
    assert not err or sent == signal.SIGKILL  # after which Python's tracker of semaphores says that it tidied up
    wait_for(lambda: not any(is_alive(worker) for worker in workers))


def wait_for(condition, seconds=60):
    ends = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < ends, "waited in vain"
        time.sleep(0.05)
    return value


def is_alive(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"
