"""The page and the sentences of a learning curve."""

import json
import re

import pytest

from pixelwise.errors import DataError
from pixelwise.report.learning_curve import CURVE, answers, headline
from pixelwise.report.page import write_report


def estimate(value, low=None, high=None):
    return {"value": value, "low": low, "high": high}


def record(verdict="gain", names=("soil", "leaf"), sizes=(5, 10, 20), doubts=(0.3, 0.02, 0.01, 0.01), out=1):
    """What learning_curve.json holds."""
    low, high = (None, None) if verdict == "unknown" else (0.01, 0.05)
    curve = [] if low is None else [{"pictures": s} | estimate(0.7, 0.6, 0.8) for s in (5, 10, 20, 40)]
    gain = estimate(None if low is None else 0.03, low, high) | {"verdict": verdict, "curve": curve}
    scores = {"iou": estimate(0.6, 0.5, 0.7), "precision": estimate(0.7), "recall": estimate(None)}
    single = {"iou": 0.6, "precision": 0.7, "recall": None}
    return {
        "format": 1,
        "name": "<b>data</b>",
        "version": "0",
        "outcome": "finished",
        "planned": {"sizes": list(sizes), "repeats": 2, "trainings": 2 * len(sizes)},
        "data": {"training": 20, "measured": 6, "split": "validation"},
        "recipe": {"model": "unet", "options": {"width": 0.5}, "steps": 100, "batch_size": 8, "seed": 0},
        "classes": [{"name": name, "color": [1, 2, 3]} for name in names],
        "trainings": [
            {"pictures": s, "repeat": r, "mean_iou": 0.6, "per_class": [{"name": n} | single for n in names]}
            for r in (1, 2)
            for s in sizes
        ],
        "sizes": [
            {
                "pictures": s,
                "trainings": 2,
                "mean_iou": estimate(0.712, 0.6, 0.8),
                "per_class": [{"name": n} | scores for n in names],
            }
            for s in sizes
        ],
        "forecast": {"pictures": 40, "mean_iou": gain, "per_class": [{"name": n} | gain for n in names]},
        "doubted": {
            "pictures": [
                {"name": f"p{i}", "doubt": d, "share": d, "given": names[0], "seen": names[1], "files": {}}
                for i, d in enumerate(doubts)
            ],
            "stand_out": out,
            "not_judged": [],
        },
        "unlabelled": [],
        "commands": {"fit": "pixelwise fit data"},
    }


def page_of(tmp_path, content):
    content["answers"] = answers(content)
    (tmp_path / CURVE).write_text(json.dumps(content))
    return write_report(tmp_path).read_text(encoding="utf-8")


def test_each_verdict_is_told_and_no_gain_is_claimed_without_one():
    assert answers(record())[0] == (
        "Twice the pictures, 40 instead of 20, would bring mean IoU +3.0 (1.0 to 5.0) points, from 71.2 now; most for "
        "leaf +3.0 (1.0 to 5.0) and soil +3.0 (1.0 to 5.0)."
    )
    assert headline(record()) == "Twice the pictures: +3.0 points"
    assert "would hardly help" in answers(record("hardly"))[0]
    found = answers(record("open"))[0]
    assert "not told by these trainings" in found
    assert "anything from 1.0 to 5.0 points more fits" in found
    assert "+3.0" not in found + headline(record("open"))
    assert "cannot be told" in answers(record("unknown"))[0]
    assert "it takes" not in headline(record("unknown"))


def test_short_trainings_are_called_so():
    short = record()
    short["recipe"]["steps"] = 10
    assert "Each training saw only 80 crops, too few to learn much" in answers(short)[0]
    assert "crops" not in answers(record())[0]


def test_masks_that_stand_out_are_named_and_others_only_mentioned():
    assert answers(record())[1] == (
        "Of 4 judged masks 1 stands out; look at it first: p0 (labeled soil, looks like leaf: 30% in doubt)."
    )
    assert answers(record(out=0))[1] == "Of 4 judged masks none stands out; the most doubted: p0, p1 and p2."
    many = record(doubts=(0.5, 0.5, 0.5, 0.5, 0.01), out=4)
    many["doubted"]["not_judged"] = ["x"]
    assert answers(many)[1].endswith(", and 1 more. 1 was not judged.")
    assert answers(record(doubts=(), out=0))[1].startswith("No mask was judged")


def test_the_page_holds_everything_and_escapes_what_people_write(tmp_path):
    hostile = record(names=("<script>alert(1)</script>", "a & b"))
    hostile["unlabelled"] = [{"name": "new_<i>", "uncertainty": 0.4}]
    page = page_of(tmp_path, hostile)
    assert "<script" not in page
    assert "&lt;b&gt;data" in page
    assert "new_&lt;i&gt;" in page
    assert not re.search(r'(src|href)="(?!data:|#)', page)
    assert page.count("<svg") == 3  # the whole, and one of each class
    assert page.count("a training with 10 pictures") == 2


@pytest.mark.parametrize("verdict", ["gain", "hardly", "open", "unknown"])
def test_a_page_of_each_kind_can_be_made(tmp_path, verdict):
    content = record(verdict, sizes=(20,), doubts=(), out=0)
    content["outcome"] = "budget"
    content["planned"]["trainings"] = 12
    page = page_of(tmp_path, content)
    assert "The time was over before all trainings were made: 2 of 12." in page
    assert "No mask was judged" in page


def test_a_broken_record_is_one_clear_line(tmp_path):
    (tmp_path / CURVE).write_text('{"format": 1}')
    with pytest.raises(DataError, match=r"learning_curve\.json is expected to hold a learning curve"):
        write_report(tmp_path)
