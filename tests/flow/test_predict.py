"""Predicting files: names kept, nothing overwritten, a bad picture does not stop the others."""

import csv
import json
import threading

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.errors import BadOption, DataError, LabelError, ShapeError
from pixelwise.flow.evaluate import evaluate_folder
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter

OPTIONS = {"num_classes": 2, "width": 0.0625, "depth": 3}


def opened(path):
    """A picture that holds no file."""
    with Image.open(path) as image:
        return image.copy()


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    labels = LabelSet(("background", "foreground"), ((0, 0, 0), (200, 30, 30)), {0: 0, 255: 1})
    architecture = {"builder": "unet", "options": OPTIONS}
    return Segmenter(build("unet", **OPTIONS), Normalization((50.0,) * 3, (50.0,) * 3), labels, architecture)


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "new"
    (root / "deep").mkdir(parents=True)
    random = np.random.default_rng(0)
    for name, size in (("a.png", (20, 30)), ("b.JPG", (17, 9)), ("deep/c.bmp", (1, 1)), ("d é.png", (40, 41))):
        Image.fromarray(random.integers(0, 255, (*size, 3)).astype(np.uint8)).save(root / name)
    (root / "notes.txt").write_text("not a picture")
    return root


def test_folders_files_and_globs_name_each_picture_once(pictures):
    names = [p.name for p in find_pictures([str(pictures), str(pictures / "a.png"), str(pictures / "*.png")])]
    assert names == ["a", "b", "d é", "deep/c"]
    assert [p.name for p in find_pictures([str(pictures / "**" / "*.bmp")])] == ["c"]


def test_results_are_never_inputs(pictures):
    """Nor does --out take the pictures beside the results away: `predict MODEL . --out .` works, and works twice."""
    (pictures / "mask").mkdir()
    Image.new("RGB", (3, 3)).save(pictures / "mask" / "a.png")
    for inputs in ([str(pictures)], [str(pictures / "**" / "*.*")]):
        assert [p.path.name for p in find_pictures(inputs, pictures)] == ["a.png", "b.JPG", "d é.png", "c.bmp"]
    assert [p.name for p in find_pictures([str(pictures / "mask" / "a.png")], pictures)] == ["a"]


def test_equal_stems_keep_their_suffix(pictures):
    Image.new("RGB", (3, 3)).save(pictures / "a.jpg")
    assert [p.name for p in find_pictures([str(pictures)])][:2] == ["a.jpg", "a.png"]


def test_inputs_that_name_nothing_are_refused(pictures, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="empty: folder holds no pictures"):
        find_pictures([str(tmp_path / "empty")])
    with pytest.raises(DataError, match=r"nothing\*\.png: there is no such file, folder or match"):
        find_pictures([str(tmp_path / "nothing*.png")])
    Image.new("RGB", (3, 3)).save(tmp_path / "a.png")
    with pytest.raises(DataError, match=r"two pictures are both called a\.png"):
        find_pictures([str(pictures / "a.png"), str(tmp_path / "a.png")])


def test_all_kinds_have_the_pictures_size_and_name(segmenter, pictures, tmp_path):
    out = tmp_path / "out"
    found = find_pictures([str(pictures)])
    done = predict_files(segmenter, found, out, kinds="mask,overlay,confidence,polygons,areas")
    assert (done.written, done.skipped, done.faults) == (4, 0, ())
    rows = list(csv.DictReader((out / "areas.csv").read_text(encoding="utf-8").splitlines()))
    for picture in found:
        size = opened(picture.path).size
        mask = opened(out / "mask" / f"{picture.name}.png")
        assert (mask.size, mask.mode) == (size, "P")
        assert opened(out / "overlay" / f"{picture.name}.png").size == size
        assert opened(out / "confidence" / f"{picture.name}.png").mode == "L"
        assert json.loads((out / "polygons" / f"{picture.name}.geojson").read_text())["type"] == "FeatureCollection"
        mine = {row["class"]: int(row["pixels"]) for row in rows if row["picture"] == picture.name}
        assert mine["foreground"] == (np.asarray(mask) == 1).sum()
        assert sum(mine.values()) == size[0] * size[1]


