"""Fit on real folders as they are: the right classes, and a model that predicts."""

import os

import numpy as np
import pytest

import pixelwise as pw
from pixelwise.flow.plan import Plan

SETS = {
    "science/em-membranes": (["background", "foreground"], 30),
    "science/nuclei": (["background", "foreground"], 56),
    "science/cracks": (["background", "foreground"], 118),
    "camvid": (
        "Sky Building Pole Road Pavement Tree SignSymbol Fence Car Pedestrian Bicyclist".split(),
        701,
    ),
    "voc-mini": (
        "background aeroplane bicycle bird boat bottle bus car cat chair cow diningtable dog horse motorbike person "
        "pottedplant sheep sofa train tvmonitor".split(),
        16,
    ),
    "cityscapes-mini": (
        [
            *"road sidewalk building wall fence pole".split(),
            "traffic light",
            "traffic sign",
            *"vegetation terrain sky person rider car truck bus train motorcycle bicycle".split(),
        ],
        5,
    ),
}


LONG = {"camvid", "voc-mini"}
SOAK = pytest.mark.skipif(not os.environ.get("PIXELWISE_SOAK"), reason="a minute or more; part of make soak")


@pytest.mark.real
@pytest.mark.parametrize("name", [pytest.param(name, marks=SOAK if name in LONG else ()) for name in SETS])
def test_a_real_folder_is_fitted_unchanged(real_data, tmp_path, tiny, name):
    classes, count = SETS[name]
    settings = (
        tiny | {"validate_every": 1} | ({"crf_pictures": 5} if count > 100 else {})
    )  # a trial on few takes long enough
    result = pw.fit(real_data / name, out=tmp_path / "run", steps=1, settings=settings)
    assert list(result.segmenter.labels.names) == classes
    plan = Plan.load(result.run / "plan.yaml")
    assert sum(len(names) for names in plan.split.values()) == count
    assert np.isfinite(result.scores.mean_iou)
    assert result.report.stat().st_size > 10_000
