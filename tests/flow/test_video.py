"""Videos in and out: order, size and rate kept; whole or not at all."""

import cv2
import numpy as np
import pytest
import torch
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.flow.predicting.video import CODECS, Video, writing
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.segmenter import Segmenter

from .test_predict import opened


class Bright(torch.nn.Module):
    """Class 1 where a pixel is brighter than 128."""

    def __init__(self):
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))

    def heads(self, images):
        from pixelwise.layers.head import Head
        from pixelwise.layers.resample import Resampling

        score = images.mean(1, keepdim=True) - 128
        size = tuple(images.shape[2:])
        return {"logits": Head(torch.cat([-score, score], 1) / 10, Resampling.half_pixel(size, size))}


@pytest.fixture
def segmenter():
    labels = LabelSet(("dark", "bright"), ((0, 0, 0), (250, 30, 30)))
    return Segmenter(Bright(), Normalization((0.0,) * 3, (1.0,) * 3), labels, {"builder": "unet", "options": {}})


def draw(path, count=10, size=(48, 64), rate=12.5):
    """A bright bar that moves to the right, four pixels a frame, on dark ground."""
    with writing(path, rate, size) as film:
        for i in range(count):
            frame = np.full((*size, 3), 40, np.uint8)
            frame[:, 4 * i : 4 * i + 8] = 220
            film.write(frame)
    return path


def frames_of(path):
    with Video(path) as video:
        frames = []
        while (frame := video.read()) is not None:
            frames.append(frame)
    return video, frames


@pytest.mark.parametrize("suffix", sorted(CODECS))
def test_an_overlay_has_the_frames_in_their_order_with_size_and_rate(segmenter, tmp_path, suffix):
    clip = draw(tmp_path / f"clip{suffix}")
    done = predict_files(segmenter, find_pictures([str(clip)]), tmp_path / "out")
    assert [p.relative_to(tmp_path).as_posix() for p in (tmp_path / "out").rglob("*") if p.is_file()].count(
        f"out/overlay/clip{suffix}"
    ) == 1
    (outcome,) = done.outcomes
    assert (outcome.frames, outcome.size, outcome.error) == (10, (48, 64), None)
    assert "10 frames at 12.5 a second, without sound" in outcome.notes
    video, frames = frames_of(tmp_path / "out" / "overlay" / f"clip{suffix}")
    assert (video.rate, video.size, len(frames)) == (12.5, (48, 64), 10)
    for i, frame in enumerate(frames):  # red where the bar is
        red = frame[:, :, 0].astype(int) - frame[:, :, 1]
        assert abs(np.average(np.arange(64), weights=red.clip(0).sum(0)) - (4 * i + 3.5)) < 1.5


def test_masks_maps_and_tables_are_made_of_each_frame(segmenter, tmp_path):
    clip = draw(tmp_path / "clip.avi", count=3)
    out = tmp_path / "out"
    done = predict_files(segmenter, find_pictures([str(clip)]), out, kinds="mask,confidence,polygons,areas,coco")
    _, frames = frames_of(clip)
    for i, frame in enumerate(frames):
        expected = frame.astype(np.float32).mean(2) > 128
        assert (np.asarray(opened(out / f"mask/clip/{i:06}.png")) == expected).all()
        assert opened(out / f"confidence/clip/{i:06}.png").size == (64, 48)
        assert f"clip/{i:06},bright,{expected.sum()}," in (out / "areas.csv").read_text()
    assert sorted(p.name for p in (out / "polygons/clip").iterdir()) == [f"{i:06}.geojson" for i in range(3)]
    assert not (out / "overlay").exists()
    assert set(done.tables) == {"areas", "coco"}
    again = predict_files(
        segmenter, find_pictures([str(clip)]), out, kinds="mask,confidence,polygons,areas,coco", resume=True
    )
    assert again.skipped == 1


def test_a_video_of_odd_sides_loses_a_row_and_says_so(segmenter, tmp_path):
    path = tmp_path / "odd.avi"
    writer = cv2.VideoWriter(str(path), cv2.CAP_OPENCV_MJPEG, cv2.VideoWriter.fourcc(*"MJPG"), 5, (31, 21))
    for _ in range(2):
        writer.write(np.full((21, 31, 3), 200, np.uint8))
    writer.release()
    (outcome,) = predict_files(segmenter, find_pictures([str(path)]), tmp_path / "out").outcomes
    assert outcome.size == (21, 31)
    assert "the overlay is 30 × 20, since a video's sides are even" in outcome.notes


@pytest.mark.parametrize("content", [b"", b"junk" * 100])
def test_a_broken_video_is_one_line_and_the_rest_is_done(segmenter, tmp_path, content, capfd):
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "broken.mp4").write_bytes(content)
    whole = draw(tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "in" / "half.mp4").write_bytes(whole[: len(whole) // 2])  # its index stands at the end
    draw(tmp_path / "in" / "fine.webm", count=2)
    Image.new("RGB", (9, 9)).save(tmp_path / "in" / "a.png")
    done = predict_files(segmenter, find_pictures([str(tmp_path / "in")]), tmp_path / "out")
    assert [outcome.outcome for outcome in done.outcomes] == ["written", "failed", "written", "failed"]
    what = "is no video that can be read, or is damaged" if content else r"is empty \(0 bytes\)"
    with pytest.raises(DataError, match=f"broken.mp4 {what}; copy it again, or convert it"):
        Video(tmp_path / "in" / "broken.mp4")
    assert "broken.mp4" in done.faults[0] and "half.mp4" in done.faults[1]
    assert not [p for p in (tmp_path / "out" / "overlay").iterdir() if p.stem in ("broken", "half")]
    assert capfd.readouterr() == ("", "")  # nothing of OpenCV's own


def test_a_video_that_ends_early_is_kept_and_named(segmenter, tmp_path, monkeypatch):
    clip = draw(tmp_path / "clip.avi", count=20)
    read, left = Video.read, iter(range(8))
    monkeypatch.setattr(Video, "read", lambda self: read(self) if next(left, None) is not None else None)
    done = predict_files(segmenter, find_pictures([str(clip)]), tmp_path / "out")
    assert done.written == 1 and done.outcomes[0].frames == 8
    assert "clip.avi ends after 8 of 20 frames: it may be damaged" in done.faults[0]


def test_a_fault_in_the_middle_leaves_no_video(segmenter, tmp_path, monkeypatch):
    clip = draw(tmp_path / "clip.mp4")
    read, left = Video.read, iter(range(5))

    def changing(self):
        frame = read(self)
        return frame if next(left, None) is not None else frame[:-2]

    monkeypatch.setattr(Video, "read", changing)
    done = predict_files(segmenter, find_pictures([str(clip)]), tmp_path / "out", kinds="overlay,mask")
    assert "clip.mp4 changes its size at frame 5" in done.faults[0]
    assert [p for p in (tmp_path / "out").rglob("*") if p.is_file() and "settings" not in p.name] == []
