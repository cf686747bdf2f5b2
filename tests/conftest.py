"""Fixtures of the whole suite."""

import os
import signal
from pathlib import Path

import pytest

# no test needs the network; unreachable hubs would be retried for half a minute. Read when huggingface_hub is imported.
os.environ["HF_HUB_OFFLINE"] = "1"

# a suite in the background of a shell ignores interrupts, and so would the programs that tests start and interrupt
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

SHARED = Path(__file__).parents[2] / "shared"


def _folder(name: str) -> Path:
    folder = SHARED / name
    if not folder.is_dir():
        pytest.skip(f"needs the shared folder's {name}, which is not beside this checkout")
    return folder


@pytest.fixture(scope="session")
def golden() -> Path:
    """Reference inputs and results of the field's own libraries and scorers."""
    return _folder("golden")


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real imagery with labels."""
    return _folder("data")
