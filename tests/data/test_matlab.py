"""Masks in MATLAB's files of both kinds, and in NumPy's."""

import sys

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from pixelwise.data.decode import IMAGE_EXTENSIONS, MASK_EXTENSIONS, decode_mask, mask_orientation, mask_palette
from pixelwise.data.scan import mask_statistics
from pixelwise.errors import DataError

MASK = np.arange(35, dtype=np.uint8).reshape(5, 7) % 4


def version_73(path, arrays, **attributes):
    """A file as MATLAB writes -v7.3: HDF5 behind 512 bytes of its own, axes in reverse, structures as groups."""
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, array in arrays.items():
            data = file.create_dataset(name, data=np.asarray(array).T)
            data.attrs["MATLAB_class"] = np.bytes_(attributes.get(name.rpartition("/")[2], "uint8"))
    data = bytearray(path.read_bytes())
    data[:116] = b"MATLAB 7.3 MAT-file, Platform: GLNXA64".ljust(116)
    path.write_bytes(data)
    return path


@pytest.mark.parametrize(
    "content",
    [
        {"labels": MASK},
        {"anything": MASK},
        {"LabelMap": MASK.astype(np.uint16)},
        {"mask": MASK.astype(float)},
        {"segmentation": MASK, "depth": np.ones((5, 7)) / 3, "count": 4, "name": "a name"},
        {"GTcls": {"Segmentation": MASK, "Boundaries": np.ones((5, 7)), "CategoriesPresent": [1, 2, 3]}},
        {"data": {"inner": {"ground_truth": MASK, "other": MASK + 1}}},
        {"data": np.array([{"labels": MASK}, None], object)[:1]},
    ],
)
def test_the_mask_is_found(tmp_path, content):
    savemat(tmp_path / "a.mat", content)
    values = decode_mask(tmp_path / "a.mat")
    np.testing.assert_array_equal(values, MASK)
    assert values.dtype in (np.uint8, np.uint16, np.int32)
    assert mask_palette(tmp_path / "a.mat") is None and mask_orientation(tmp_path / "a.mat") == 1
    assert mask_statistics(tmp_path / "a.mat").size == (5, 7)


@pytest.mark.parametrize("compress", [True, False])
@pytest.mark.parametrize("format", ["4", "5"])
def test_older_kinds(tmp_path, compress, format):
    savemat(tmp_path / "a.mat", {"S": MASK}, format=format, do_compression=compress and format == "5")
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.mat"), MASK)


def test_logical_arrays_are_0_and_1(tmp_path):
    savemat(tmp_path / "a.mat", {"mask": MASK > 1})
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.mat"), MASK > 1)


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float64])
def test_version_73(tmp_path, dtype):
    version_73(tmp_path / "a.mat", {"labels": MASK.astype(dtype), "title": np.ones((1, 9), np.uint16)}, title="char")
    np.testing.assert_array_equal(decode_mask(tmp_path / "a.mat"), MASK)
    version_73(tmp_path / "b.mat", {"GTcls/Segmentation": MASK, "GTcls/Boundaries": MASK, "images": np.ones((3, 5, 7))})
    np.testing.assert_array_equal(decode_mask(tmp_path / "b.mat"), MASK)


def test_a_cell_of_version_73(tmp_path):
    path = version_73(tmp_path / "a.mat", {"#refs#/a": MASK})
    with h5py.File(path, "r+") as file:
        file.create_dataset("labels", data=[[file["#refs#/a"].ref]], dtype=h5py.ref_dtype)
    np.testing.assert_array_equal(decode_mask(path), MASK)


@pytest.mark.parametrize("write", [savemat, version_73])
def test_several_or_none_are_refused(tmp_path, write):
    write(tmp_path / "a.mat", {"one": MASK, "two": MASK})
    with pytest.raises(DataError, match=r"a\.mat holds one \(5 × 7\), two \(5 × 7\); which one is the mask\? Save"):
        decode_mask(tmp_path / "a.mat")
    write(tmp_path / "b.mat", {"cube": np.ones((5, 7, 3), np.uint8)})
    with pytest.raises(
        DataError, match=r"b\.mat holds cube \(5 × 7 × 3\); expected a mask, one array of whole numbers"
    ):
        decode_mask(tmp_path / "b.mat")
    write(tmp_path / "c.mat", {"labels": MASK / 2})
    with pytest.raises(DataError, match=r"c\.mat holds 0\.5 at row 0, column 1; expected whole numbers"):
        decode_mask(tmp_path / "c.mat")


