"""One drawn folder for all pages, and a copy of it for each."""

import logging
import shutil

import pytest

from .places import draw_common


@pytest.fixture(scope="session")
def drawn(tmp_path_factory):
    """Drawn once; each page has a copy."""
    folder = tmp_path_factory.mktemp("documents") / "drawn"
    folder.mkdir()
    draw_common(folder)
    return folder


@pytest.fixture
def place(drawn, tmp_path, monkeypatch, caplog):
    """The reader's folder."""
    caplog.set_level(logging.ERROR, "pixelwise")
    folder = tmp_path / "here"
    shutil.copytree(drawn, folder)
    monkeypatch.chdir(folder)
    return folder
