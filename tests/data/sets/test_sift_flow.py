"""SIFT Flow, from files in the format of its authors."""

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

from pixelwise.data import open_dataset
from pixelwise.data.answers import Answers
from pixelwise.data.find import find_layout
from pixelwise.data.sets.sift_flow import ABSENT, GEOMETRIC_LABELS, LABELS
from pixelwise.errors import DataError, LabelError, ShapeError
from pixelwise.flow.check import look_at

BELOW = "spatial_envelope_256x256_static_8outdoorcategories"
IDS = ("coast_a", "forest_b", "highway_c", "mountain_d")


def write(root, ids=IDS, bare=("highway_bost181", "street_urb506"), size=(16, 16)):
    """{id: (semantic, geometric)} as the files hold them; `bare` have pictures alone."""
    random = np.random.default_rng(0)
    for part in ("Images", "SemanticLabels", "GeoLabels"):
        (root / part / BELOW).mkdir(parents=True)
    held = {}
    for name in (*ids, *bare):
        picture = Image.fromarray(random.integers(0, 256, (*size, 3)).astype(np.uint8))
        picture.save(root / "Images" / BELOW / f"{name}.jpg")
    for name in ids:
        semantic = random.integers(0, 34, size).astype(np.uint8)
        geometric = random.choice([-1.0, 0.0, 1.0, 2.0, 3.0], size)  # doubles, as MATLAB keeps numbers
        names = np.array([[np.array([[name]])] for name in LABELS.names], object)
        savemat(root / "SemanticLabels" / BELOW / f"{name}.mat", {"S": semantic, "names": names})
        savemat(root / "GeoLabels" / BELOW / f"{name}.mat", {"S": geometric})
        held[name] = semantic, geometric
    return held


@pytest.fixture
def sift(tmp_path):
    held = write(tmp_path / "SiftFlowDataset")
    (tmp_path / "SiftFlowDataset/test.txt").write_text("forest_b\n")
    return tmp_path, held


def as_fcn(values):
    """FCN's layer: −1 is 0, then 8 bits less one."""
    values = values.copy()
    values[values == -1] = 0
    return values.astype(np.uint8) - np.uint8(1)


def test_both_heads_are_as_fcn_reads_them(sift):
    root, held = sift
    data = open_dataset("sift_flow", root)
    assert [data[i].name for i in range(len(data))] == ["coast_a", "highway_c", "mountain_d"]
    assert list(data.labels) == ["labels", "geometric"]
    assert data.labels["labels"].num_classes == 33 and data.labels["geometric"].names == (
        "sky",
        "horizontal",
        "vertical",
    )
    for i in range(len(data)):
        sample = data[i]
        semantic, geometric = held[sample.name]
        assert list(sample.targets) == ["labels", "geometric"]
        assert (sample.targets["labels"] == as_fcn(semantic)).all()
        assert (sample.targets["geometric"] == as_fcn(geometric)).all()
    part = data.subset([2, 0])
    assert [part[i].name for i in (0, 1)] == ["mountain_d", "coast_a"] and list(part.labels) == ["labels", "geometric"]


def test_the_test_split_tells_the_classes_that_it_lacks(sift):
    root, _ = sift
    data = open_dataset("sift_flow", root / "SiftFlowDataset", "test")
    assert [pair.name for pair in data.pairs] == ["forest_b"] and data.absent == {"labels": ABSENT}
    assert data.subset([0]).absent == data.absent and not open_dataset("sift_flow", root).absent
    told = data.describe()
    assert "1 picture, 33 classes (labels), 3 classes (geometric)" in told
    assert "no picture has cow, desert, moon (labels): left out of means over classes" in told
    assert "has 1 picture here, officially 200" in told


