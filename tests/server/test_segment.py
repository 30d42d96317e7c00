"""What is asked for comes back, and is what the model predicts."""

import base64
import io

import numpy as np
import pytest
from PIL import Image

from pixelwise.inference.pictures import confidence_png, overlay, palette_png
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.segmenter import Segmenter
from pixelwise.server.answers import indices, png
from pixelwise.server.guard import HEADERS


def test_the_mask_is_a_palette_png_of_the_prediction_by_default(url, http, toy, pixels):
    """FIELD §29: class numbers that are seen in color, not black."""
    answer = http.send(f"{url}/v1/segment", http.encoded(pixels))
    assert (answer.status, answer.headers["content-type"]) == (200, "image/png")
    with Image.open(io.BytesIO(answer.content)) as mask:
        assert mask.mode == "P"
        assert mask.getpalette()[3:9] == [200, 30, 30, 30, 90, 200]
    assert np.array_equal(answer.pixels, toy.predict(pixels, confidence=False).labels)
    assert {"wait", "decode", "predict", "encode"} == {
        part.split(";")[0].strip() for part in answer.headers["server-timing"].split(",")
    }


def test_overlay_and_confidence_are_those_of_predict(url, http, toy, pixels):
    """FIELD §29 and §30."""
    body, expected = http.encoded(pixels), toy.predict(pixels)
    shown = http.send(f"{url}/v1/segment?output=overlay&opacity=0.25", body).pixels
    assert np.array_equal(shown, overlay(pixels, expected.labels, toy.labels, opacity=0.25))
    sure = http.send(f"{url}/v1/segment?output=confidence", body).pixels
    assert np.array_equal(sure, np.array(confidence_png(expected.confidence)))


def test_the_json_counts_what_the_prediction_holds(url, http, toy, pixels):
    everything = "polygons,mask,overlay,confidence,indices"
    answer = http.send(f"{url}/v1/segment?output=json&include={everything}", http.encoded(pixels)).json
    expected = toy.predict(pixels)
    assert (answer["model"], answer["height"], answer["width"]) == ("toy", *pixels.shape[:2])
    for row in answer["classes"]:
        here = expected.labels == row["index"]
        assert (row["name"], row["pixels"]) == (toy.labels.names[row["index"]], here.sum())
        assert row["share"] == pytest.approx(here.mean(), abs=1e-6)
        if here.any():
            assert row["confidence"] == pytest.approx(expected.confidence[here].mean(), abs=1e-4)
        else:
            assert row["confidence"] is None
    assert answer["confidence"] == pytest.approx(expected.confidence.mean(), abs=1e-4)
    assert answer["polygons"] == expected.polygons()

    def opened(name):
        with Image.open(io.BytesIO(base64.b64decode(answer[name]))) as picture:
            return np.array(picture)

    assert np.array_equal(opened("mask"), expected.labels)
    assert np.array_equal(opened("overlay"), np.array(expected.overlay()))
    both = opened("indices")
    assert np.array_equal(both[..., 0], expected.labels)
    assert np.array_equal(both[..., 2], opened("confidence_map"))
    assert "mask" not in http.send(f"{url}/v1/segment?output=json&include=", http.encoded(pixels)).json


def test_options_are_those_of_predict_in_the_address_or_the_form(url, http, toy, pixels):
    expected = toy.predict(pixels, scales=(0.5, 1.0, 1.5), flip=True, precision="bf16", confidence=False).labels
    plain = toy.predict(pixels, confidence=False).labels
    assert not np.array_equal(expected, plain)
    options = {"scales": "0.5,1,1.5", "flip": "true", "precision": "bf16", "model": "toy"}
    query = "&".join(f"{key}={value}" for key, value in options.items())
    found = http.send(f"{url}/v1/segment?{query}", http.encoded(pixels)).pixels
    assert np.array_equal(found, expected)
    fields = [(key, None, value.encode(), None) for key, value in options.items()]
    body, kind = http.form(*fields, ("image", "a.png", http.encoded(pixels), "image/png"))
    assert np.array_equal(http.send(f"{url}/v1/segment", body, kind).pixels, expected)
    assert http.send(f"{url}/v1/segment?flip=true", body, kind).json["error"] == {
        "code": "bad_option",
        "message": "flip stands in the address and in the form; give it once",
    }


def test_a_crf_refines_as_predict_does(url, http, toy, pixels):
    found = http.send(f"{url}/v1/segment?crf=true", http.encoded(pixels)).pixels
    assert np.array_equal(found, toy.predict(pixels, crf=True, confidence=False).labels)


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        ("*/*", "image/png"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.9", "application/json"),
        ("image/png, application/json", "image/png"),
    ],
)
def test_what_is_accepted_decides_where_no_output_is_named(url, http, pixels, accept, kind):
    answer = http.send(f"{url}/v1/segment", http.encoded(pixels), Accept=accept)
    assert answer.headers["content-type"] == kind


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WebP", "GIF", "BMP", "TIFF"])
@pytest.mark.parametrize("gray", [False, True])
def test_every_format_is_decoded_as_from_a_file(url, http, toy, pixels, kind, gray, tmp_path):
    file = tmp_path / "picture"
    file.write_bytes(http.encoded(pixels[..., 0] if gray else pixels, kind))
    answer = http.send(f"{url}/v1/segment", file.read_bytes(), f"image/{kind.lower()}")
    assert answer.status == 200, answer.content
    assert np.array_equal(answer.pixels, toy.predict(file, confidence=False).labels)