@pytest.mark.parametrize("cores", [1, 3])
def test_small_pictures_are_segmented_at_once_and_a_large_one_with_all_cores(segmenter, tmp_path, monkeypatch, cores):
    torch.set_num_threads(cores)
    (tmp_path / "new").mkdir()
    sizes = {f"{number}.png": (9 + number, 20) for number in range(12)} | {"large.png": (40, 40)}
    for name, size in sizes.items():
        Image.fromarray(np.full((*size, 3), size[0] * 5, np.uint8)).save(tmp_path / "new" / name)
    monkeypatch.setattr("pixelwise.flow.predicting.segmenting.SMALL", 30 * 20)
    threads, predict = {}, Segmenter.predict

    def watched(self, pixels, **options):
        threads[pixels.shape[:2]] = (threading.current_thread() is threading.main_thread(), torch.get_num_threads())
        return predict(self, pixels, **options)

    monkeypatch.setattr(Segmenter, "predict", watched)
    done = predict_files(segmenter, find_pictures([str(tmp_path / "new")]), tmp_path / "out")
    assert [outcome.outcome for outcome in done.outcomes] == ["written"] * 13
    assert threads == {
        size: (cores == 1 or size == (40, 40), cores if size == (40, 40) else 1) for size in sizes.values()
    }
    for name, size in sizes.items():
        mask = opened(tmp_path / "out" / "mask" / name)
        expected = predict(segmenter, np.full((*size, 3), size[0] * 5, np.uint8)).labels
        assert np.array_equal(np.asarray(mask), expected)
    assert torch.get_num_threads() == cores


def test_a_mask_is_visible_and_not_all_black(segmenter, pictures, tmp_path):
    predict_files(segmenter, find_pictures([str(pictures / "d é.png")]), tmp_path / "out", kinds="mask")
    mask = opened(tmp_path / "out" / "mask" / "d é.png")
    assert mask.getpalette()[3:6] == [200, 30, 30]


@pytest.mark.parametrize(
    ("other", "what"),
    [
        ({"crf": True}, "another CRF, or none,"),
        ({"flip": True}, r"other views \(--scales, --flip\)"),
        ({"precision": "bf16"}, "another --precision"),
    ],
)
def test_results_of_other_settings_are_not_gone_on_with(segmenter, pictures, tmp_path, other, what):
    found, out = find_pictures([str(pictures)])[:2], tmp_path / "out"
    predict_files(segmenter, found[:1], out, kinds="mask")
    with pytest.raises(
        DataError, match=f"the results in .*out were made with {what} than asked for now; --resume goes"
    ):
        predict_files(segmenter, found, out, kinds="mask", resume=True, **other)
    assert predict_files(segmenter, found, out, kinds="mask", resume=True).written == 1
    predict_files(segmenter, found, out, kinds="mask", overwrite=True, **other)
    assert predict_files(segmenter, found, out, kinds="mask", resume=True, **other).skipped == 2
    (out / ".pixelwise-settings.json").write_text("{")
    with pytest.raises(DataError, match="cannot be read .*; use --overwrite, or remove it"):
        predict_files(segmenter, found, out, kinds="mask", resume=True)
    (out / ".pixelwise-settings.json").unlink()  # as of an older version
    assert predict_files(segmenter, found, out, kinds="mask", resume=True).skipped == 2


def test_nothing_is_overwritten_unless_asked(segmenter, pictures, tmp_path):
    found = find_pictures([str(pictures)])
    out = tmp_path / "out"
    predict_files(segmenter, found[:2], out)
    mine = out / "mask" / "a.png"
    mine.write_bytes(b"edited by hand")
    with pytest.raises(DataError, match=r"a\.png exists already; choose another --out, or --overwrite or --resume"):
        predict_files(segmenter, found, out)
    assert not (out / "mask" / "deep").exists()
    done = predict_files(segmenter, found, out, resume=True)
    assert (done.written, done.skipped) == (2, 2)
    assert mine.read_bytes() == b"edited by hand"
    (out / "overlay" / "a.png").unlink()
    predict_files(segmenter, found, out, resume=True)
    assert mine.read_bytes() == b"edited by hand"
    assert (out / "overlay" / "a.png").exists()
    predict_files(segmenter, found, out, overwrite=True)
    assert opened(mine).mode == "P"


