"""Corrections become a folder that `pixelwise fit` goes on from, and nothing else is ever written."""

import io
import re

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

import pixelwise as pw
from pixelwise.data.decode import decode_image, decode_mask
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet
from pixelwise.server.corrections import Corrections, classes_of
from pixelwise.server.models import ServedModel
from pixelwise.server.refusals import Refusal


@pytest.fixture
def save(serving, http, tmp_path):
    """Send pairs to a server whose folder is tmp_path/kept."""

    def run(*pairs, segmenters=(), **fields):
        answers = []
        with serving(*segmenters, corrections=tmp_path / "kept", max_pixels=100_000) as url:
            for image, mask in pairs:
                extra = [(name, None, value.encode(), None) for name, value in fields.items()]
                body, kind = http.form(("image", "a.png", image, None), ("mask", "b.png", mask, "image/png"), *extra)
                answers.append(http.send(f"{url}/v1/corrections", body, kind))
        return answers

    return run


def painted(pixels):
    mask = np.zeros(pixels.shape[:2], np.uint8)
    mask[5:20, 5:30], mask[25:35, 10:50], mask[:2] = 1, 2, 255
    return mask


def test_pairs_that_were_saved_are_what_fit_goes_on_from(save, http, pixels, toy, tmp_path):
    mask = painted(pixels)
    turned = np.ascontiguousarray(np.rot90(pixels, 2))
    pairs = [(http.encoded(pixels, "JPEG"), http.encoded(mask)), (http.encoded(turned), http.encoded(mask[::-1, ::-1]))]
    answers = save(*pairs)
    assert [answer.status for answer in answers] == [201, 201]
    kept, told = tmp_path / "kept", answers[1].json
    assert re.fullmatch(r"\d{8}-\d{6}-2", told["name"])
    assert told["pairs"] == 2
    assert np.array_equal(decode_mask(kept / told["mask"]), mask[::-1, ::-1])
    assert np.array_equal(decode_image(kept / told["image"]), turned)
    toy.save(tmp_path / "model.safetensors")
    result = pw.fit(kept, out=tmp_path / "run", steps=2, plan_only=True, start=tmp_path / "model.safetensors")
    assert result.run.joinpath("plan.yaml").is_file()
    understood = pw.understand(kept)
    assert understood.labels.names == toy.labels.names
    assert sorted(p.relative_to(kept).parts[0] for p in kept.rglob("*.*")) == [
        *("classes.yaml", "images", "images", "masks", "masks")
    ]


def test_what_a_canvas_makes_is_a_mask_too(save, http, pixels, tmp_path):
    mask = painted(pixels)
    canvas = np.dstack([mask, 0 * mask, 0 * mask, np.full_like(mask, 255)])
    (answer,) = save((http.encoded(pixels), http.encoded(canvas)))
    assert np.array_equal(decode_mask(tmp_path / "kept" / answer.json["mask"]), mask)


def test_what_else_was_in_the_upload_is_gone(save, http, pixels, tmp_path):
    stream = io.BytesIO()
    exif = Image.Exif()
    exif[270], exif[274] = "where I live", 3
    Image.fromarray(pixels).save(stream, "PNG", exif=exif)
    (answer,) = save((stream.getvalue(), http.encoded(painted(pixels))))
    file = tmp_path / "kept" / answer.json["image"]
    assert b"where I live" not in file.read_bytes()
    assert np.array_equal(decode_image(file), pixels[::-1, ::-1])


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_deep_pictures_stay_what_they_are(kind, save, http, pixels, tmp_path):
    deep = (pixels.astype(kind) * 200).astype(kind)
    stream = io.BytesIO()
    tifffile.imwrite(stream, deep, photometric="rgb", metadata=None)
    (answer,) = save((stream.getvalue(), http.encoded(painted(pixels))))
    found = decode_image(tmp_path / "kept" / answer.json["image"])
    assert found.dtype == kind
    assert np.array_equal(found, deep)


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda mask: mask[:-1], "bad_mask"),
        (lambda mask: np.full_like(mask, 3), "bad_mask"),
        (lambda mask: np.full_like(mask, 255), "bad_mask"),
        (lambda mask: np.dstack([mask, mask, mask + 1]), "bad_mask"),
        (lambda mask: np.zeros((400, 400), np.uint8), "too_many_pixels"),
    ],
)
def test_wrong_masks_are_refused_and_leave_nothing(change, code, save, http, pixels, tmp_path):
    (answer,) = save((http.encoded(pixels), http.encoded(change(painted(pixels)))))
    assert answer.code == code
    assert not (tmp_path / "kept").exists()


