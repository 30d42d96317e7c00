"""Small folders for the flow."""

import numpy as np
import pytest
from PIL import Image

TINY = {"crop_size": [32, 32], "batch_size": 2, "threads": 1, "model_options": {"width": 0.0625, "depth": 3}}


def write_folder(root, *, count=6, size=(32, 40), values=(0, 255), seed=0):
    """images/ and masks/ with a bright square on a dark ground; the mask holds `values`."""
    random = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True, exist_ok=True)
    for i in range(count):
        image = random.integers(0, 90, (*size, 3)).astype(np.uint8)
        mask = np.full(size, values[0], np.uint8)
        for value in values[1:]:
            y, x = random.integers(0, size[0] - 12), random.integers(0, size[1] - 12)
            image[y : y + 12, x : x + 12] += 60 + 50 * values.index(value) // len(values)
            mask[y : y + 12, x : x + 12] = value
        Image.fromarray(image).save(root / "images" / f"img_{i:02}.png")
        Image.fromarray(mask).save(root / "masks" / f"img_{i:02}.png")
    return root


@pytest.fixture
def folder(tmp_path):
    """Six pictures, masks 0 and 255."""
    return write_folder(tmp_path / "squares")


@pytest.fixture(scope="session")
def tiny():
    """Settings that make a fit take a second."""
    return TINY


@pytest.fixture(scope="session")
def make_folder():
    """`write_folder` itself."""
    return write_folder
