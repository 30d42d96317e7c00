"""Tuning a CRF for a model: stored where it helps, nothing written where it does not, and used from then on."""

import json
import signal
import subprocess
import sys
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

from pixelwise.data.decode import decode_image
from pixelwise.errors import BadOption, CheckpointError, DataError, LabelError
from pixelwise.flow import tune_crf as module
from pixelwise.flow.evaluate import evaluate_folder
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.flow.tune_crf import MEASURED, tune_crf
from pixelwise.inference.crf_search import Grid, search_crf
from pixelwise.inference.refine import preset_for, refine
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter, load

OPTIONS = {"num_classes": 2, "width": 1 / 64, "depth": 1}


@pytest.fixture(autouse=True)
def _short_search(monkeypatch):
    """Two settings; tests/cli searches as the command does."""
    monkeypatch.setattr(module, "PAPER_GRID", Grid((5, 10), (20,), (60,)))
    monkeypatch.setattr(module, "search_crf", partial(search_crf, refine_rounds=0))


@pytest.fixture
def threshold_model(tmp_path):
    """A model file: pixels with a mean of colors above 128 are squares, whatever is beside them."""
    network = build("unet", **OPTIONS)
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.zero_()
        first, bn1, _, second, bn2, _ = network.encoder[0]
        first.weight[0, :, 1, 1] = 1 / 3
        second.weight[0, 0, 1, 1] = bn1.weight[0] = bn2.weight[0] = 1
        bn1.bias[0] = 4  # above 0 where the ReLUs are
        network.score.weight[1] = 4
        network.score.bias[1] = -16
    labels = LabelSet(("ground", "square"), table={0: 0, 255: 1})
    scores = {"split": "validation", "protocol": "as one does", "mean_iou": 0.5}
    record = {"builder": "unet", "options": OPTIONS}
    return Segmenter(network, Normalization((128.0,) * 3, (60.0,) * 3), labels, record, {}, scores).save(
        tmp_path / "model.safetensors"
    )


def write(root, *, noise, count=6, value=255, seed=0):
    """images/ and masks/: light squares on dark ground, with noise of this deviation on all colors of a pixel."""
    random = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (root / part).mkdir(parents=True)
    for i in range(count):
        inside = np.zeros((32, 40), bool)
        y, x = random.integers(0, 16, 2)
        inside[y : y + 16, x : x + 20] = True
        gray = np.where(inside, 168, 88) + random.normal(0, noise, inside.shape)
        image = np.repeat(np.clip(gray, 0, 255).astype(np.uint8)[..., None], 3, 2)
        Image.fromarray(image).save(root / "images" / f"shade_{i}.png")
        Image.fromarray(np.where(inside, value, 0).astype(np.uint8)).save(root / "masks" / f"shade_{i}.png")
    return root


@pytest.fixture
def write_shades():
    """`write` itself."""
    return write


@pytest.fixture
def noisy(tmp_path):
    """train/ and val/ of which the model takes many pixels wrong."""
    for part in ("train", "val"):
        write(tmp_path / "noisy" / part, noise=60)
    return tmp_path / "noisy"


@pytest.fixture
def clean(tmp_path):
    """Pictures of which the model takes every pixel right."""
    return write(tmp_path / "clean", noise=0)


def record_of(path):
    with safe_open(path, "pt") as file:
        return json.loads(file.metadata()["pixelwise"])


def test_a_crf_that_helps_is_stored_and_the_rest_of_the_file_stays(noisy, threshold_model, tmp_path):
    before = load(threshold_model)
    done = []
    tuned = tune_crf(threshold_model, noisy, progress=lambda *count: done.append(count))
    assert tuned.search.helped and tuned.stored == threshold_model and tuned.earlier is None
    assert (tuned.part, tuned.search.pictures) == ("val", 6)
    assert done[-1][0] == done[-1][1]
    after = load(threshold_model)
    assert after.refinement == tuned.search.refinement("val")
    assert after.refinement.origin.startswith("tuned on 6 pictures of val: mean IoU +")
    old, new = before.network.state_dict(), after.network.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old) and old.keys() == new.keys()
    assert after.scores == {**before.scores, "protocol": f"as one does{MEASURED}"}
    assert replace(after, network=None, scores={}, refinement=None) == replace(before, network=None, scores={})
    assert not list(tmp_path.rglob("*.part"))


