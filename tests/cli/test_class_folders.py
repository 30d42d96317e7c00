"""`--labels folders` from check to predict, as a person types it."""

import json

import numpy as np
import pytest
from PIL import Image

from pixelwise.cli.main import main


def run(capsys, *arguments):
    """(exit code, stdout, stderr) of a command in this process, lines joined."""
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out = capsys.readouterr()
    return ended.value.code, " ".join(out.out.split()), " ".join(out.err.split())


@pytest.fixture(autouse=True)
def _own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write_folders(root, count=6):
    random = np.random.default_rng(0)
    for channel, name in enumerate(("apples", "leaves")):
        (root / name).mkdir(parents=True)
        for i in range(count):
            image = random.integers(0, 90, (40, 48, 3)).astype(np.uint8)
            image[10:30, 12:36, channel] += 150
            Image.fromarray(image).save(root / name / f"{name}_{i}.png")
    return root


def test_from_class_folders_to_maps(tmp_path, capsys):
    folder = write_folders(tmp_path / "garden")
    code, _, err = run(capsys, "fit", folder, "--steps", "3")
    assert code == 1
    assert "if apples/, leaves/ are classes of whole pictures, `pixelwise fit` and `check` take --labels folders" in err
    assert not (tmp_path / "runs" / "garden").exists()
    code, out, _ = run(capsys, "check", folder, "--labels", "folders", "--no-page")
    assert code == 0
    assert "12 pictures (12 in one part): class folders (apples/, leaves/)" in out and "No faults found." in out
    assert "class pictures apples 6 leaves 6" in out and "pixels" not in out.replace("40 × 48 pixels", "")
    small = ["--set", "batch_size=6", "--set", "threads=1", "--set", "model_options={width: 0.125, input_size: 32}"]
    code, out, _ = run(capsys, "fit", folder, "--labels", "folders", "--out", "run", "--steps", "12", *small)
    assert code == 0
    assert "no mask says where in a picture its class is" in out.lower()
    assert "validation accuracy of pictures" in out
    assert "of 2 validation pictures are taken for their own class" in out
    assert "Coarse maps: no label of a pixel was seen" in out and "IoU" not in out
    code, out, _ = run(capsys, "evaluate", "run/model.safetensors", folder)
    assert code == 0
    assert "by picture, on 2 pictures (the 2 of 12 pictures that it was not trained on)" in out and "IoU" not in out
    code, out, _ = run(capsys, "evaluate", "run/model.safetensors", folder, "--labels", "folders", "--json")
    record = json.loads(out)
    assert record["counted"] == "pictures" and record["pictures"] == 2 and "mean_iou" not in record
    code, _, _ = run(capsys, "predict", "run/model.safetensors", folder / "apples", "--out", "maps", "--save", "mask")
    assert code == 0
    assert len(list((tmp_path / "maps" / "mask").iterdir())) == 6
    code, out, _ = run(
        capsys, "heatmap", "run/model.safetensors", folder / "apples" / "apples_0.png", "--class", "apples"
    )
    assert code == 0
    assert "apples is most likely at row" in out


def test_check_json_tells_parts_and_errors(tmp_path, capsys):
    write_folders(tmp_path / "garden" / "train", count=3)
    write_folders(tmp_path / "garden" / "test", count=1)
    code, out, _ = run(capsys, "check", "garden", "--labels", "folders", "--json", "--no-page")
    record = json.loads(out)
    assert code == 0
    assert record["labels_from"] == "folders" and record["class_splits"] == {"train": [3, 3], "test": [1, 1]}
    code, out, _ = run(capsys, "check", "garden", "--labels", "folders", "--no-page")
    assert "class pictures train test apples 4 3 1 leaves 4 3 1" in out
    (tmp_path / "garden" / "train" / "apples" / "apples_0.png").write_bytes(b"")
    code, out, _ = run(capsys, "check", "garden", "--labels", "folders", "--no-page")
    assert code == 1
    assert "1 error (cannot be read: 1)" in out and "apples_0.png" in out


def test_faults_are_told_in_the_words_of_class_folders(tmp_path, capsys):
    folder = write_folders(tmp_path / "garden")
    (folder / "twigs").mkdir()
    (folder / "apples" / "apples_0.png").rename(folder / "loose.png")
    (folder / "twigs" / "notes.txt").write_text("")
    _, out, _ = run(capsys, "check", folder, "--labels", "folders", "--page", "page.html")
    assert "empty class folder: 1" in out and "in no class folder: 1" in out
    page = (tmp_path / "page.html").read_text()
    assert "Empty class folders <span" in page and "In no class folder <span" in page
    assert "without partner" not in out and "Without a partner" not in page and "In no mask" not in page


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("fit", "garden", "--labels", "folders", "--as", "snap"), 2, "class folders have no masks"),
        (("fit", "garden", "--labels", "folders", "--staged"), 2, "--staged trains segmenters, which need masks"),
        (("fit", "garden", "--labels", "folders", "--model", "unet"), 2, "no classifier is called 'unet'"),
        (("fit", "garden", "--labels", "names"), 2, "'names' is not one of"),
        (("check", "garden", "--labels", "folders", "--fix", "out"), 2, "which class folders have none of"),
        (
            ("fit", "garden/apples", "--labels", "folders"),
            1,
            "holds 6 pictures but no class folders; expected two class",
        ),
    ],
)
def test_what_makes_no_sense_is_refused_in_one_line(tmp_path, capsys, arguments, code, message):
    write_folders(tmp_path / "garden")
    ended, _, err = run(capsys, *arguments)
    assert ended == code
    assert message in err.replace("│", "").replace("  ", " ")
    assert not (tmp_path / "runs" / "garden").exists()
