"""The demo's data: the same call gives the same bytes, every mask fits its picture, nothing is overwritten."""

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.errors import BadOption, DataError
from pixelwise.flow import demo
from pixelwise.flow.demo import CLASSES, PALETTE, draw_demo, draw_new_pictures, draw_scene

SMALL = (64, 80)


def digests(folder: Path) -> dict[str, str]:
    return {
        str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest()
        for p in sorted(folder.rglob("*"))
        if p.is_file()
    }


def test_same_seed_same_bytes(tmp_path: Path) -> None:
    draw_demo(tmp_path / "a", count=3, size=SMALL)
    draw_demo(tmp_path / "b", count=3, size=SMALL)
    draw_demo(tmp_path / "c", count=2, size=SMALL)
    draw_demo(tmp_path / "d", count=3, size=SMALL, seed=1)
    first = digests(tmp_path / "a")
    assert first == digests(tmp_path / "b")
    assert digests(tmp_path / "c").items() <= first.items()  # a picture does not depend on how many there are
    pictures = {value for name, value in first.items() if name.startswith("images")}
    assert len(pictures) == 3 and not pictures & set(digests(tmp_path / "d").values())


def test_layout(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "garden"
    draw_demo(folder, count=4, size=SMALL)
    assert (folder / "classes.txt").read_text(encoding="utf-8").split() == list(CLASSES)
    images, masks = sorted((folder / "images").iterdir()), sorted((folder / "masks").iterdir())
    assert [p.stem for p in images] == [p.stem for p in masks] and len(images) == 4
    assert {p.suffix for p in images} == {".jpg"} and {p.suffix for p in masks} == {".png"}
    for image, mask in zip(images, masks, strict=True):
        with Image.open(image) as picture, Image.open(mask) as target:
            assert picture.mode == "RGB" and target.mode == "P"
            assert picture.size == target.size == SMALL[::-1]
            assert np.asarray(target).max() < len(CLASSES)
            assert tuple((target.getpalette() or [])[: 3 * len(PALETTE)]) == tuple(
                v for color in PALETTE for v in color
            )
    assert sorted(p.name for p in folder.iterdir()) == ["classes.txt", "images", "masks"]
    assert list(folder.parent.iterdir()) == [folder], "something was left beside the folder"


def test_every_class_is_common_enough_to_be_learned() -> None:
    targets = [draw_scene(np.random.default_rng(k), (192, 256))[1] for k in range(6)]
    shares = np.bincount(np.stack(targets).ravel(), minlength=len(CLASSES)) / np.stack(targets).size
    assert len(shares) == len(CLASSES) and shares.min() > 0.02 and shares[0] < 0.85


def test_color_alone_does_not_decide() -> None:
    """The best table from 512 colors to classes, made on eight pictures, is far from right on eight others."""
    scenes = [draw_scene(np.random.default_rng(k), (128, 160)) for k in range(16)]
    image, target = np.stack([s[0] for s in scenes]), np.stack([s[1] for s in scenes])
    colors = (image >> 5).astype(int) @ np.array([64, 8, 1])
    votes = np.zeros((512, len(CLASSES)), int)
    np.add.at(votes, (colors[:8].ravel(), target[:8].ravel()), 1)
    guess, truth = votes.argmax(1)[colors[8:]], target[8:]
    overlaps = [((guess == k) & (truth == k)).sum() / ((guess == k) | (truth == k)).sum() for k in range(len(CLASSES))]
    assert np.mean(overlaps) < 0.6


def test_mask_is_the_majority_of_the_large_drawing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each pixel of the mask is the class with the most of the pixels that it was averaged from."""
    seen: list[np.ndarray] = []
    place = demo._place

    def spy(random: np.random.Generator, canvas: np.ndarray, target: np.ndarray, *rest: object) -> None:
        place(random, canvas, target, *rest)
        seen.append(target)

    monkeypatch.setattr(demo, "_place", spy)
    _, target = draw_scene(np.random.default_rng(3), SMALL)
    large = seen[-1]
    for y in range(SMALL[0]):
        for x in range(SMALL[1]):
            block = large[2 * y : 2 * y + 2, 2 * x : 2 * x + 2]
            assert target[y, x] == np.bincount(block.ravel(), minlength=5).argmax()


def test_new_pictures_are_new(tmp_path: Path) -> None:
    draw_demo(tmp_path / "a", count=2, size=SMALL, seed=1)
    draw_new_pictures(tmp_path / "b", count=2, seed=1, size=SMALL)
    draw_new_pictures(tmp_path / "c", count=2, seed=1, size=SMALL)
    assert sorted(p.name for p in (tmp_path / "b").iterdir()) == ["new_000.jpg", "new_001.jpg"]
    assert digests(tmp_path / "b") == digests(tmp_path / "c")
    assert not set(digests(tmp_path / "a").values()) & set(digests(tmp_path / "b").values())


@pytest.mark.parametrize("draw", [draw_demo, draw_new_pictures])
def test_nothing_is_overwritten(tmp_path: Path, draw: object) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    with pytest.raises(
        DataError, match=r"new or empty folder, but .* holds something already; pass another one or empty it"
    ):
        draw(tmp_path, count=1, size=SMALL)
    with pytest.raises(DataError, match="holds something already"):
        draw(tmp_path / "mine.txt", count=1, size=SMALL)
    with pytest.raises(DataError, match=r"cannot write the demo's .* to .*; pass another folder"):
        draw(tmp_path / "mine.txt" / "below", count=1, size=SMALL)
    assert [p.name for p in tmp_path.iterdir()] == ["mine.txt"]
    (tmp_path / "empty").mkdir()
    draw(tmp_path / "empty", count=1, size=SMALL)
    assert any((tmp_path / "empty").iterdir())


def test_a_failure_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    with pytest.raises(DataError, match="No space left on device; pass another folder"):
        draw_demo(tmp_path / "a", count=1, size=SMALL)
    assert list(tmp_path.iterdir()) == []


def test_bad_sizes(tmp_path: Path) -> None:
    with pytest.raises(BadOption, match="at least 1 picture, got count=0"):
        draw_demo(tmp_path / "a", count=0)
    with pytest.raises(BadOption, match="at least 32 × 32 pixels, got 16 × 80"):
        draw_demo(tmp_path / "a", size=(16, 80))
