"""Fixtures for all tests."""

import itertools
import os
from pathlib import Path

import pytest
import torch

from .several import Several

CACHES = itertools.count()


@pytest.fixture(autouse=True)
def _own_cache(tmp_path_factory, monkeypatch):
    """No test reads or fills the user's cache, or uses the network but for a server of its own."""
    # not by mktemp, which looks at the folders of thousands of tests to find the next number
    cache = tmp_path_factory.getbasetemp() / f"cache-{next(CACHES)}"
    cache.mkdir()
    monkeypatch.setenv("PIXELWISE_CACHE", str(cache))
    monkeypatch.setenv("PIXELWISE_OFFLINE", "1")
    monkeypatch.delenv("PIXELWISE_MIRROR", raising=False)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real data; the test is skipped where PIXELWISE_DATA names none."""
    folder = os.environ.get("PIXELWISE_DATA")
    if not folder:
        pytest.skip("PIXELWISE_DATA is not set")
    return Path(folder)


@pytest.fixture(scope="session")
def several(tmp_path_factory):
    """Starts commands in several processes, as torchrun does."""
    starts = Several(tmp_path_factory.mktemp("several"))
    yield starts
    starts.close()


@pytest.fixture(autouse=True)
def _one_thread():
    """Small tensors on several threads are slow on a busy machine, and no test is about threads. One seed, too."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)