def test_several_masks_in_cells_are_listed(tmp_path):
    several = np.empty((1, 2), object)
    several[0, 0], several[0, 1] = {"Segmentation": MASK}, {"Segmentation": MASK}
    savemat(tmp_path / "a.mat", {"groundTruth": several})
    with pytest.raises(DataError, match=r"groundTruth\{1\}\.Segmentation .*groundTruth\{2\}\.Segmentation"):
        decode_mask(tmp_path / "a.mat")


@pytest.mark.parametrize("module, write", [("scipy.io", savemat), ("h5py", version_73)])
def test_what_is_missing_is_told(tmp_path, monkeypatch, module, write):
    write(tmp_path / "a.mat", {"labels": MASK})
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(DataError, match=r"a\.mat is a MATLAB file.*; install it: pip install 'pixelwise\[datasets\]'$"):
        decode_mask(tmp_path / "a.mat")


@pytest.mark.parametrize("write", [savemat, version_73])
def test_too_large_and_damaged(tmp_path, write, monkeypatch):
    write(tmp_path / "a.mat", {"labels": MASK})
    monkeypatch.setattr("pixelwise.data.decoding.files.MAX_PIXELS", 34)
    with pytest.raises(DataError, match=r"a\.mat holds 35 pixels; at most 34 are read: cut it into tiles"):
        decode_mask(tmp_path / "a.mat")
    monkeypatch.undo()
    (tmp_path / "a.mat").write_bytes((tmp_path / "a.mat").read_bytes()[:-40])
    with pytest.raises(DataError, match=r"a\.mat "):
        decode_mask(tmp_path / "a.mat")
    (tmp_path / "b.mat").write_text("no MATLAB at all")
    with pytest.raises(DataError, match=r"b\.mat is truncated or damaged"):
        decode_mask(tmp_path / "b.mat")


class TestNumpy:
    @pytest.mark.parametrize("dtype", [bool, np.uint8, ">u2", np.int64, np.float32])
    def test_two_axes_of_whole_numbers(self, tmp_path, dtype):
        np.save(tmp_path / "a.npy", (MASK % 2).astype(dtype))
        values = decode_mask(tmp_path / "a.npy")
        np.testing.assert_array_equal(values, MASK % 2)
        assert values.dtype in (np.uint8, np.uint16, np.int32)
        assert mask_palette(tmp_path / "a.npy") is None and mask_orientation(tmp_path / "a.npy") == 1

    def test_others_are_refused(self, tmp_path, monkeypatch):
        for array, message in (
            (np.ones((5, 7, 1)), r"is an array 5 × 7 × 1; expected a mask, height × width"),
            (np.ones((0, 7)), r"is an array 0 × 7; expected a mask"),
            (np.array(3), r"is an array of one number; expected"),
            (MASK / 2, r"holds 0\.5 at row 0, column 1"),
            (MASK.astype(complex), r"holds complex128; expected whole numbers"),
            (np.array([[None, {}]], object), r"is truncated or damaged .*objects"),
        ):
            np.save(tmp_path / "a.npy", array, allow_pickle=True)
            with pytest.raises(DataError, match=rf"a\.npy {message}"):
                decode_mask(tmp_path / "a.npy")
        np.save(tmp_path / "a.npy", MASK)
        monkeypatch.setattr("pixelwise.data.decoding.files.MAX_PIXELS", 34)
        with pytest.raises(DataError, match=r"a\.npy announces 35 pixels"):
            decode_mask(tmp_path / "a.npy")


def test_their_extensions_are_masks():
    assert {".mat", ".npy", ".png"} <= MASK_EXTENSIONS and ".mat" not in IMAGE_EXTENSIONS


@pytest.mark.real
@pytest.mark.parametrize(
    "folder, count, values",
    [
        ("sbd-mini/benchmark_RELEASE/dataset/cls", 32, {*range(21)}),
        ("nyud-mini/nyud/segmentation", 3, {*range(41)}),
        ("context-mini/pascal-context/trainval", 4, {*range(460)}),
        ("science/cracks/groundTruth", 118, {1, 2, 3, 4}),
    ],
)
def test_real_files(real_data, folder, count, values):
    files = sorted((real_data / folder).glob("*.mat"))
    assert len(files) == count
    for file in files[:40]:
        assert {*np.unique(decode_mask(file)).tolist()} <= values
