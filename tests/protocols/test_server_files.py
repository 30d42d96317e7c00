"""Result files read back as the servers read them."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from pixelwise.errors import BadOption, DataError, LabelError, ShapeError
from pixelwise.protocols.server_files import write_cityscapes_results, write_voc_results


def test_vocs_files_are_indexed_pngs_in_the_servers_folders(tmp_path: Path):
    labels = np.random.default_rng(0).integers(0, 21, (5, 7))
    folder = write_voc_results([("2008_000001", labels)], tmp_path)
    assert folder == tmp_path / "results" / "VOC2012" / "Segmentation" / "comp6_test_cls"
    with Image.open(folder / "2008_000001.png") as picture:
        assert picture.mode == "P"
        assert (np.asarray(picture) == labels).all()
        palette = picture.getpalette()
        assert palette[3 * 15 : 3 * 16] == [192, 128, 128]
    other = write_voc_results([("2008_000001", labels)], tmp_path, competition="comp5", split="val")
    assert other.name == "comp5_val_cls"


def test_cityscapes_files_hold_ids_and_begin_with_the_frames_name(tmp_path: Path):
    labels = np.arange(19).reshape(1, 19)
    results = [("frankfurt_000000_000294", labels), ("bad-honnef_000001_000002_leftImg8bit", labels)]
    folder = write_cityscapes_results(results, tmp_path, size=None)
    expected = [7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33]
    for frame in ("frankfurt_000000_000294", "bad-honnef_000001_000002"):
        (file,) = folder.glob(f"{frame}*.png")
        assert np.asarray(Image.open(file)).tolist() == [expected]
    ids = np.full((1024, 2048), 33)
    folder = write_cityscapes_results([("ulm_000000_000001", ids)], tmp_path / "ids", values="ids")
    assert (np.asarray(Image.open(folder / "ulm_000000_000001_leftImg8bit.png")) == 33).all()


def test_what_a_server_would_refuse_is_refused_here(tmp_path: Path):
    good = np.zeros((2, 3), int)
    with pytest.raises(LabelError, match="x holds 255 at row 1, column 2; the server takes 0–20: every pixel needs a"):
        write_voc_results([("x", np.array([[0, 0, 0], [0, 0, 255]]))], tmp_path)
    with pytest.raises(DataError, match="x stands twice among the results"):
        write_voc_results([("x", good), ("x", good)], tmp_path)
    with pytest.raises(DataError, match=r"expected the picture's id, got 'a/b': leave folders out"):
        write_voc_results([("a/b", good)], tmp_path)
    with pytest.raises(DataError, match="there are no results to write"):
        write_voc_results([], tmp_path)
    with pytest.raises(BadOption, match="competitions are comp5 and comp6, got 'comp7'"):
        write_voc_results([("x", good)], tmp_path, competition="comp7")
    with pytest.raises(ShapeError, match=r"x: expected classes \(height, width\), got shape \(2,\)"):
        write_voc_results([("x", np.zeros(2, int))], tmp_path)
    with pytest.raises(DataError, match="expected names as frankfurt_000000_000294, got 'x'"):
        write_cityscapes_results([("x", good)], tmp_path)
    with pytest.raises(ShapeError, match=r"prediction is \(2, 3\), expected \(1024, 2048\)"):
        write_cityscapes_results([("ulm_000000_000001", good)], tmp_path)
    with pytest.raises(LabelError, match="holds 19 at row 0, column 0; the server takes 0–18"):
        write_cityscapes_results([("ulm_000000_000001", good + 19)], tmp_path, size=None)
    twice = [("ulm_000000_000001", good), ("ulm_000000_000001_leftImg8bit", good)]
    with pytest.raises(DataError, match="ulm_000000_000001 stands twice"):
        write_cityscapes_results(twice, tmp_path, size=None)
