"""A folder of broken and strange files: each is named with its outcome, and the rest is done."""

import json
import struct

import numpy as np
import pytest
import tifffile
import torch
from PIL import Image
from rich.console import Console

from pixelwise.cli.main import main
from pixelwise.cli.show.predicted import print_predicted
from pixelwise.errors import BadOption, DataError, LabelError
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.labels import LabelSet

from .test_predict import opened
from .test_predict_resume import made


def draw_all(root):
    """{name: (outcome, words of its line)}."""
    random = np.random.default_rng(0)
    root.mkdir()

    def noise(*shape, dtype=np.uint8):
        return random.integers(0, np.iinfo(dtype).max, shape).astype(dtype)

    Image.fromarray(noise(30, 40, 3)).save(root / "fine.png")
    Image.fromarray(noise(1, 1, 3)).save(root / "one.png")
    Image.fromarray(noise(3, 500, 3)).save(root / "strip.jpg")
    frames = [Image.fromarray(noise(20, 24, 3)) for _ in range(3)]
    frames[0].save(root / "animated.gif", save_all=True, append_images=frames[1:])
    frames[0].save(root / "animated.webp", save_all=True, append_images=frames[1:])
    frames[0].save(root / "moving.png", save_all=True, append_images=frames[1:])
    tifffile.imwrite(root / "deep.tif", noise(20, 24, 3, dtype=np.uint16), photometric="rgb")
    Image.fromarray(noise(20, 24, 4), "CMYK").save(root / "print.jpg")
    Image.fromarray(noise(20, 24)).save(root / "gray.png")
    Image.fromarray(noise(20, 24, 4), "RGBA").save(root / "alpha.png")
    (root / "broken.jpg").write_bytes((root / "strip.jpg").read_bytes()[:300])
    (root / "empty.png").write_bytes(b"")
    (root / "junk.png").write_bytes(b"junk")
    Image.new("RGB", (1, 1)).save(root / "huge.bmp")
    header = bytearray((root / "huge.bmp").read_bytes())
    header[18:26] = struct.pack("<ii", 15_000, 15_000)  # as a bomb announces itself
    (root / "huge.bmp").write_bytes(header)
    return {
        "fine.png": ("written", ""),
        "one.png": ("written", "it is tiny: 1 × 1 pixels"),
        "strip.jpg": ("written", "it is tiny: 500 × 3 pixels"),
        "animated.gif": ("written", "it is animated: the first of 3 frames is read"),
        "animated.webp": ("written", "it is animated: the first of 3 frames is read"),
        "moving.png": ("written", "it is animated: the first of 3 frames is read"),
        "deep.tif": ("written", "its 16 bits a channel are read on the scale of 0–255"),
        "print.jpg": ("written", "its CMYK is read as RGB"),
        "gray.png": ("written", ""),
        "alpha.png": ("written", ""),
        "broken.jpg": ("failed", "is truncated or damaged"),
        "empty.png": ("failed", "is empty (0 bytes)"),
        "junk.png": ("failed", "is no picture of a known kind"),
        "huge.bmp": ("failed", "announces 225,000,000 pixels"),
    }


def test_each_file_is_named_with_its_outcome_and_the_exit_code_is_1(tmp_path, capsys):
    expected = draw_all(tmp_path / "in")
    made().save(tmp_path / "m.safetensors")
    arguments = ["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "in"), "--out", str(tmp_path / "out")]
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--json"])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    record = json.loads(out)
    assert (record["written"], record["failed"], record["skipped"]) == (10, 4, 0)
    found = {file["file"].rpartition("/")[2]: file for file in record["files"]}
    assert list(found) == sorted(expected)
    for name, (outcome, words) in expected.items():
        assert found[name]["outcome"] == outcome
        assert words in "; ".join([*found[name].get("notes", ()), found[name].get("error", "")])
        assert (name in err) == (outcome == "failed")
        if outcome == "written":
            mask = opened(found[name]["results"]["mask"])
            assert mask.size == (found[name]["width"], found[name]["height"])
            assert mask.size == opened(tmp_path / "in" / name).size if not name.endswith("tif") else (24, 20)
    with pytest.raises(SystemExit) as ended:
        main([*arguments, "--resume"])
    assert ended.value.code == 1
    out, err = capsys.readouterr()
    assert "0 pictures segmented into " in out and ", 10 were there already, 4 could not be read" in out
    assert len([line for line in err.splitlines() if line.startswith("pixelwise: ")]) == 4


def test_what_is_said_of_a_file_is_a_line_of_its_own(tmp_path, capsys):
    draw_all(tmp_path / "in")
    made().save(tmp_path / "m.safetensors")
    with pytest.raises(SystemExit):
        main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "in" / "animated.gif"),
              str(tmp_path / "in" / "fine.png"), "--out", str(tmp_path / "out")])  # fmt: skip
    out = capsys.readouterr().out.splitlines()
    assert out == [
        f"{tmp_path}/in/animated.gif: written; it is animated: the first of 3 frames is read",
        f"2 pictures segmented into {tmp_path}/out/",
    ]


def test_what_is_said_of_many_files_is_counted(tmp_path, capsys):
    for number in range(13):
        Image.new("RGB", (4, 4)).save(tmp_path / f"{number:02}.png")
    found = find_pictures([str(tmp_path)])
    print_predicted(Console(), predict_files(made(), found, tmp_path / "out"), tmp_path / "out", crf=False)
    out = capsys.readouterr().out.splitlines()
    assert out[9] == f"{tmp_path}/09.png: written; it is tiny: 4 × 4 pixels"
    assert out[10] == "3 more files: written; it is tiny: 4 × 4 pixels"
    assert len(out) == 12


