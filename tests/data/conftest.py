"""What is remembered of a folder stays within the test."""

import pytest


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("cache")
    monkeypatch.setenv("PIXELWISE_CACHE", str(folder))
    return folder
