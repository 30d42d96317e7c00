"""A zip, and outlines, go all the way: fitted, resumed, evaluated."""

import json
import shutil

import numpy as np
from PIL import Image

from pixelwise.data.answers import Answers
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