def test_an_interruption_says_how_to_go_on(tmp_path, capsys, monkeypatch):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    made().save(tmp_path / "m.safetensors")

    def stop(*given, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("pixelwise.segmenter.Segmenter.predict", stop)
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "m.safetensors"), str(tmp_path / "a.png"), "--out", str(tmp_path / "out")])
    assert ended.value.code == 130
    assert capsys.readouterr().err == (
        f"interrupted; the results in {tmp_path}/out/ are whole, and --resume goes on from there\n"
    )


def test_files_of_unknown_suffixes_say_what_is_read(tmp_path):
    (tmp_path / "notes.txt").write_text("not a picture")
    (tmp_path / "film.wmv").write_bytes(b"0&\xb2u" * 50)
    Image.new("RGB", (20, 20)).save(tmp_path / "picture.data", format="PNG")
    found = find_pictures([str(tmp_path / name) for name in ("notes.txt", "film.wmv", "picture.data")])
    done = predict_files(made(), found, tmp_path / "out")
    assert [outcome.outcome for outcome in done.outcomes] == ["failed", "failed", "written"]
    for fault in done.faults:
        assert "is no picture of a known kind; expected JPEG, PNG" in fault
        assert fault.endswith("; videos are .avi, .mkv, .mov, .mp4, .webm")


def test_pictures_above_max_pixels_are_refused(tmp_path):
    for side in (20, 30):
        Image.new("RGB", (side, side)).save(tmp_path / f"{side}.png")
    done = predict_files(made(), find_pictures([str(tmp_path)]), tmp_path / "out", max_pixels=400)
    assert [outcome.outcome for outcome in done.outcomes] == ["written", "failed"]
    assert "30.png announces 900 pixels; at most 400 are read" in done.faults[0]


def test_a_full_disk_stops_the_run_with_one_line(tmp_path, monkeypatch):
    for i in range(3):
        Image.new("RGB", (20, 20)).save(tmp_path / f"{i}.png")

    def full(self, kind, path):
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setattr("pixelwise.inference.prediction.Prediction.save_as", full)
    with pytest.raises(DataError, match=r"0\.png cannot be written \(No space left on device\); make room, and go on"):
        predict_files(made(), find_pictures([str(tmp_path)]), tmp_path / "out")


def test_uncertainty_needs_samples_and_dropout(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    found = find_pictures([str(tmp_path)])
    with pytest.raises(BadOption, match="--save uncertainty needs samples of Monte-Carlo dropout; say how many"):
        predict_files(made(), found, tmp_path / "out", kinds="uncertainty")
    with pytest.raises(BadOption, match="unet has no dropout to sample; leave out --samples and uncertainty, or train"):
        predict_files(made(), found, tmp_path / "out", kinds="uncertainty", samples=4)
    with pytest.raises(BadOption, match="--samples is at least 2, got 1"):
        predict_files(made(), found, tmp_path / "out", samples=1)


def test_only_models_of_the_same_classes_are_averaged(tmp_path):
    Image.new("RGB", (20, 20)).save(tmp_path / "a.png")
    found, other = find_pictures([str(tmp_path)]), made(1)
    other.labels = LabelSet(("background", "leaf", "stone"))
    with pytest.raises(LabelError, match="the models have 'fruit' and 'stone' as class 2; only models of the same"):
        predict_files(made(), found, tmp_path / "out", others=[other])
    other.labels = LabelSet(("background", "leaf"))
    with pytest.raises(LabelError, match="the models have 3 and 2 classes; only models of the same"):
        predict_files(made(), found, tmp_path / "out", others=[other])
    assert torch.is_tensor(next(other.network.parameters()))


def test_several_models_are_averaged_and_maps_are_on_their_scales(tmp_path, capsys):
    random = np.random.default_rng(1)
    (tmp_path / "in").mkdir()
    Image.fromarray(random.integers(0, 255, (24, 20, 3)).astype(np.uint8)).save(tmp_path / "in" / "a.png")
    models = [made(seed) for seed in (0, 1)]
    for i, model in enumerate(models):
        model.save(tmp_path / f"{i}.safetensors")
    with pytest.raises(SystemExit) as ended:
        main(["predict", str(tmp_path / "0.safetensors"), str(tmp_path / "in"), "--out", str(tmp_path / "out"),
              "--with", str(tmp_path / "1.safetensors"), "--save", "mask,confidence,entropy", "--json"])  # fmt: skip
    assert ended.value.code == 0
    assert json.loads(capsys.readouterr().out)["written"] == 1
    expected = models[0].predict(tmp_path / "in" / "a.png", others=models[1:], entropy=True)
    assert (np.asarray(opened(tmp_path / "out/mask/a.png")) == expected.labels).all()
    for kind in ("confidence", "entropy"):
        map_ = np.asarray(opened(tmp_path / "out" / kind / "a.png")).astype(float)
        assert np.abs(map_ / 255 - getattr(expected, kind)).max() <= 0.51 / 255
    with Image.open(tmp_path / "out/entropy/a.png") as image:
        assert image.text["Description"] == "entropy: 0 is 0, 255 is ln 3 = 1.0986 nats"
