"""What trackers are told of a run."""

import re
import sys
from pathlib import Path

import pytest

from pixelwise.cli.main import main
from pixelwise.errors import BadOption
from pixelwise.flow import tracking
from pixelwise.flow.demo import draw_demo
from pixelwise.flow.events import Started
from pixelwise.flow.tracking import TensorBoard, numbers_of, told_to
from pixelwise.training.loop import Ended, StepLogged

SETTINGS = {"model_options": {"width": 0.0625, "depth": 2}, "crop_size": [32, 32], "batch_size": 2, "threads": 1}
STEP = StepLogged(10, loss=0.5, rate=0.1, seconds=2.0, images_per_second=20.0)


class Writer:
    """What SummaryWriter takes."""

    def __init__(self, folder):
        self.folder, self.told, self.flushed = folder, [], 0

    def add_scalar(self, name, value, step):
        self.told.append((name, value, step))

    def flush(self):
        self.flushed += 1


@pytest.fixture
def writers(monkeypatch):
    """The writers that were opened; tensorboard itself need not be there."""
    opened = []
    monkeypatch.setattr(tracking, "_summary_writer", lambda: lambda folder: opened.append(Writer(folder)) or opened[-1])
    return opened


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("tracked") / "cells"
    draw_demo(home, count=8, size=(48, 64))
    return home


def test_curves_of_a_fit_lie_in_its_folder(folder, tmp_path, writers, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = [part for key, value in SETTINGS.items() for part in ("--set", f"{key}={value}")]
    with pytest.raises(SystemExit) as ended:
        main(
            [
                "fit",
                str(folder),
                "--steps",
                "4",
                "--track",
                "tensorboard",
                "--out",
                "run",
                "--set",
                "log_every=2",
                *settings,
            ]
        )
    assert ended.value.code == 0
    (writer,) = writers
    assert writer.folder == Path("run/tensorboard")
    assert {(name, step) for name, _, step in writer.told} >= {("loss", 2), ("rate", 4), ("mean_iou", 4)}
    assert writer.flushed


def test_other_words_are_answered_in_one_line(folder, capsys):
    with pytest.raises(SystemExit) as ended:
        main(["fit", str(folder), "--track", "tensorbord"])
    assert ended.value.code == 2
    assert "no program to track with is called 'tensorbord'; did you mean 'tensorboard'?" in capsys.readouterr().err


def test_without_tensorboard_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    with pytest.raises(BadOption, match=re.escape("pip install 'pixelwise[tensorboard]'")):
        TensorBoard()


def test_stages_have_curves_of_their_own_and_every_one_is_told(writers):
    heard = []
    tell = told_to(TensorBoard(), heard.append)
    events = [Started(Path("a"), Path("run"), None), tracking.StageBegan(1, 2, "fcn32s_vgg16", 5), STEP]
    for event in (*events, Ended("finished", 10, 2.0)):
        tell(event)
    assert writers[0].told[0] == ("fcn32s_vgg16/loss", 0.5, 10)
    assert heard[:3] == events
    assert numbers_of(events[0]) == {}
