"""Every mask is counted rightly, read once, and remembered; a cache that fails costs only time."""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from pixelwise.data import scan as scan_module
from pixelwise.data.sample import Pair
from pixelwise.data.scan import MaskStatistics, mask_statistics, scan
from pixelwise.errors import DataError


def folder(root, count=3):
    pairs = []
    for i in range(count):
        Image.fromarray(np.full((4, 6, 3), i, np.uint8)).save(root / f"i{i}.jpg")
        Image.fromarray(np.array([[0, 0, 0, i, i, i]] * 4, np.uint8)).save(root / f"m{i}.png")
        pairs.append(Pair(root / f"i{i}.jpg", root / f"m{i}.png", str(i)))
    return pairs


masks = st.one_of(
    hnp.arrays(dtype, hnp.array_shapes(min_dims=2, max_dims=2, max_side=7), elements=st.integers(0, 2))
    for dtype in (np.uint8, np.uint16)
)


@settings(deadline=None, max_examples=60)
@given(masks, st.booleans())
def test_values_counts_and_solid_pixels_are_those_of_the_naive_loops(tmp_path_factory, mask, colors):
    path = tmp_path_factory.mktemp("m") / "m.png"
    if colors:
        mask = mask.astype(np.uint8)
        Image.fromarray(np.stack([mask * 0, mask * 0, mask], axis=2)).save(path)
    else:
        Image.fromarray(mask).save(path)
    found = mask_statistics(path)
    height, width = mask.shape
    expected = {}
    solid = {}
    for y in range(height):
        for x in range(width):
            value = int(mask[y, x])
            expected[value] = expected.get(value, 0) + 1
            inside = 0 < y < height - 1 and 0 < x < width - 1
            same = inside and (mask[y - 1 : y + 2, x - 1 : x + 2] == value).all()
            solid[value] = solid.get(value, 0) + int(same)
    assert dict(zip(found.values.tolist(), found.counts.tolist(), strict=True)) == expected
    assert dict(zip(found.values.tolist(), found.solid.tolist(), strict=True)) == solid
    assert (found.size, found.colors, found.distinct) == (mask.shape, colors, len(expected))
    again = MaskStatistics.from_record(found.to_record())
    assert again.to_record() == found.to_record()


def test_of_many_values_the_frequent_ones_are_kept(tmp_path, monkeypatch):
    monkeypatch.setattr(scan_module, "MAX_VALUES", 2)
    Image.fromarray(np.array([[0, 1, 1, 2, 2, 2]], np.uint8)).save(tmp_path / "m.png")
    found = mask_statistics(tmp_path / "m.png")
    assert (found.values.tolist(), found.counts.tolist(), found.distinct) == ([1, 2], [2, 3], 3)


def test_progress_counts_files(tmp_path):
    told = []
    scan(folder(tmp_path), tmp_path, workers=3, progress=lambda done, total: told.append((done, total)))
    assert told == [(i, 6) for i in range(1, 7)]


def test_a_file_is_read_again_only_when_it_changed(tmp_path, monkeypatch):
    pairs = folder(tmp_path)
    read = []
    real = scan_module.mask_statistics
    monkeypatch.setattr(scan_module, "mask_statistics", lambda path, **options: read.append(path.name) or real(path))
    first = scan(pairs, tmp_path)
    assert sorted(read) == ["m0.png", "m1.png", "m2.png"]
    read.clear()
    second = scan(pairs, tmp_path)
    assert read == []
    assert {p: m.to_record() for p, m in first.masks.items()} == {p: m.to_record() for p, m in second.masks.items()}
    assert {p: i.to_record() for p, i in first.images.items()} == {p: i.to_record() for p, i in second.images.items()}
    Image.fromarray(np.array([[9] * 6] * 4, np.uint8)).save(tmp_path / "m1.png")
    os.utime(tmp_path / "m1.png", ns=(1, 1))
    assert scan(pairs, tmp_path).masks[tmp_path / "m1.png"].values.tolist() == [9]
    assert read == ["m1.png"]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"format": 1, "files": 3}', '{"format": 0}'])
def test_a_damaged_cache_is_harmless(tmp_path, own_cache, text):
    pairs = folder(tmp_path)
    expected = {p: m.to_record() for p, m in scan(pairs, tmp_path).masks.items()}
    (file,) = (own_cache / "folders").iterdir()
    file.write_text(text)
    assert {p: m.to_record() for p, m in scan(pairs, tmp_path).masks.items()} == expected


def test_damaged_entries_are_read_anew(tmp_path, own_cache):
    pairs = folder(tmp_path)
    scan(pairs, tmp_path)
    (file,) = (own_cache / "folders").iterdir()
    file.write_text(file.read_text().replace('"values"', '"valves"').replace('"mode"', '"mood"'))
    assert scan(pairs, tmp_path).masks[tmp_path / "m1.png"].values.tolist() == [0, 1]


def test_no_cache_can_be_written(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path / "file"))
    assert len(scan(folder(tmp_path), tmp_path).masks) == 3


def test_errors_take_the_place_of_what_cannot_be_read(tmp_path):
    pairs = folder(tmp_path)
    (tmp_path / "m1.png").write_bytes(b"")
    (tmp_path / "i2.jpg").unlink()
    found = scan(pairs, tmp_path)
    assert isinstance(found.masks[tmp_path / "m1.png"], DataError)
    assert "i2.jpg cannot be read (No such file or directory)" in str(found.images[tmp_path / "i2.jpg"])
    assert len([m for m in found.masks.values() if isinstance(m, MaskStatistics)]) == 2


@pytest.mark.parametrize("extension", ["jpg", "png", "bmp"])
def test_a_truncated_picture_is_noticed(tmp_path, extension):
    pairs = folder(tmp_path, 1)
    path = tmp_path / f"big.{extension}"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 60, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    found = scan([Pair(path, pairs[0].mask, "big")], tmp_path)
    assert "is truncated or damaged" in str(found.images[path])


def test_bytes_after_the_end_of_a_picture_are_fine(tmp_path):
    pairs = folder(tmp_path, 1)
    with pairs[0].image.open("ab") as file:
        file.write(b"\0" * 3000)
    assert scan(pairs, tmp_path).images[pairs[0].image].info.size == (4, 6)
