"""LabelMe's export is read as pairs; its folders must name the same classes."""

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.find import find_layout
from pixelwise.errors import DataError


def export(root, name, classes=("_background_", "cat", "dog"), files=("img", "label", "label_viz")):
    folder = root / f"{name}_json"
    folder.mkdir(parents=True)
    for file in files:
        Image.fromarray(np.eye(6, dtype=np.uint8)).save(folder / f"{file}.png")
    (folder / "label_names.txt").write_text("\n".join(classes) + "\n")


def test_pairs_and_names(tmp_path):
    export(tmp_path, "a")
    export(tmp_path, "b")
    layout = find_layout(tmp_path)
    found = [(p.name, p.image.name, p.mask.name, p.mask.parent == p.image.parent) for p in layout.splits["all"]]
    assert found == [("a", "img.png", "label.png", True), ("b", "img.png", "label.png", True)]
    assert layout.labels[0].names == ("background", "cat", "dog") and not layout.faults


def test_a_label_is_missing(tmp_path):
    export(tmp_path, "a")
    export(tmp_path, "b", files=("img",))
    (fault,) = find_layout(tmp_path).faults
    assert "has no label.png" in fault.reason


def test_each_folder_has_its_own_numbers(tmp_path):
    export(tmp_path, "a")
    export(tmp_path, "b", ("_background_", "dog"))
    with pytest.raises(DataError, match="name different classes, so that a number means two things"):
        find_layout(tmp_path)
