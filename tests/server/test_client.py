"""The Python client gives what the model predicts."""

import numpy as np
import pytest

from pixelwise.server.client import Client, ServerError


def test_a_picture_in_every_form_comes_back_as_predicted(url, http, toy, pixels, tmp_path):
    client, expected = Client(url), toy.predict(pixels)
    file = tmp_path / "a.png"
    file.write_bytes(http.encoded(pixels))
    for picture in (file, str(file), file.read_bytes(), pixels):
        found = client.segment(picture, polygons=True, confidence=True)
        assert np.array_equal(found.labels, expected.labels)
        assert found.polygons == expected.polygons()
        assert np.allclose(found.confidence / 255, expected.confidence, atol=1 / 255)
        assert found.shares == pytest.approx(
            {k: n / pixels[..., 0].size for k, n in expected.areas().items()}, abs=1e-6
        )
    plain = client.segment(pixels, scales=(0.5, 1), flip=True, model="toy")
    assert np.array_equal(plain.labels, toy.predict(pixels, scales=(0.5, 1), flip=True).labels)
    assert (plain.polygons, plain.confidence) == (None, None)
    assert client.models()[0]["name"] == "toy"
    assert client.ready()


def test_corrections_are_saved(url, pixels):
    mask = np.zeros(pixels.shape[:2], np.uint8)
    assert Client(url).correct(pixels, mask, model="toy")["pairs"] >= 1


def test_refusals_are_errors_with_the_servers_words(url, pixels):
    with pytest.raises(ServerError, match="no model has this name; there are toy") as refused:
        Client(url).segment(pixels, model="other")
    assert (refused.value.status, refused.value.code) == (404, "unknown_model")
    with pytest.raises(ServerError, match="127.0.0.1:9 cannot be reached"):
        Client("http://127.0.0.1:9").models()
    with pytest.raises(ServerError, match="is no address of a server"):
        Client("localhost:8000").models()
    assert not Client("http://127.0.0.1:9").ready()


def test_it_shows_its_token_and_tries_again_where_the_server_says_so(serving, pixels):
    with serving(token="secret", timeout=0.0001) as url:
        with pytest.raises(ServerError, match="wants a token"):
            Client(url).models()
        with pytest.raises(ServerError, match="was not segmented within"):
            Client(url, token="secret", patience=0).segment(np.zeros((400, 400, 3), np.uint8))
