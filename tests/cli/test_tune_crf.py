"""`pixelwise tune-crf`, and --crf and --no-crf of `predict` and `evaluate`: what they print, and their exit codes."""

import json
import math
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.crf import CRFParameters
from pixelwise.flow import tune_crf as module
from pixelwise.inference.crf_search import CRFSearch
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter, load

OPTIONS = {"num_classes": 2, "width": 1 / 16, "depth": 2}
SETTINGS = CRFParameters(
    bilateral_weight=4,
    bilateral_sigma_pixels=65,
    bilateral_sigma_color=3.5,
    spatial_weight=3,
    spatial_sigma_pixels=3,
    normalization="after",
)
PRESET = "CRF: preset deeplab_code, not tuned on this data; pixelwise tune-crf 'my model.safetensors' DATA tunes it to "


@pytest.fixture(autouse=True)
def _files(tmp_path, monkeypatch):
    """A model and pictures with masks where the commands run."""
    monkeypatch.chdir(tmp_path)
    labels = LabelSet(("ground", "square"), table={0: 0, 255: 1})
    record = {"builder": "unet", "options": OPTIONS}
    network = build("unet", **OPTIONS).eval()
    Segmenter(network, Normalization((120.0,) * 3, (60.0,) * 3), labels, record).save("my model.safetensors")
    random = np.random.default_rng(0)
    for part in ("images", "masks"):
        (tmp_path / "data" / part).mkdir(parents=True)
    for i in range(3):
        mask = (np.kron(random.random((4, 5)) > 0.5, np.ones((6, 6))) * 255).astype(np.uint8)
        image = np.clip(mask[..., None] // 2 + random.integers(0, 120, (*mask.shape, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(image).save(tmp_path / "data" / "images" / f"{i}.png")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"{i}.png")


@pytest.fixture
def found(monkeypatch):
    """The search finds what this is called with: mean IoU with the CRF, the interval of its gain, a note."""

    def find(mean_iou, interval, note="", pictures=6):
        result = CRFSearch(SETTINGS, 10, pictures, 0.5, mean_iou, interval, ((SETTINGS, 0.6),) * 120, note)
        monkeypatch.setattr(module, "search_crf", lambda *_, **__: result)

    return find


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return ended.value.code, out.out, out.err


def words(text):
    """A text without its line breaks."""
    return " ".join(text.split())


def test_it_says_what_it_found_and_that_it_is_stored(capsys, found):
    found(0.5625, (0.03125, 0.09))
    code, out, err = run(capsys, "tune-crf", "my model.safetensors", "data")
    assert (code, err) == (0, "")
    assert all(len(line) <= 80 for line in out.splitlines()[:-1])
    told = words(out)
    assert "Best settings w1 4, σα 65, σβ 3.5; fixed: w2 3, σγ 3, 10 steps, normalization after" in told
    assert "Mean IoU 0.5000 without the CRF, 0.5625 with it, cross-validated on 6 pictures of the folder" in told
    assert "Gain +0.0625 (95 % interval +0.0312 to +0.0900)" in told
    assert "Tried 120 settings on all of them; 0:00 in all" in told
    assert told.endswith("It helped: stored in my model.safetensors; predict and evaluate use it from now on.")
    assert load("my model.safetensors").refinement.parameters == SETTINGS


def test_it_says_where_it_did_not_help(capsys, found, tmp_path):
    before = (tmp_path / "my model.safetensors").read_bytes()
    found(0.5, (-0.0625, 0.0625))
    code, out, _ = run(capsys, "tune-crf", "my model.safetensors", "data", "--out", "new.safetensors")
    assert code == 0
    assert out.splitlines()[-1] == "It did not help: new.safetensors was not written."
    assert not (tmp_path / "new.safetensors").exists()
    assert (tmp_path / "my model.safetensors").read_bytes() == before


def test_a_crf_that_stays_is_named_with_the_way_to_leave_it_out(capsys, found):
    found(0.5625, (0.03125, 0.09))
    run(capsys, "tune-crf", "my model.safetensors", "data")
    _, out, _ = run(capsys, "tune-crf", "my model.safetensors", "data")
    assert out.splitlines()[-1].startswith(
        "It replaces the one that was there (tuned on 6 pictures of the folder: mean IoU +0.0"
    )
    found(0.5, (-0.0625, 0.0625))
    _, out, _ = run(capsys, "tune-crf", "my model.safetensors", "data")
    *_, unchanged, stays = out.splitlines()
    assert unchanged == "It did not help: my model.safetensors is unchanged."
    assert stays.startswith("The CRF that it has stays (tuned on 6 pictures of the folder: mean IoU +0.06")
    assert stays.endswith("); predict and evaluate leave it out with --no-crf.")


def test_a_gain_without_an_interval_is_no_help(capsys, found):
    found(0.5625, (math.nan, math.nan), "2 pictures are too few to tell", pictures=2)
    code, out, _ = run(capsys, "tune-crf", "my model.safetensors", "data")
    assert code == 0
    assert "nan" not in out
    assert "2 pictures are too few to tell" in words(out)
    assert out.splitlines()[-1] == (
        "It is not judged on 2, as 5 pictures with labeled pixels are needed: my model.safetensors is unchanged."
    )
    record = json.loads(run(capsys, "tune-crf", "my model.safetensors", "data", "--json")[1])
    assert record["helped"] is False and record["stored"] is None


def test_a_gain_that_may_be_none_is_not_called_a_loss(capsys, found):
    found(0.5569, (-0.0195, 0.1698))
    *_, last = run(capsys, "tune-crf", "my model.safetensors", "data")[1].splitlines()
    assert last == (
        "It was not shown to help, as the interval reaches below 0; more pictures may tell: my model.safetensors is "
        "unchanged."
    )
    found(0.5569, (-0.0195, 0.1698), pictures=100)
    assert "more pictures" not in run(capsys, "tune-crf", "my model.safetensors", "data")[1]


def test_what_was_found_is_shown_though_it_cannot_be_stored(capsys, found, monkeypatch, tmp_path):
    def full(*_):
        raise OSError(28, "No space left on device")

    before = (tmp_path / "my model.safetensors").read_bytes()
    found(0.5625, (0.03125, 0.09))
    monkeypatch.setattr(Segmenter, "save", full)
    code, out, err = run(capsys, "tune-crf", "my model.safetensors", "data")
    assert code == 1 and "Gain +0.0625" in words(out) and out.splitlines()[-1] == "It helped, but is not stored."
    assert "could not be written to my model.safetensors (No space left on device)" in words(err)
    code, out, err = run(capsys, "tune-crf", "my model.safetensors", "data", "--json")
    assert code == 1 and json.loads(out)["gain"] == 0.0625 and json.loads(out)["stored"] is None
    assert json.loads(out)["fault"] in words(err)
    assert (tmp_path / "my model.safetensors").read_bytes() == before


def test_a_model_of_class_folders_takes_no_crf(capsys, tmp_path):
    segmenter = load("my model.safetensors")
    segmenter.scores = {"counted": "pictures"}
    segmenter.save("coarse.safetensors")
    for command in (
        ["predict", "coarse.safetensors", "data/images", "--out", "p"],
        ["evaluate", "coarse.safetensors", "data"],
    ):
        code, out, err = run(capsys, *command, "--crf")
        assert (code, out) == (2, "")
        assert "trained on class folders, and its coarse maps have no edges to refine; leave out" in words(err)


def test_json_is_one_object(capsys, found):
    found(0.5625, (0.03125, 0.09))
    code, out, err = run(capsys, "tune-crf", "my model.safetensors", "data", "--json", "--out", "new.safetensors")
    assert (code, err) == (0, "")
    record = json.loads(out)
    assert record["parameters"] == SETTINGS.to_record()
    assert (record["split"], record["pictures"], record["helped"]) == ("all", 6, True)
    assert (record["mean_iou_without"], record["mean_iou_with"]) == (0.5, 0.5625)
    assert (record["stored"], record["earlier"]) == ("new.safetensors", None)
    assert record["seconds"] >= 0


def test_a_real_search_from_the_command_line(capsys):
    code, out, err = run(capsys, "tune-crf", "my model.safetensors", "data", "--pictures", "2", "--json")
    assert code == 0, err
    assert json.loads(out)["pictures"] == 2
    assert (load("my model.safetensors").refinement is not None) == json.loads(out)["helped"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["none.safetensors", "data"], 1, "no model file at none.safetensors; give the path of a model.safetensors"),
        (["my model.safetensors"], 2, "Missing argument"),
        (["my model.safetensors", "nowhere"], 1, "there is no folder nowhere"),
        (["my model.safetensors", "empty"], 1, "empty"),
        (["my model.safetensors", "data", "--pictures", "0"], 2, "--pictures must be 2 or more"),
        (["my model.safetensors", "data", "--pictures", "few"], 2, "valid integer"),
        (["my model.safetensors", "data", "--split", "val"], 1, "data has no part 'val'; it has all"),
        (["my model.safetensors", "data", "--dataset", "vooc2012"], 2, "no data set is called 'vooc2012'"),
        (["my model.safetensors", "data", "--out", "data"], 2, "data exists already; choose another --out"),
        (["my model.safetensors", "data", "--as", "x"], 2, "x"),
    ],
)
def test_mistakes_are_one_line(capsys, tmp_path, arguments, code, message):
    (tmp_path / "empty").mkdir()
    before = (tmp_path / "my model.safetensors").read_bytes()
    got, out, err = run(capsys, "tune-crf", *arguments)
    assert (got, out) == (code, "")
    assert message in words(err)
    assert "Traceback" not in err
    assert (tmp_path / "my model.safetensors").read_bytes() == before


