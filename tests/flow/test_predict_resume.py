"""Killed at any moment and gone on with, a prediction ends as one that was never stopped."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.flow.predicting.resume import SETTINGS
from pixelwise.flow.predicting.tables import JOURNAL, Entry, Tables
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter

KINDS = "mask,overlay,polygons,areas,coco"
OPTIONS = {"num_classes": 3, "width": 0.0625, "depth": 2}
CHILD = """
import sys
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.segmenter import Segmenter
segmenter = Segmenter.load(sys.argv[1])
print("ready", flush=True)
def told(done, total):
    print(done, flush=True)
predict_files(segmenter, find_pictures([sys.argv[2]]), sys.argv[3] and __import__("pathlib").Path(sys.argv[3]),
              kinds=sys.argv[4], resume=True, progress=told)
"""


def made(seed=0):
    torch.manual_seed(seed)
    labels = LabelSet(("background", "leaf", "fruit"))
    return Segmenter(
        build("unet", **OPTIONS).eval(), Normalization((120.0,) * 3, (60.0,) * 3), labels,
        {"builder": "unet", "options": OPTIONS},
    )  # fmt: skip


@pytest.fixture
def segmenter():
    return made()


@pytest.fixture
def pictures(tmp_path):
    root = tmp_path / "in"
    root.mkdir()
    random = np.random.default_rng(0)
    for i in range(12):
        coarse = random.integers(0, 255, (5, 6, 3)).astype(np.uint8)
        Image.fromarray(coarse).resize((48, 40)).save(root / f"{i:02}.png")
    return root


def contents(out):
    """{path: bytes} of all files but the settings' record."""
    return {
        file.relative_to(out).as_posix(): file.read_bytes()
        for file in out.rglob("*")
        if file.is_file() and file.name != SETTINGS
    }


def check_whole(out):
    """What has its name is whole."""
    for file in out.rglob("*"):
        if file.suffix == ".png" and not file.name.startswith("."):
            with Image.open(file) as image:
                image.load()
        elif file.suffix in (".geojson", ".json"):
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            assert file.read_text().endswith("\n")


def test_killed_again_and_again_it_ends_with_the_same_bytes(segmenter, pictures, tmp_path):
    segmenter.save(tmp_path / "m.safetensors")
    predict_files(segmenter, find_pictures([str(pictures)]), tmp_path / "whole", kinds=KINDS)
    command = [
        sys.executable,
        "-c",
        CHILD,
        str(tmp_path / "m.safetensors"),
        str(pictures),
        str(tmp_path / "out"),
        KINDS,
    ]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    for lines in (2, 3, 4, 5) if os.environ.get("PIXELWISE_SOAK") else (7,):
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as child:
            for _ in range(lines):
                assert child.stdout.readline()
            time.sleep(0.003 * lines)
            child.send_signal(signal.SIGKILL)
        assert child.returncode == -signal.SIGKILL
        check_whole(tmp_path / "out")
        assert not (tmp_path / "out" / "areas.csv").exists()
    left = tmp_path / "out" / "mask" / ".00.png.99999999.part"
    left.write_bytes(b"half")
    (tmp_path / "out" / ".areas.csv.99999999.part").write_bytes(b"half")
    done = predict_files(segmenter, find_pictures([str(pictures)]), tmp_path / "out", kinds=KINDS, resume=True)
    assert done.skipped >= 5 and done.written + done.skipped == 12
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    again = predict_files(segmenter, find_pictures([str(pictures)]), tmp_path / "out", kinds=KINDS, resume=True)
    assert (again.skipped, again.written) == (12, 0)
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_half_a_line_of_the_journal_is_a_picture_that_is_not_done(segmenter, pictures, tmp_path):
    found, out = find_pictures([str(pictures)])[:4], tmp_path / "out"
    predict_files(segmenter, found, tmp_path / "whole", kinds="mask,areas,coco")

    def stop(done, total):
        if done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        predict_files(segmenter, found, out, kinds="mask,areas,coco", progress=stop)
    journal = out / JOURNAL
    lines = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(lines[:-1]) + lines[-1][: len(lines[-1]) // 2])
    done = predict_files(segmenter, found, out, kinds="mask,areas,coco", resume=True)
    assert (done.skipped, done.written) == (2, 2)
    assert contents(out) == contents(tmp_path / "whole")


def test_pictures_that_come_later_are_added_to_the_tables(segmenter, pictures, tmp_path):
    found = find_pictures([str(pictures)])[:6]
    predict_files(segmenter, found, tmp_path / "whole", kinds="areas,coco")
    predict_files(segmenter, found[:4], tmp_path / "out", kinds="areas,coco")
    assert predict_files(segmenter, found, tmp_path / "out", kinds="areas,coco", resume=True).skipped == 4
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")
    predict_files(segmenter, found[4:], tmp_path / "later", kinds="areas,coco")
    predict_files(segmenter, found[:4], tmp_path / "later", kinds="areas,coco", resume=True)  # those before stay
    assert len((tmp_path / "later" / "areas.csv").read_text().splitlines()) == 1 + 6 * 3


def test_a_table_that_is_no_table_is_not_gone_on_with(segmenter, pictures, tmp_path):
    found, out = find_pictures([str(pictures)])[:2], tmp_path / "out"
    predict_files(segmenter, found, out, kinds="areas,coco")
    (out / "areas.csv").write_text("mine\n1\n")
    with pytest.raises(DataError, match="areas.csv cannot be gone on with .*its columns are not picture, class"):
        predict_files(segmenter, found, out, kinds="areas", resume=True)
    (out / "coco.json").write_text('{"images": 1}')
    with pytest.raises(DataError, match="coco.json cannot be gone on with"):
        predict_files(segmenter, found, out, kinds="coco", resume=True)
    with pytest.raises(DataError, match=r"areas\.csv exists already"):
        predict_files(segmenter, found, out, kinds="areas")
    predict_files(segmenter, found, out, kinds="areas", overwrite=True)


def test_another_model_is_not_gone_on_with(segmenter, pictures, tmp_path):
    found = find_pictures([str(pictures)])[:2]
    predict_files(segmenter, found[:1], tmp_path / "out", kinds="mask")
    with pytest.raises(DataError, match="were made with another model than asked for now"):
        predict_files(made(1), found, tmp_path / "out", kinds="mask", resume=True)


def test_entries_come_back_from_tables_and_journals_as_they_were(tmp_path):
    labels = LabelSet(("background", "leaf"))
    box = {"category_id": 1, "segmentation": [[0, 0, 0, 1, 1, 1, 1, 0]], "area": 1, "bbox": [0, 0, 1, 1], "iscrowd": 0}
    entries = [
        Entry("a", "a.jpg", (2, 3), {"background": 5, "leaf": 1}, [box]),
        Entry('b, "é"', 'b, "é".png', (1, 1), {"background": 1, "leaf": 0}, []),
    ]
    with Tables(tmp_path, ("areas", "coco"), labels, resume=False) as tables:
        tables.add(entries[:1])
        assert Tables(tmp_path, ("areas", "coco"), labels, resume=True).entries == {"a": entries[0]}
        tables.add(entries[1:])
        tables.write(["a", 'b, "é"'])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["areas.csv", "coco.json"]
    assert list(Tables(tmp_path, ("areas", "coco"), labels, resume=True).entries.values()) == entries
    record = json.loads((tmp_path / "coco.json").read_text())
    assert [image["id"] for image in record["images"]] == [1, 2]
    assert record["annotations"] == [{"id": 1, "image_id": 1, **box}]
    assert record["categories"] == [{"id": 1, "name": "leaf"}]