def test_predict_and_evaluate_use_the_stored_crf_unless_told_not_to(noisy, threshold_model):
    _, plain = evaluate_folder(load(threshold_model), noisy)
    tuned = tune_crf(threshold_model, noisy)
    segmenter = load(threshold_model)
    _, own = evaluate_folder(segmenter, noisy)
    _, without = evaluate_folder(segmenter, noisy, crf=False)
    assert without.scores.mean_iou == plain.scores.mean_iou == pytest.approx(tuned.search.mean_iou_without)
    assert own.scores.mean_iou > plain.scores.mean_iou + 0.05
    assert segmenter.refinement.describe() in own.protocol
    assert "CRF" not in without.protocol


def test_where_it_does_not_help_the_file_is_the_same_byte_for_byte(clean, threshold_model, tmp_path):
    """The network is right at every pixel."""
    before, time = threshold_model.read_bytes(), threshold_model.stat().st_mtime_ns
    tuned = tune_crf(threshold_model, clean, out=tmp_path / "new.safetensors")
    assert tuned.search.mean_iou_without == 1
    assert not tuned.search.helped and tuned.stored is None
    assert (threshold_model.read_bytes(), threshold_model.stat().st_mtime_ns) == (before, time)
    assert not (tmp_path / "new.safetensors").exists()


def test_an_earlier_crf_stays_where_a_new_search_does_not_help(noisy, clean, threshold_model):
    earlier = tune_crf(threshold_model, noisy).search.refinement("val")
    before = threshold_model.read_bytes()
    tuned = tune_crf(threshold_model, clean)
    assert tuned.stored is None and tuned.earlier == earlier
    assert threshold_model.read_bytes() == before


def test_the_same_search_again_stores_the_same_bytes(noisy, threshold_model):
    tune_crf(threshold_model, noisy)
    before = threshold_model.read_bytes()
    again = tune_crf(threshold_model, noisy)
    assert again.stored is not None and again.earlier is not None
    assert threshold_model.read_bytes() == before  # the protocol's note is not added twice


def test_the_settings_that_a_model_has_are_sought_among(noisy, threshold_model, monkeypatch):
    """So a search never ends with worse ones, though they lie far from its grid."""
    own = tune_crf(threshold_model, noisy).search.parameters
    monkeypatch.setattr(module, "PAPER_GRID", Grid((own.bilateral_weight,), (1,), (1, 2)))
    search = tune_crf(threshold_model, noisy).search
    tried = dict(search.tried)
    assert len(tried) == 2 * 3
    assert tried[own] <= tried[search.parameters] == max(tried.values())


def test_out_is_a_new_file_and_the_model_stays(noisy, threshold_model, tmp_path):
    before = threshold_model.read_bytes()
    out = tmp_path / "deep" / "new.safetensors"
    assert tune_crf(threshold_model, noisy, out=out).stored == out
    assert threshold_model.read_bytes() == before
    assert load(out).refinement is not None
    with pytest.raises(BadOption, match=r"new\.safetensors exists already; choose another --out, or leave it out"):
        tune_crf(threshold_model, noisy, out=out)


def test_pictures_that_were_trained_on_are_left_out(write_shades, threshold_model, tmp_path):
    folder = write_shades(tmp_path / "all", noise=60, count=8)
    segmenter = load(threshold_model)
    segmenter.trained_on = ("shade_0", "shade_1")
    segmenter.save(threshold_model)
    tuned = tune_crf(threshold_model, folder)
    assert (
        tuned.part == "6 of 8 pictures; the others have names that it was trained on, and --split all counts them, too"
    )
    assert tuned.search.pictures == 6
    origin = load(threshold_model).refinement.origin
    assert origin.startswith(
        "tuned on 6 pictures of the folder, without those that the model was trained on: mean IoU +"
    )
    segmenter.trained_on = tuple(f"shade_{i}" for i in range(8))
    segmenter.save(threshold_model)
    before = threshold_model.read_bytes()
    with pytest.raises(
        DataError, match=r"trained on all 8 pictures of .*all, on which.*; give others, or .*--split all"
    ):
        tune_crf(threshold_model, folder)
    assert threshold_model.read_bytes() == before
    assert tune_crf(threshold_model, folder, split="all", pictures=3).search.pictures == 3


