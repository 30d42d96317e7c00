"""Copies are found, however they were saved; different pictures are not."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pixelwise.data.duplicates import LIKENESS, Alike, find_alike, groups_of
from pixelwise.data.scan import ImageStatistics, image_statistics


def scene(seed: int) -> np.ndarray:
    """A picture with light, shapes and texture."""
    random = np.random.default_rng(seed)
    picture = cv2.resize(
        random.uniform(40, 200, (4, 5, 3)).astype(np.float32), (150, 100), interpolation=cv2.INTER_CUBIC
    )
    for _ in range(6):
        center = tuple(int(v) for v in random.integers(10, 90, 2))
        cv2.circle(picture, center, int(random.integers(5, 25)), random.uniform(0, 255, 3).tolist(), -1)
    return np.clip(picture + random.normal(0, 8, picture.shape), 0, 255).astype(np.uint8)


def saved(tmp_path, picture, name="a.png", **options) -> ImageStatistics:
    Image.fromarray(picture).save(tmp_path / name, **options)
    return image_statistics(tmp_path / name)


def brute(pictures: list[ImageStatistics]) -> list[tuple[int, int]]:
    """Every pair whose thumbnails correlate, or whose bytes are the same."""
    found = []
    for i, one in enumerate(pictures):
        for j in range(i + 1, len(pictures)):
            a, b = one.thumbnail.astype(float).ravel(), pictures[j].thumbnail.astype(float).ravel()
            like = a.std() > 0 and b.std() > 0 and np.corrcoef(a, b)[0, 1] >= LIKENESS
            if like or one.digest == pictures[j].digest:
                found.append((i, j))
    return found


@pytest.mark.parametrize(
    ("name", "options", "change"),
    [
        ("b.png", {}, lambda p: p),
        ("b.jpg", {"quality": 40}, lambda p: p),
        ("b.png", {}, lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)),
        ("b.png", {}, lambda p: np.clip(p * 0.8 + 30, 0, 255).astype(np.uint8)),
        ("b.png", {}, lambda p: p.mean(2).astype(np.uint8)),
    ],
)
def test_copies(tmp_path, name, options, change):
    pictures = [saved(tmp_path, scene(i)) for i in range(5)]
    pictures.append(saved(tmp_path, change(scene(3)), name, **options))
    assert [(first, second) for first, second, _ in find_alike(pictures)] == [(3, 5)] == brute(pictures)


def test_the_same_bytes_are_identical(tmp_path):
    one, other = saved(tmp_path, scene(0), "a.png"), saved(tmp_path, scene(0), "b.png")
    assert find_alike([one, other]) == [Alike(0, 1, 2.0)] and find_alike([one, other])[0].identical


def test_plain_pictures_are_alike_only_when_they_are_identical(tmp_path):
    plain = [saved(tmp_path, np.full((9, 9, 3), v, np.uint8), f"{i}.png") for i, v in enumerate((7, 8, 7))]
    assert find_alike(plain) == [Alike(0, 2, 2.0)]


def test_in_blocks_as_at_once(tmp_path, monkeypatch):
    pictures = [saved(tmp_path, scene(i % 7)) for i in range(30)]
    expected = find_alike(pictures)
    assert [(a, b) for a, b, _ in expected] == brute(pictures)
    monkeypatch.setattr("pixelwise.data.duplicates._BLOCK", 4)
    again = find_alike(pictures)
    assert [(a, b) for a, b, _ in again] == [(a, b) for a, b, _ in expected]
    assert np.allclose([likeness for _, _, likeness in again], [likeness for _, _, likeness in expected], atol=1e-5)


def test_none_and_one(tmp_path):
    assert find_alike([]) == []
    assert find_alike([saved(tmp_path, scene(0))]) == []


def test_groups():
    alike = [Alike(0, 3, 2.0), Alike(3, 5, 0.98), Alike(1, 2, 0.99)]
    assert groups_of(6, alike).tolist() == [0, 1, 1, 0, 4, 0]


def test_more_bits(tmp_path):
    deep = scene(0).astype(np.uint16) * 16
    cv2.imwrite(str(tmp_path / "deep.png"), deep[:, :, ::-1])
    one, other = image_statistics(tmp_path / "deep.png"), saved(tmp_path, scene(0), "b.png")
    assert [(a, b) for a, b, _ in find_alike([one, other])] == [(0, 1)]