def test_lists_tell_the_splits_and_those_beside_count_also(tmp_path):
    write(tmp_path / "SiftFlowDataset")
    (tmp_path / "trainval.txt").write_text("mountain_d\ncoast_a\n")
    (tmp_path / "test.txt").write_text(f"{BELOW}\\forest_b.jpg\r\n")
    for split in ("trainval", "train"):
        assert [p.name for p in open_dataset("sift_flow", tmp_path, split).pairs] == ["mountain_d", "coast_a"]
    assert [p.name for p in open_dataset("sift_flow", tmp_path, "test").pairs] == ["forest_b"]
    assert [p.name for p in open_dataset("sift_flow", tmp_path, "all").pairs] == list(IDS)


def test_the_official_counts_are_not_warned_of(tmp_path, caplog):
    ids = [f"p{i:04}" for i in range(200)]
    write(tmp_path, ids=(), bare=())
    for name in ids:
        for part, end in (("Images", "jpg"), ("SemanticLabels", "mat"), ("GeoLabels", "mat")):
            (tmp_path / part / BELOW / f"{name}.{end}").write_bytes(b"x")
    (tmp_path / "test.txt").write_text("\n".join(ids))
    data = open_dataset("sift_flow", tmp_path, "test")
    assert len(data) == 200 and "officially" not in data.describe() and not caplog.records


def test_the_doctor_knows_it_and_takes_either_labels(sift):
    root, _ = sift
    layout = find_layout(root)
    assert {split: [p.name for p in pairs] for split, pairs in layout.splits.items()} == {
        "train": ["coast_a", "highway_c", "mountain_d"],
        "test": ["forest_b"],
    }
    assert layout.labels == (LABELS,) and layout.notes == ("GeoLabels is there, too; --as masks=GeoLabels takes it",)
    assert look_at(root).labels.names == LABELS.names
    understanding = look_at(root, read_as=["masks=GeoLabels"])
    assert understanding.labels == GEOMETRIC_LABELS and not understanding.errors
    with pytest.raises(DataError, match=r"no folder of masks Spatial in .*; there are SemanticLabels, GeoLabels"):
        find_layout(root, Answers.of(["masks=Spatial"]))
    named = look_at(root, dataset="sift_flow")
    assert named.labels.names == LABELS.names and not named.errors
    (root / "SiftFlowDataset/test.txt").unlink()
    assert list(find_layout(root).splits) == ["all"]


def test_refused(sift):
    root, held = sift
    home = root / "SiftFlowDataset"
    with pytest.raises(DataError, match=r"no Images with SemanticLabels and GeoLabels under .*; pass the folder"):
        open_dataset("sift_flow", home / "Images")
    with pytest.raises(DataError, match=r"sift_flow has no split 'val'; it has trainval, test and all"):
        open_dataset("sift_flow", root, "val")
    size = held["coast_a"][0].shape
    savemat(home / "GeoLabels" / BELOW / "coast_a.mat", {"S": np.full(size, 4)})
    with pytest.raises(LabelError, match=r"GeoLabels/.*coast_a\.mat holds the value 4 at row 0, column 0"):
        open_dataset("sift_flow", root)[0]
    savemat(home / "GeoLabels" / BELOW / "coast_a.mat", {"S": np.ones((15, 16))})
    with pytest.raises(ShapeError, match=r"GeoLabels/.*coast_a\.mat is 15 × 16 but .*coast_a\.jpg is 16 × 16"):
        open_dataset("sift_flow", root)[0]
    (home / "GeoLabels" / BELOW / "coast_a.mat").unlink()
    with pytest.raises(DataError, match=r"GeoLabels/.* has no coast_a\.mat; unpack the data set again"):
        open_dataset("sift_flow", root)
    (home / "SemanticLabels" / BELOW / "coast_a.mat").unlink()
    assert "1 pictures have no labels, as" in open_dataset("sift_flow", root).describe()
    (home / "test.txt").write_text("forest_b\nforest_x\n")
    with pytest.raises(DataError, match=r"test\.txt, line 2, lists forest_x, but .* has no such file"):
        open_dataset("sift_flow", root, "test")
    (home / "test.txt").unlink()
    with pytest.raises(DataError, match=r"no test\.txt in .* or above, the list of the 200 pictures to test; take it"):
        open_dataset("sift_flow", root)
