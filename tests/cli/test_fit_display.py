"""What a fit shows as it happens, on a terminal and elsewhere."""

import io
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from pixelwise.cli.show import fit
from pixelwise.cli.show.fit import FitDisplay
from pixelwise.flow import events
from pixelwise.training.loop import Ended, StepLogged, Validated


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so; the first plain line may come at once."""
    now = [100.0]
    monkeypatch.setattr(fit.time, "monotonic", lambda: now[0])
    return now


def display(*, terminal=False):
    """(the display, what it wrote)."""
    written = io.StringIO()
    console = Console(file=written, force_terminal=terminal, color_system=None, width=110, highlight=False)
    return FitDisplay(console), written


def step(number, seconds=2.0):
    return StepLogged(step=number, loss=0.5, rate=0.01, seconds=seconds, images_per_second=4.0)


def validated(number, mean_iou, *, best):
    return Validated(number, SimpleNamespace(mean_iou=mean_iou), best, None, 1.0)


def test_it_begins_with_the_time_it_takes_or_with_steps_without_one():
    shown, written = display()
    shown.tell(events.Started(Path("cells"), Path("runs/cells"), 10.0))
    shown.tell(events.Started(Path("cells"), Path("runs/cells"), None))
    end = "Results go to runs/cells/. Ctrl-C ends it early with what was learned."
    text = " ".join(written.getvalue().split())
    assert text == f"This will take about 10 minutes, everything included. {end} {end}"


def test_elsewhere_a_line_of_training_every_ten_seconds_and_one_of_each_validation(clock):
    shown, written = display()
    shown.tell(events.StageBegan(1, 2, "fcn32s_vgg16", 8))
    shown.tell(step(1))
    clock[0] += 5
    shown.tell(step(2))
    shown.tell(validated(2, 0.25, best=True))
    shown.tell(validated(4, 0.2, best=False))
    clock[0] += 6
    shown.tell(step(4, seconds=8.0))
    shown.tell(Ended("finished", 8, 65.0))
    assert written.getvalue().splitlines() == [
        "Stage 1 of 2: fcn32s_vgg16, 8 steps",
        "step 1/8  loss 0.500  rate 0.01  4.0 images/s  0:14 left",
        "step 2: validation mean IoU 0.250  (best so far)",
        "step 4: validation mean IoU 0.200",
        "step 4/8  loss 0.500  rate 0.01  4.0 images/s  0:08 left",
        "Training finished after 8 steps (1:05 of training).",
    ]


def test_a_terminal_shows_one_live_line_with_the_validation_s_best(clock):
    shown, written = display(terminal=True)
    with shown:
        shown.tell(events.MemberBegan(2, 6, "10 pictures, repeat 1", 8))
        shown.tell(step(1))
        shown._bar.refresh()
        shown.tell(validated(1, 0.25, best=True))
        shown.tell(step(2))
        shown._bar.refresh()
        text = written.getvalue()
        shown.tell(events.MemberMeasured(0.5))
    assert "Training 2 of 6: 10 pictures, repeat 1" in text
    assert "1/8  loss 0.500  rate 1.0e-02  val mIoU –  0:14 left" in text
    assert "2/8  loss 0.500  rate 1.0e-02  val mIoU 0.250 (best 0.250)  0:06 left" in text
    assert "validation" not in text  # the live line has it
    assert "mean IoU 0.500" in written.getvalue()
    assert shown._bar is None  # and the bar is gone


def test_what_is_counted_has_a_line_when_it_begins_and_a_bar_on_a_terminal(clock):
    shown, written = display()
    for done in (0, 1, 2):
        shown.tell(events.Progressed("reading files", done, 2))
    shown.tell(events.Progressed("downloading", 0, 0))
    shown.tell(events.Progressed("downloading", 5, 2_000_000))
    clock[0] += 11
    shown.tell(events.Progressed("downloading", 6, 2_000_000))
    assert written.getvalue().splitlines() == [
        "reading files (2) …",
        "downloading (size unknown) …",
        "downloading (2.0 MB) …",
    ]
    shown, written = display(terminal=True)
    with shown:
        shown.tell(events.Progressed("reading files", 0, 2))
        shown.tell(events.Progressed("reading files", 1, 2))
        assert shown._bar is not None
        shown.tell(events.Progressed("reading files", 2, 2))
        assert shown._bar is None
        shown.tell(events.Progressed("downloading", 3, 0))
        assert shown._what == "downloading"
    assert "reading files" in written.getvalue()


def test_a_crf_that_was_not_tried_to_the_end_is_told_with_its_reason():
    shown, written = display()
    shown.tell(events.CRFTried(None, why="no time was left"))
    shown.tell(events.CRFTried(None, instead="the stored one stays"))
    assert written.getvalue().splitlines() == [
        "dense CRF: not tried to the end, and not kept: no time was left",
        "dense CRF: the stored one stays",
    ]


def test_scores_by_picture_come_with_what_coarse_maps_are():
    import numpy as np

    from pixelwise.labels import LabelSet

    shown, written = display()
    row = SimpleNamespace(name="cat", pictures=3, precision=float("nan"), recall=0.5)
    scores = SimpleNamespace(
        confusion=np.array([[2, 1], [0, 3]]), accuracy=5 / 6, mean_accuracy=0.75, per_class=[row, row]
    )
    shown._scores(scores, "validation", LabelSet(("cat", "dog")))
    text = " ".join(written.getvalue().split())
    assert "5 of 6 validation pictures are taken for their own class, accuracy 0.833" in text
    assert "cat 3 – 0.500" in text and "Coarse maps: no label of a pixel was seen." in text


def test_the_table_of_a_learning_curve_has_scores_by_pictures_and_what_twice_as_many_add():
    def score(value):
        return {"value": value, "low": None, "high": None}

    def size(pictures, mean):
        row = {"iou": score(mean), "precision": score(mean), "recall": score(mean)}
        return {
            "pictures": pictures,
            "mean_iou": {"value": mean, "low": mean - 0.1, "high": mean + 0.1} if pictures > 5 else score(mean),
            "per_class": [row],
        }

    unknown = {"verdict": "unknown"}
    record = {
        "sizes": [size(5, 0.5), size(10, 0.6)],
        "classes": [{"name": "cell"}],
        "forecast": {"mean_iou": unknown, "per_class": [unknown]},
        "answers": ["More pictures would help."],
        "commands": {"resume": "pixelwise fit cells --resume"},
    }
    shown, written = display()
    shown.curve(SimpleNamespace(record=record, report=Path("run/report.html"), run=Path("run")))
    text = [" ".join(line.split()) for line in written.getvalue().splitlines()]
    assert "pictures 5 10 twice" in text and "mean IoU 50.0 60.0 –" in text
    assert "95 % interval – 50.0–70.0" in text and "cell IoU 50.0 60.0 –" in text
    assert text[-4:] == [
        "More pictures would help.",
        "Report: run/report.html",
        "Tables: run/learning_curve.csv, doubted.csv",
        "Go on: pixelwise fit cells --resume",
    ]