def test_a_bad_picture_is_named_and_the_others_are_done(segmenter, pictures, tmp_path):
    (pictures / "b.JPG").write_bytes(b"junk")
    done = predict_files(segmenter, find_pictures([str(pictures)]), tmp_path / "out")
    assert done.written == 3
    assert len(done.faults) == 1
    assert "b.JPG" in done.faults[0]


def test_unknown_kinds_are_refused(segmenter, pictures, tmp_path):
    with pytest.raises(
        BadOption,
        match="--save takes mask, overlay, confidence, entropy, uncertainty, polygons, areas, coco, .*got 'masks'",
    ):
        predict_files(segmenter, find_pictures([str(pictures)]), tmp_path / "out", kinds="masks")


def test_a_folder_is_evaluated_with_the_models_own_table(segmenter, make_folder, tmp_path):
    make_folder(tmp_path / "all", count=3)
    part, evaluation = evaluate_folder(segmenter, tmp_path / "all")
    assert part == "all"
    assert len(evaluation.pictures) == 3
    assert evaluation.scores.confusion.sum() == 3 * 32 * 40
    only_background = make_folder(tmp_path / "empty", count=2, values=(0,))
    evaluate_folder(segmenter, only_background)
    with pytest.raises(DataError, match="has no part 'test'; it has all"):
        evaluate_folder(segmenter, tmp_path / "all", split="test")


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda mask: mask.write_bytes(b"junk"), DataError, r"img_01\.png"),
        (lambda mask: Image.new("L", (3, 4)).save(mask), ShapeError, r"img_01\.png is 4 × 3 but .* 32 × 40"),
        (lambda mask: Image.new("L", (40, 32), 7).save(mask), LabelError, r"img_01\.png holds the value 7 at row 0"),
    ],
)
def test_a_broken_pair_is_never_left_out_of_an_evaluation(segmenter, make_folder, tmp_path, damage, error, message):
    for part in ("val", "test"):
        make_folder(tmp_path / "data" / part, count=2)
    seen = []
    damage(tmp_path / "data" / "test" / "masks" / "img_01.png")
    with pytest.raises(error, match=message):
        evaluate_folder(segmenter, tmp_path / "data", progress=lambda done, total: seen.append(done))
    assert not seen  # before the first prediction
    part, evaluation = evaluate_folder(segmenter, tmp_path / "data", split="val")
    assert (part, len(evaluation.pictures)) == ("val", 2)


def test_two_files_with_one_stem_are_refused_where_they_are(segmenter, make_folder, tmp_path):
    for part in ("val", "test"):
        make_folder(tmp_path / "data" / part, count=3)
    images = tmp_path / "data" / "test" / "images"
    opened(images / "img_00.png").save(images / "img_00.bmp")
    with pytest.raises(DataError, match="img_00"):
        evaluate_folder(segmenter, tmp_path / "data", split="test")
    assert evaluate_folder(segmenter, tmp_path / "data", split="val")[0] == "val"


def test_masks_are_read_by_the_models_table_whatever_the_folder_alone_would_mean(segmenter, make_folder, tmp_path):
    """All 255: void to the doctor, the foreground to this model."""
    make_folder(tmp_path / "data", count=2, values=(255,))
    _, evaluation = evaluate_folder(segmenter, tmp_path / "data")
    assert evaluation.scores.confusion.sum(1).tolist() == [0, 2 * 32 * 40]


def test_a_folders_own_test_part_is_not_taken_for_trained_on_by_its_names(segmenter, make_folder, tmp_path):
    for seed, part in enumerate(("train", "test")):
        make_folder(tmp_path / "data" / part, count=3, seed=seed)
    segmenter.trained_on = ("img_00", "img_01")
    part, evaluation = evaluate_folder(segmenter, tmp_path / "data")
    assert (part, len(evaluation.pictures)) == ("test", 3)