def test_a_picture_is_turned_by_its_exif(url, http, toy, pixels, tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    file = tmp_path / "turned.jpg"
    Image.fromarray(pixels).save(file, exif=exif)
    found = http.send(f"{url}/v1/segment", file.read_bytes()).pixels
    assert found.shape == pixels.shape[1::-1]
    assert np.array_equal(found, toy.predict(file, confidence=False).labels)


def test_the_phones_second_picture_and_film_behind_a_jpeg_do_no_harm(url, http, pixels):
    jpeg = http.encoded(pixels, "JPEG")
    for behind in (jpeg, b"\0\0\0\x18ftypmp42" + bytes(40), bytes(16)):
        assert http.send(f"{url}/v1/segment", jpeg + behind).status == 200


def test_more_than_255_classes_come_in_16_bits(pixels):
    labels = LabelSet(tuple(f"class {i}" for i in range(300)))
    network = build("unet", num_classes=300, width=0.0625, depth=2)
    architecture = {"builder": "unet", "options": {"num_classes": 300, "width": 0.0625, "depth": 2}}
    segmenter = Segmenter(network, Normalization((120.0,) * 3, (60.0,) * 3), labels, architecture)
    prediction = segmenter.predict(pixels)
    with Image.open(io.BytesIO(png(prediction, "mask"))) as mask:
        assert np.array_equal(np.array(mask), np.array(palette_png(prediction.labels, labels)))
    both = indices(prediction).astype(int)
    assert np.array_equal(both[..., 0] + 256 * both[..., 1], prediction.labels)


def test_models_tell_their_classes_limits_and_report(serving, http, toy, tmp_path, pixels):
    with serving(toy, toy, token="secret", corrections=tmp_path / "kept") as url:
        assert http.send(f"{url}/v1/models").code == "unauthorized"
        told = http.send(f"{url}/v1/models", Authorization="Bearer secret").json
    assert [(model["name"], model["default"]) for model in told["models"]] == [("toy", True), ("toy1", False)]
    assert told["models"][0]["classes"][1] == {"index": 1, "name": "disk", "color": [200, 30, 30]}
    assert told["corrections"]
    assert told["limits"] == {"bytes": 33554432, "pixels": 25000000, "queue": 32, "timeout_seconds": 60.0}


def test_health_readiness_and_numbers(url, http, pixels):
    http.send(f"{url}/v1/segment", http.encoded(pixels))
    http.send(f"{url}/v1/segment", b"nothing")
    assert http.send(f"{url}/healthz").json == {"status": "ok"}
    assert http.send(f"{url}/readyz").json == {"status": "ready"}
    text = http.send(f"{url}/metrics").content.decode()
    assert 'pixelwise_requests_total{route="/v1/segment",status="200"}' in text
    assert 'pixelwise_refusals_total{code="unsupported_media"}' in text
    assert "pixelwise_queue_waiting 0.0" in text


def test_everything_keeps_to_the_servers_own_page(url, http):
    for path in ("/", "/v1/models", "/nothing"):
        headers = http.send(url + path).headers
        assert {name: headers[name] for name in HEADERS if name != "cache-control"} == {
            name: value for name, value in HEADERS.items() if name != "cache-control"
        }


def test_a_report_opens_with_its_ticket_alone(http, toy, tmp_path):
    from pixelwise.server.app import create_app
    from pixelwise.server.models import open_models
    from pixelwise.server.running import background
    from pixelwise.server.settings import Settings

    for run in ("cells", "roads", "cells 2/cells"):
        (tmp_path / run).mkdir(parents=True)
        toy.save(tmp_path / run / "model.safetensors")
    (tmp_path / "cells" / "report.html").write_text("<p>scores</p>")
    files = [tmp_path / run / "model.safetensors" for run in ("cells", "roads", "cells 2/cells")]
    models = open_models(files)
    assert [model.name for model in models] == ["cells", "roads", "cells-2"]
    with background(create_app(models, Settings(token="secret", read_only=True, threads=1))) as url:
        told = http.send(f"{url}/v1/models", Authorization="Bearer secret").json["models"]
        assert [model["report"] is None for model in told] == [False, True, True]
        answer = http.send(f"{url}/{told[0]['report']}")
        assert (answer.status, answer.content) == (200, b"<p>scores</p>")
        assert "sandbox" in answer.headers["content-security-policy"]
        path, _, ticket = told[0]["report"].partition("?ticket=")
        late = f"1{ticket[ticket.index('-') :]}"
        for wrong in ("", "x", ticket + "0", late, "99999999999-00", "²-0"):
            assert http.send(f"{url}/{path}?ticket={wrong.encode().hex() if wrong == '²-0' else wrong}").status == 401
        assert http.send(f"{url}/{path.replace('cells', 'roads')}?ticket={ticket}").status == 401
        bearer = {"Authorization": "Bearer secret"}
        assert http.send(f"{url}/v1/models/roads/report", **bearer).code == "not_found"
        (tmp_path / "cells" / "report.html").unlink()
        assert http.send(f"{url}/{told[0]['report']}").code == "not_found"