def test_the_test_part_is_kept_for_measuring(write_shades, threshold_model, tmp_path):
    for part in ("test", "train"):
        write_shades(tmp_path / "data" / part, noise=60, count=3)
    assert tune_crf(threshold_model, tmp_path / "data").part == "train"
    assert evaluate_folder(load(threshold_model), tmp_path / "data")[0] == "test"
    assert tune_crf(threshold_model, tmp_path / "data", split="test").part == "test"


def test_what_cannot_be_tuned_is_refused_before_the_search(noisy, threshold_model, tmp_path, monkeypatch):
    monkeypatch.setattr(module, "search_crf", lambda *_, **__: pytest.fail("searched"))
    with pytest.raises(CheckpointError, match=r"no model file at .*none\.safetensors"):
        tune_crf(tmp_path / "none.safetensors", noisy)
    with pytest.raises(DataError, match="there is no folder"):
        tune_crf(threshold_model, tmp_path / "nowhere")
    with pytest.raises(DataError, match="has no part 'test'; it has train, val"):
        tune_crf(threshold_model, noisy, split="test")
    for pictures in (1, 0, -3):
        with pytest.raises(BadOption, match=f"--pictures must be 2 or more, .*: {pictures}$"):
            tune_crf(threshold_model, noisy, pictures=pictures)
    with pytest.raises(
        DataError, match=r"no file can be written into .*model\.safetensors \(Not a directory\); give a new"
    ):
        tune_crf(threshold_model, noisy, out=threshold_model / "new.safetensors")
    (noisy / "val" / "masks" / "shade_0.png").write_bytes(b"junk")
    with pytest.raises(DataError, match=r"shade_0\.png"):
        tune_crf(threshold_model, noisy)


def test_class_folders_and_other_classes_are_refused(noisy, write_shades, threshold_model, tmp_path):
    segmenter = load(threshold_model)
    segmenter.scores = {"counted": "pictures"}
    segmenter.save(tmp_path / "coarse.safetensors")
    with pytest.raises(DataError, match=r"coarse\.safetensors was trained on class folders, without masks, .*; give a"):
        tune_crf(tmp_path / "coarse.safetensors", noisy)
    with pytest.raises(BadOption, match="class folders count whole pictures, which no CRF changes; leave out --crf"):
        evaluate_folder(load(tmp_path / "coarse.safetensors"), noisy, crf=True)
    with pytest.raises(LabelError, match=r"shade_0\.png holds the value 9"):
        tune_crf(threshold_model, write_shades(tmp_path / "nines", noise=0, count=2, value=9))
    camvid = tmp_path / "camvid"
    for part in ("val", "valannot"):
        (camvid / part).mkdir(parents=True)
        Image.new("L" if "annot" in part else "RGB", (8, 8)).save(camvid / part / "a.png")
    (camvid / "val.txt").write_text("/SegNet/CamVid/val/a.png /SegNet/CamVid/valannot/a.png\n")
    with pytest.raises(
        LabelError, match="the model has the classes ground, square, the data .*; tune on data with the"
    ):
        tune_crf(threshold_model, camvid, dataset="camvid")


def test_an_interrupted_search_leaves_the_file_as_it_was(noisy, threshold_model):
    before = threshold_model.read_bytes()

    def stop(done, total):
        if done > total // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tune_crf(threshold_model, noisy, progress=stop)
    assert threshold_model.read_bytes() == before


def test_a_model_that_is_written_meanwhile_stays_as_it_was_written(noisy, threshold_model):
    """As by a fit that goes on."""
    newer = load(threshold_model)
    newer.scores = {"split": "validation", "mean_iou": 0.9}
    tuned = tune_crf(threshold_model, noisy, progress=lambda done, total: newer.save(threshold_model))
    assert tuned.search.helped and tuned.stored is None
    assert "model.safetensors was written anew while its CRF was tuned, and stays so: the CRF is not" in tuned.fault
    assert load(threshold_model).scores == newer.scores and load(threshold_model).refinement is None


