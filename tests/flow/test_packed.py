"""A zip, and outlines, go all the way: fitted, resumed, evaluated."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.answers import Answers
from pixelwise.errors import LabelError
from pixelwise.flow.evaluate import evaluate_folder
from pixelwise.flow.fit import fit


def test_a_zip_is_fitted_resumed_and_evaluated(folder, tmp_path, tiny, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.make_archive(str(tmp_path / "cells"), "zip", folder)
    result = fit("cells.zip", steps=2, settings=tiny)
    assert result.run.as_posix() == "runs/cells"
    plain = fit(folder, out="plain", steps=2, settings=tiny)
    ours, theirs = result.segmenter.network.state_dict(), plain.segmenter.network.state_dict()
    assert all((ours[key] == theirs[key]).all() for key in ours)
    assert fit("cells.zip", resume=True).run == result.run
    part, evaluation = evaluate_folder(result.segmenter, tmp_path / "cells.zip")
    _, same = evaluate_folder(plain.segmenter, folder)
    assert "not trained on" in part and evaluation.scores.mean_iou == same.scores.mean_iou


def test_outlines_are_fitted_and_evaluated(folder, tmp_path, tiny):
    for file in sorted((folder / "masks").iterdir()):
        mask = np.asarray(Image.open(file))
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        box = [[int(columns[0]), int(rows[0])], [int(columns[-1]) + 1, int(rows[-1]) + 1]]
        record = {"imagePath": file.name, "shapes": [{"label": "b", "shape_type": "rectangle", "points": box}]}
        (folder / "images" / file.name).with_suffix(".json").write_text(
            json.dumps(record | {"imageHeight": 32, "imageWidth": 40})
        )
    result = fit(folder, out=tmp_path / "run", steps=2, settings=tiny)
    assert result.segmenter.labels.names == ("background", "b")
    _, outlines = evaluate_folder(result.segmenter, folder, split="all")
    for file in sorted((folder / "masks").iterdir()):
        Image.fromarray(np.asarray(Image.open(file)) // 255).save(file)
    _, masks = evaluate_folder(result.segmenter, folder, split="all", answers=Answers.of(["masks=masks"]))
    assert masks.scores.mean_iou == outlines.scores.mean_iou


def outlines(root, *, seed, names):
    """Pictures with a square for each name, of the name's brightness, outlined by LabelMe."""
    random = np.random.default_rng(seed)
    light = {"ant": 90, "cat": 160, "dog": 240}
    root.mkdir()
    for i in range(4):
        picture, shapes = np.full((32, 48, 3), 20, np.uint8), []
        for k, name in enumerate(names):
            y, x = int(random.integers(0, 20)), 16 * k + int(random.integers(0, 6))
            picture[y : y + 10, x : x + 10] = light[name]
            shapes.append({"label": name, "shape_type": "rectangle", "points": [[x, y], [x + 10, y + 10]]})
        Image.fromarray(picture).save(root / f"{i}.png")
        record = {"imagePath": f"{i}.png", "shapes": shapes, "imageHeight": 32, "imageWidth": 48}
        (root / f"{i}.json").write_text(json.dumps(record))
    return root


def test_outlines_are_evaluated_by_name(tmp_path, tiny):
    """Their values are numbered by the names that occur in a folder, and differ from those of the training."""
    result = fit(outlines(tmp_path / "a", seed=0, names=("cat", "dog")), out=tmp_path / "run", steps=2, settings=tiny)
    assert result.segmenter.labels.names == ("background", "cat", "dog")
    alone = outlines(tmp_path / "b", seed=1, names=("dog",))
    _, evaluation = evaluate_folder(result.segmenter, alone, split="all")
    assert evaluation.scores.confusion.sum(1).tolist()[1:] == [0, 4 * 100]
    with pytest.raises(LabelError, match=r"the outlines in .*c are of ant, too, which the model does not know; its"):
        evaluate_folder(result.segmenter, outlines(tmp_path / "c", seed=2, names=("ant", "dog")))


def test_outlines_of_other_names_are_evaluated_by_a_table(tmp_path, tiny):
    result = fit(outlines(tmp_path / "a", seed=0, names=("cat", "dog")), out=tmp_path / "run", steps=2, settings=tiny)
    other = outlines(tmp_path / "b", seed=1, names=("ant", "dog"))
    table = tmp_path / "classes.yaml"
    rows = (
        "  - {name: background, values: [background]}\n  - {name: cat, values: [ant]}\n  - {name: dog, values: [dog]}\n"
    )
    table.write_text(f"masks: names\nclasses:\n{rows}")
    _, evaluation = evaluate_folder(result.segmenter, other, split="all", classes=table)
    assert evaluation.scores.confusion.sum(1).tolist()[1:] == [400, 400]
    table.write_text(f"masks: names\nclasses:\n{rows.replace('cat', 'bee')}")
    with pytest.raises(
        LabelError, match=r"classes\.yaml has the classes background, bee, dog, the model background, cat"
    ):
        evaluate_folder(result.segmenter, other, split="all", classes=table)
    names = tmp_path / "names.txt"
    names.write_text("background\ncat\ndog\n")
    with pytest.raises(
        LabelError, match=r"names\.txt does not tell which class an outline's name means; give a classes"
    ):
        evaluate_folder(result.segmenter, other, split="all", classes=names)
    # a model of class folders has no background, and matches the others by name
    result.segmenter.scores = {"counted": "pictures"}
    _, evaluation = evaluate_folder(result.segmenter, other, split="all", labels="masks")
    assert evaluation.scores.confusion.sum(1).tolist()[1:] == [0, 400]
    assert "; ant: the model has no such class" in evaluation.protocol
