"""Faster ways of reading and computing give what the plain ones give, bit for bit."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pixelwise.data.decode import decode_image
from pixelwise.data.levels import statistics_of
from pixelwise.data.quick import color_jpeg, jpeg_size
from pixelwise.errors import DataError, LabelError
from pixelwise.labels import LabelSet


def photo(size=(75, 101)):
    """Smooth color with some noise, as JPEG is made for."""
    random = np.random.default_rng(0)
    small = random.integers(0, 256, (6, 8, 3)).astype(np.uint8)
    picture = cv2.resize(small, size[::-1], interpolation=cv2.INTER_CUBIC).astype(np.int16)
    return np.clip(picture + random.normal(0, 10, picture.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"quality": 100}, {"restart_marker_rows": 1}])
@pytest.mark.parametrize("size", [(75, 101), (1, 1), (16, 33)])
def test_a_color_jpeg_is_pillows_in_every_pixel(tmp_path, subsampling, options, size):
    file = tmp_path / "a.jpg"
    Image.fromarray(photo(size)).save(file, subsampling=subsampling, **options)
    with Image.open(file) as image:
        expected = np.asarray(image)
    found = decode_image(file)
    assert found.shape == (*size, 3) and found.dtype == np.uint8 and found.flags.writeable
    assert (found == expected).all()
    assert jpeg_size(file.read_bytes()) == size and color_jpeg(file.read_bytes()) is not None


@pytest.mark.parametrize("kept", [0.3, 0.9])
def test_a_cut_jpeg_is_refused_as_before(tmp_path, kept):
    file = tmp_path / "a.jpg"
    Image.fromarray(photo()).save(file)
    data = file.read_bytes()
    file.write_bytes(data[: int(len(data) * kept)])
    with pytest.raises(DataError, match=r"a\.jpg.*truncated"):
        decode_image(file)


def test_a_jpeg_with_bytes_behind_it_is_read(tmp_path):
    file = tmp_path / "a.jpg"
    Image.fromarray(photo()).save(file)
    expected = decode_image(file)
    file.write_bytes(file.read_bytes() + b"appended")
    assert (decode_image(file) == expected).all()


@pytest.mark.parametrize("channels", range(1, 7))
@pytest.mark.parametrize("count", [1, 2, 9, 100, 4096])
def test_statistics_are_numpys_mean_and_deviation(channels, count):
    grid = (np.random.default_rng(count).random((count, channels)) * 255).astype(np.float32)
    before = grid.copy()
    found = statistics_of(grid)
    assert found.dtype == np.float32 and (grid == before).all()
    assert (found == np.stack([grid.mean(0), grid.std(0)])).all()


@pytest.mark.parametrize("count", [2, 21, 254, 255])
def test_bytes_become_classes_by_the_table(count):
    random = np.random.default_rng(count)
    keys = random.permutation(256)[:count]
    table = {int(key): int(cls) for key, cls in zip(keys, random.integers(0, count, count), strict=True)}
    table[int(keys[0])] = 255
    labels = LabelSet(tuple(f"c{i}" for i in range(count)), table=table)
    values = random.choice(keys, (20, 30)).astype(np.uint8)
    found = labels.to_classes(values)
    assert found.dtype == np.uint8 and found.flags.writeable
    assert (found == [[table[int(v)] for v in row] for row in values]).all()


def test_numbers_that_are_their_own_classes_are_checked_like_others():
    labels = LabelSet(("a", "b", "c"), table={0: 0, 1: 1, 2: 2, 255: 255})
    values = np.random.default_rng(0).choice([0, 1, 2, 255], (20, 30)).astype(np.uint8)
    found = labels.to_classes(values)
    assert (found == values).all() and found.flags.writeable and not np.shares_memory(found, values)
    values[3, 4] = 254
    with pytest.raises(LabelError, match="254.*row 3, column 4"):
        labels.to_classes(values)