def test_a_model_that_cannot_be_written_costs_no_search(noisy, threshold_model, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = threshold_model.read_bytes()
    monkeypatch.setattr(module.Segmenter, "save", full)
    tuned = tune_crf(threshold_model, noisy)
    assert tuned.search.helped and tuned.stored is None and threshold_model.read_bytes() == before
    assert f"could not be written to {threshold_model} (No space left on device)" in tuned.fault
    assert "give a new model file elsewhere with --out" in tuned.fault and tuned.to_record()["fault"] == tuned.fault


def test_a_link_to_a_model_stays_a_link(noisy, threshold_model, tmp_path):
    (tmp_path / "kept").mkdir()
    real = threshold_model.rename(tmp_path / "kept" / "real.safetensors")
    threshold_model.symlink_to(real)
    assert tune_crf(threshold_model, noisy).stored == threshold_model
    assert threshold_model.is_symlink() and load(real).refinement is not None


def test_a_write_protected_model_is_refused_before_the_search(noisy, threshold_model, tmp_path):
    threshold_model.chmod(0o444)
    before = threshold_model.read_bytes()
    with pytest.raises(DataError, match=r"model\.safetensors is write-protected, .*; give a new model file with --out"):
        tune_crf(threshold_model, noisy)
    assert threshold_model.read_bytes() == before
    assert tune_crf(threshold_model, noisy, out=tmp_path / "new.safetensors").stored is not None


@pytest.mark.parametrize("count", [2, 4])
def test_of_few_pictures_a_gain_is_shown_and_not_judged(noisy, threshold_model, count):
    tuned = tune_crf(threshold_model, noisy, pictures=count)
    assert tuned.search.gain > 0 and not tuned.search.judged and tuned.stored is None
    assert f"{count} pictures are too few to tell whether it helps, 5 are needed" in tuned.search.note


def test_an_evaluation_on_pictures_that_the_crf_was_tuned_on_says_so(noisy, write_shades, threshold_model, tmp_path):
    tuned = tune_crf(threshold_model, noisy, pictures=5)
    segmenter = load(threshold_model)
    assert len(segmenter.refinement.tuned_on) == 5 == len(set(tuned.search.tuned_on))
    _, same = evaluate_folder(segmenter, noisy, split="val")
    assert "the CRF's settings were chosen on 5 of these pictures, so that these scores flatter it" in same.protocol
    _, without = evaluate_folder(segmenter, noisy, split="val", crf=False)
    _, other = evaluate_folder(segmenter, write_shades(tmp_path / "other", noise=60, seed=5))
    assert "chosen on" not in without.protocol and "chosen on" not in other.protocol


KILLED = """
import os, signal, sys
from pathlib import Path
from pixelwise.inference.crf_search import Grid
from pixelwise import files
from pixelwise.flow import tune_crf
tune_crf.PAPER_GRID = Grid((5,), (20,), (60,))
files.os.fsync = lambda file: os.kill(os.getpid(), signal.SIGKILL)
tune_crf.tune_crf(Path(sys.argv[1]), Path(sys.argv[2]))
"""


def test_a_kill_while_the_file_is_written_leaves_the_old_one(noisy, threshold_model):
    before = threshold_model.read_bytes()
    ended = subprocess.run([sys.executable, "-c", KILLED, threshold_model, noisy], capture_output=True, check=False)
    assert ended.returncode == -signal.SIGKILL, ended.stderr.decode()
    assert threshold_model.read_bytes() == before
    assert tune_crf(threshold_model, noisy).stored is not None


@pytest.mark.parametrize("crf", [True, False, None])
def test_predicted_masks_are_the_likeliest_labels_of_the_crf(noisy, threshold_model, tmp_path, crf):
    segmenter = load(threshold_model)
    pictures = find_pictures([str(noisy / "val" / "images")])
    predict_files(segmenter, pictures, tmp_path / "out", kinds="mask", crf=crf)
    for picture in pictures:
        image = decode_image(picture.path)
        with torch.inference_mode():
            probabilities = segmenter.network(segmenter.normalization(image[None])).softmax(1)[0].numpy()
        if crf:
            probabilities = refine(probabilities, image, preset_for("unet"))
        with Image.open(tmp_path / "out" / "mask" / f"{picture.name}.png") as mask:
            assert np.array_equal(np.asarray(mask), probabilities.argmax(0))