def interrupted(*_, **__):
    raise KeyboardInterrupt


def test_control_c_leaves_the_model_and_exits_with_130(capsys, monkeypatch, tmp_path):
    before = (tmp_path / "my model.safetensors").read_bytes()
    monkeypatch.setattr(module, "search_crf", interrupted)
    assert run(capsys, "tune-crf", "my model.safetensors", "data") == (
        130,
        "",
        "interrupted; my model.safetensors is unchanged\n",
    )
    assert (tmp_path / "my model.safetensors").read_bytes() == before


def test_a_preset_is_named_where_the_model_has_no_crf(capsys, tmp_path):
    code, out, _ = run(capsys, "predict", "my model.safetensors", "data/images", "--out", "p", "--crf")
    assert code == 0
    assert out.splitlines() == [f"{PRESET}yours", "3 pictures segmented into p/"]
    _, out, _ = run(capsys, "evaluate", "my model.safetensors", "data", "--crf")
    assert out.splitlines()[0] == f"{PRESET}yours"
    assert "labels are those of a dense CRF (w1 5, σα 70 pixels, σβ 5, w2 3" in words(out)
    for option in ([], ["--no-crf"]):
        _, out, _ = run(capsys, "evaluate", "my model.safetensors", "data", *option)
        assert "CRF" not in out


