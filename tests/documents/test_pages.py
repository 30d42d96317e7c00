"""Every block of every page is typed as it stands there, in its order, by a reader who has nothing but that page."""

import contextlib
from pathlib import Path

import pytest

from .after import AFTER
from .before import BEFORE
from .blocks import ROOT, blocks, pages, paths_named, text_of, without_comments
from .reader import Reader

TRANSLATED = {"README.zh.md": "README.md"}
TYPED = [page for page in pages() if page not in TRANSLATED and any(not block.reason for block in blocks(page))]


@pytest.mark.parametrize("page", TYPED)
def test_what_a_page_says_to_type_runs(page, place, monkeypatch):
    with contextlib.ExitStack() as stack:
        reader = Reader(monkeypatch, stack)
        BEFORE.get(page, lambda reader: None)(reader)
        for block in blocks(page):
            reader.read(block)
        AFTER.get(page, lambda reader, text: None)(reader, text_of(page))
    if page.startswith(("docs/how-to", "docs/tutorial")):
        assert [path for path in paths_named(text_of(page)) if not there(path)] == []


def there(path):
    """Whether a path that a page names leads to something: in the reader's folder, or in the repository."""
    return any((home / path).exists() for home in (Path(), ROOT, ROOT / "src/pixelwise"))


@pytest.mark.parametrize("page", TRANSLATED)
def test_a_translation_says_to_type_the_same(page):
    """So it is run above."""
    ours, first = (
        [without_comments(block.text) for block in blocks(name) if not block.reason]
        for name in (page, TRANSLATED[page])
    )
    assert [text for text in ours if text not in first] == []


def test_pages_with_preparations_exist():
    assert {*BEFORE, *AFTER} <= {*pages()}