def test_lossy_masks_are_refused(save, http, pixels):
    done, jpeg = cv2.imencode(".jpg", painted(pixels))
    assert done
    (answer,) = save((http.encoded(pixels), jpeg.tobytes()))
    assert answer.code in ("unsupported_media", "bad_mask")


def test_a_name_of_a_client_is_never_a_path(save, http, pixels, tmp_path):
    (answer,) = save((http.encoded(pixels), http.encoded(painted(pixels))), model="../../elsewhere")
    assert answer.code == "unknown_model"
    (answer,) = save((http.encoded(pixels), http.encoded(painted(pixels))), name="../x")
    assert answer.code == "bad_option"
    assert list(tmp_path.iterdir()) == []


def test_each_of_several_models_has_a_folder(save, http, pixels, toy, tmp_path):
    (answer,) = save((http.encoded(pixels), http.encoded(painted(pixels))), segmenters=(toy, toy), model="toy1")
    assert answer.json["image"].startswith("toy1/images/")
    assert (tmp_path / "kept" / "toy1" / "classes.yaml").is_file()


def test_only_this_machine_is_told_where_files_lie(toy, pixels, http, tmp_path):
    pair = (http.encoded(pixels), http.encoded(painted(pixels)))
    (tmp_path / "my runs" / "cells").mkdir(parents=True)
    model = tmp_path / "my runs" / "cells" / "model.safetensors"
    models = [ServedModel("cells", toy, model), ServedModel("roads", toy, tmp_path / "roads.safetensors")]
    commands = [
        Corrections(tmp_path / "kept", models, local=local).save(one, *pair, 10**6, ("", "")).command
        for local in (True, False)
        for one in models
    ]
    assert commands == [
        f"pixelwise fit {tmp_path}/kept/cells --start '{tmp_path}/my runs/cells/model.safetensors'",
        f"pixelwise fit {tmp_path}/kept/roads --start {tmp_path}/roads.safetensors",
        "pixelwise fit kept/cells --start cells/model.safetensors",
        "pixelwise fit kept/roads --start roads.safetensors",
    ]


def test_read_only_refuses(serving, http, pixels, tmp_path):
    body, kind = http.form(
        ("image", "a", http.encoded(pixels), None), ("mask", "b", http.encoded(painted(pixels)), None)
    )
    with serving(read_only=True, corrections=tmp_path / "kept") as url:
        answer = http.send(f"{url}/v1/corrections", body, kind)
        assert (answer.status, answer.code) == (403, "read_only")
        assert not http.send(f"{url}/v1/models").json["corrections"]
    assert not (tmp_path / "kept").exists()


def test_a_full_disk_is_a_deliberate_503(save, http, pixels, tmp_path, monkeypatch):
    monkeypatch.setattr("pixelwise.server.corrections.SPARE", 1 << 62)
    (answer,) = save((http.encoded(pixels), http.encoded(painted(pixels))))
    assert (answer.status, answer.code) == (503, "no_space")
    assert not list((tmp_path / "kept").rglob("*.*"))


def test_a_folder_of_other_classes_is_refused_at_the_start(toy, tmp_path):
    (tmp_path / "classes.yaml").write_text("classes:\n  - name: cat\n    values: [0]\n")
    with pytest.raises(DataError, match="has the classes cat, the model background, disk, bar; give another folder"):
        Corrections(tmp_path, [ServedModel("toy", toy)], local=True)


def test_numbers_become_classes_by_two_channels():
    labels = LabelSet(tuple(f"class {i}" for i in range(300)))
    packed = np.array([[299 % 256 << 16 | 299 // 256 << 8, 0xFFFF00]], np.uint32)
    assert classes_of(packed, labels).tolist() == [[299, 65535]]
    with pytest.raises(Refusal, match="holds 300 at row 0, column 1; expected classes 0–299, or 65535"):
        classes_of(np.array([[1, 300]]), labels)
    with pytest.raises(Refusal, match="has blue 7 at row 0, column 0"):
        classes_of(np.array([[7]], np.uint32), labels)