def test_a_models_own_crf_is_used_unless_it_is_left_out(capsys, found):
    found(0.5625, (0.03125, 0.09))
    run(capsys, "tune-crf", "my model.safetensors", "data")
    masks = {}
    for option in ("", "--crf", "--no-crf"):
        more = [option] if option else []
        _, out, _ = run(capsys, "predict", "my model.safetensors", "data/images", "--out", "p", "--save", "mask", *more)
        own = "" if option == "--no-crf" else " with the model's CRF"
        assert out == f"3 pictures segmented{own} into p/\n"
        masks[option] = [open_labels(f"p/mask/{i}.png") for i in range(3)]
        shutil.rmtree("p")
    assert all(np.array_equal(a, b) for a, b in zip(masks[""], masks["--crf"], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(masks[""], masks["--no-crf"], strict=True))


def open_labels(path):
    with Image.open(path) as mask:
        return np.asarray(mask)


def test_evaluates_json_tells_which_crf(capsys, found):
    def evaluated(*options):
        return json.loads(run(capsys, "evaluate", "my model.safetensors", "data", "--json", *options)[1])

    assert evaluated()["crf"] is None
    assert evaluated("--crf")["crf"]["origin"] == "preset deeplab_code, not tuned on this data"
    found(0.5625, (0.03125, 0.09))
    run(capsys, "tune-crf", "my model.safetensors", "data")
    own = load("my model.safetensors").refinement
    assert evaluated()["crf"] == evaluated("--crf")["crf"] == own.to_record()
    assert own.describe() in evaluated()["protocol"]
    assert evaluated("--no-crf")["crf"] is None
    assert "CRF" not in evaluated("--no-crf")["protocol"]


def test_scores_of_whole_pictures_have_no_crf(capsys, tmp_path):
    for i, name in enumerate(("ground", "square")):
        (tmp_path / "folders" / name).mkdir(parents=True)
        shutil.copy(f"data/images/{i}.png", tmp_path / "folders" / name)
    torch.manual_seed(0)
    code, out, _ = run(capsys, "evaluate", "my model.safetensors", "folders", "--labels", "folders", "--json")
    assert (code, json.loads(out)["crf"]) == (0, None)
    code, _, err = run(capsys, "evaluate", "my model.safetensors", "folders", "--labels", "folders", "--crf")
    assert (code, "class folders count whole pictures, which no CRF changes; leave out --crf" in err) == (2, True)
