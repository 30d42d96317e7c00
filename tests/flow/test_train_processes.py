"""`pixelwise train` in several processes: what one does, one log, one voice, and a clear end if one is killed."""

import csv
import json
import os
import shutil
import subprocess
import sys
import time

import pytest
import torch

import pixelwise as pw
from pixelwise.recipes import PublishedRecipe
from pixelwise.recipes.published import Data, Levels, Stage, caffe_sgd
from pixelwise.training.state import load_state

from ..several import free_port

FOLDER = Data(dataset="folder", split="all")
STEPS = 6

KILLED = """
import os, signal
from pixelwise.training import loop
take = loop.train_step
def step(*arguments):
    if {when}:
        os.kill(os.getpid(), signal.SIGKILL)
    return take(*arguments)
loop.train_step = step
"""
"""Kills this process in a step; `arguments[5]` is its number."""

SCRIPT = """
import os, sys
rank = int(os.environ["RANK"])
{before}
from pixelwise.cli.main import main
main(sys.argv[1:])
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory, make_folder):
    """A folder of pictures and a recipe of batches of three, whose batch norms follow no batch."""
    home = tmp_path_factory.mktemp("processes")
    make_folder(home / "squares")
    settings = {
        "rate": 0.02,
        "validate_every": 2,
        "log_every": 1,
        "threads": 1,
        "batch_norm": "affine",
        "model_options": {"width": 1 / 16, "depth": 2},
    }
    recipe = caffe_sgd("unet", steps=STEPS, crop_size=32, batch_size=3, rates=(), **settings)
    made = PublishedRecipe(
        name="squares",
        paper="Nobody 2026, Table 1",
        normalization=Levels(mean=(100.0,) * 3, deviation=(60.0,) * 3, channel_order="rgb"),
        stages=(Stage(name="unet", recipe=recipe, train=(FOLDER,)),),
        validation=FOLDER,
        evaluation=FOLDER,
        protocol="fcn",
        validate_on=3,
    )
    made.save(home / "recipe.yaml")
    return home


@pytest.fixture(scope="module")
def alone(home, several):
    """The run of one process."""
    (ran,) = several(command(home, home / "alone"), 1)
    assert ran.code == 0, ran.error
    return home / "alone"


def command(home, run, *more):
    return ["train", home / "recipe.yaml", "--data", home / "squares", "--out", run, *more]


def rows(run):
    with (run / "log.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def lines(run):
    return [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]


def assert_the_same(run, other):
    """Losses, scores and weights to rounding; the pictures of each batch, too, or the losses would differ."""
    assert [row["step"] for row in rows(run)] == [row["step"] for row in rows(other)]
    for name in ("loss", "rate", "mean_iou", "pixel_accuracy"):
        found, expected = ([float(row[name] or -1) for row in rows(one)] for one in (run, other))
        assert found == pytest.approx(expected, rel=1e-4, abs=2e-3 if "_" in name else 1e-6), name
    weights = [pw.load(one / "model.safetensors").network.state_dict() for one in (run, other)]
    for name, value in weights[0].items():
        assert torch.allclose(value, weights[1][name], rtol=1e-3, atol=1e-5), name


def test_two_processes_train_as_one_with_one_log_and_one_voice(home, alone, several, tmp_path):
    """In terminals, where bars would be drawn."""
    first, second = several(command(home, tmp_path / "run"), terminals=True)
    assert (first.code, second.code) == (0, 0), first.out + second.out
    assert second.out == ""
    assert first.out.count("Mean IoU") <= first.out.count("Model") + 1
    assert_the_same(tmp_path / "run", alone)
    ours = sorted(path.name for path in (tmp_path / "run").iterdir())
    assert ours == sorted(path.name for path in alone.iterdir())
    assert [(line["event"], line.get("step")) for line in lines(tmp_path / "run")] == [
        (line["event"], line.get("step")) for line in lines(alone)
    ]


def test_a_killed_process_is_told_and_any_number_of_others_goes_on(home, alone, several, tmp_path):
    """Rank 1 is killed in step 5 of 6; the state of step 4 goes on in one process and in three."""
    before = KILLED.format(when="rank == 1 and arguments[5] == 4")
    first, second = several(command(home, tmp_path / "run"), before=before)
    assert (first.code, second.code) == (1, -9)
    (told,) = (line for line in first.error.splitlines() if line.startswith("pixelwise"))
    assert "another process of this run ended or cannot be reached" in told
    assert "run again with --resume" in told
    assert load_state(tmp_path / "run" / "state.pt")["step"] == 4
    for count in (1, 3):
        run = shutil.copytree(tmp_path / "run", tmp_path / f"on-{count}")
        ended = several(command(home, run, "--resume"), count)
        assert [ran.code for ran in ended] == [0] * count, ended[0].error
        assert [line["step"] for line in lines(run) if line["event"] == "step"] == [1, 2, 3, 4, 5, 6]
        assert_the_same(run, alone)


def test_a_picture_that_one_process_cannot_read_ends_all(home, several, tmp_path):
    before = (
        "from pathlib import Path\nfrom pixelwise.errors import DataError\nfrom pixelwise.training import loop\n"
        "def step(*arguments):\n    raise DataError('img_03.png is gone')\n"
        "if rank == 1:\n    loop.train_step = step\n"
    )
    first, second = several(command(home, tmp_path / "run"), before=before)
    assert (first.code, second.code) == (1, 1)
    assert second.error.strip() == "pixelwise, process 1: img_03.png is gone"
    assert "another process of this run ended" in first.error
    assert "Traceback" not in first.error + second.error


def test_what_an_error_left_is_not_freed_since_a_group_of_processes_may_never_end(home, several, tmp_path):
    before = (
        "import os\nfrom pixelwise.errors import DataError\nfrom pixelwise.training import loop\n"
        "class Held:\n    def __del__(self):\n        os.write(2, b'freed')\n"
        "def step(*arguments):\n    held = Held()\n    raise DataError('img_03.png is gone')\n"
        "loop.train_step = step\n"
    )
    for ran in several(command(home, tmp_path / "run"), before=before):
        assert ran.code == 1 and "img_03.png is gone" in ran.error and "freed" not in ran.error


def test_batch_norms_that_are_not_shared_are_told_once(home, several, tmp_path):
    arguments = command(home, tmp_path / "run", "--set", "batch_norm=trained", "--set", "steps=1")
    first, second = several(arguments)
    assert (first.code, second.code) == (0, 0), first.error
    assert first.error.count("statistics of each process's own part of a batch") == 1
    assert second.error == ""


def torchrun(*arguments):
    return [sys.executable, "-m", "torch.distributed.run", *map(str, arguments)]


def test_torchrun_ends_when_a_process_is_killed(home, tmp_path):
    """Itself, since it asks the others to end, too."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(before=KILLED.format(when="rank == 1 and arguments[5] == 4")))
    ended = subprocess.run(
        torchrun("--nproc-per-node", 2, "--master-port", free_port(), script, *command(home, tmp_path / "run")),
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert ended.returncode != 0
    assert "another process of this run ended or cannot be reached" in ended.stderr
    assert load_state(tmp_path / "run" / "state.pt")["step"] == 4


@pytest.fixture
def hosts():
    """Two network namespaces joined by a cable: [(what a command is prefixed with, network interface)]."""
    if not os.environ.get("PIXELWISE_SOAK"):
        pytest.skip("PIXELWISE_SOAK is not set")
    if sys.platform != "linux" or os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("network namespaces need Linux, root and ip")
    names = [f"pixelwise-{os.getpid()}-{i}" for i in range(2)]
    cables = [f"pw{os.getpid()}x{i}" for i in range(2)]

    def ip(*words):
        return subprocess.run(["ip", *words], check=True, capture_output=True)

    try:
        try:
            for name in names:
                ip("netns", "add", name)
            ip("link", "add", cables[0], "type", "veth", "peer", "name", cables[1])
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no network namespaces here: {error.stderr.decode().strip()}")
        for i, (name, cable) in enumerate(zip(names, cables, strict=True)):
            ip("link", "set", cable, "netns", name)
            ip("-n", name, "addr", "add", f"10.77.0.{i + 1}/30", "dev", cable)
            ip("-n", name, "link", "set", cable, "up")
            ip("-n", name, "link", "set", "lo", "up")
        yield [(["ip", "netns", "exec", name], cable) for name, cable in zip(names, cables, strict=True)]
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True)


def test_two_hosts_train_as_one(home, alone, hosts, tmp_path):
    """torchrun on each of two hosts that only a network joins; the run's folder is on both, as in a cluster."""
    started = []
    for rank, (prefix, cable) in enumerate(hosts):
        options = ["--nnodes", 2, "--nproc-per-node", 1, "--rdzv-backend", "c10d", "--rdzv-id", "pixelwise"]
        options += ["--rdzv-endpoint", "10.77.0.1:29400", "--rdzv-conf", f"is_host={int(rank == 0)}"]
        options += ["--local-addr", f"10.77.0.{rank + 1}", "-m", "pixelwise"]
        started.append(
            subprocess.Popen(
                [*prefix, *torchrun(*options, *command(home, tmp_path / "run"))],
                env=os.environ | {"OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": cable},
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                text=True,
            )
        )
        time.sleep(0.5)
    ended = [(*process.communicate(timeout=300), process.returncode) for process in started]
    assert [code for *_, code in ended] == [0, 0], "\n".join(error for _, error, _ in ended)
    assert sorted(bool(out) for out, _, _ in ended) == [False, True]
    assert_the_same(tmp_path / "run", alone)
