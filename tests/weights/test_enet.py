"""ENet, a real segmentation network of Caffe, from its two files to scores on Cityscapes."""

import cv2
import numpy as np
import pytest
from PIL import Image

from pixelwise.caffe.prototxt import prototxt_text
from pixelwise.cli.main import main
from pixelwise.data import open_dataset
from pixelwise.protocols import PROTOCOLS
from pixelwise.segmenter import evaluate_pictures
from pixelwise.weights import caffe_network, import_weights, load

pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def enet(real_data):
    home = real_data / "caffe" / "enet-cityscapes"
    files = home / "enet_deploy_final.prototxt", home / "cityscapes_weights.caffemodel"
    return import_weights(*files, mean=(0, 0, 0), classes="cityscapes")[0]


@pytest.fixture(scope="module")
def pairs(real_data, tmp_path_factory):
    """The four pictures with ids, as Cityscapes lays them out."""
    source, root = real_data / "cityscapes-mini", tmp_path_factory.mktemp("cityscapes")
    for file in source.glob("*/*/aachen/*"):
        place = root / file.relative_to(source).parts[0] / "train" / "aachen" / file.name
        place.parent.mkdir(parents=True, exist_ok=True)
        place.symlink_to(file)
    return open_dataset("cityscapes", root, "train")


def test_the_file_tells_the_size_and_the_order_of_channels(enet, real_data):
    assert enet.normalization.size == (512, 1024)
    assert enet.normalization.channel_order == "bgr"
    prototxt = prototxt_text(real_data / "caffe" / "enet-cityscapes" / "enet_deploy_final.prototxt")
    assert enet.architecture == {"builder": "caffe_network", "options": {"prototxt": prototxt}}


def test_enet_before_its_bn_was_merged_comes_with_a_note(real_data, tmp_path, caplog, capsys):
    home = real_data / "caffe" / "enet-cityscapes"
    files = [str(home / "enet_deploy.prototxt"), str(home / "cityscapes_weights_before_bn_merge.caffemodel")]
    out = tmp_path / "model.safetensors"
    with pytest.raises(SystemExit) as ended:
        main(["import-weights", *files, "--mean", "0", "--classes", "cityscapes", "--out", str(out)])
    assert ended.value.code == 0
    [printed] = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Note: ")]
    assert "layer 'bn0_1' (BN) gives values near ±35" in printed and "the scores mean nothing" in printed
    assert load(out).recipe["imported"]["notes"] == [printed.removeprefix("Note: ")]
    caffe_network(*files)
    assert "cityscapes_weights_before_bn_merge.caffemodel: layer 'bn0_1' (BN) gives values" in caplog.text


def test_the_scores_on_cityscapes_are_those_that_were_measured(enet, pairs):
    """0.9391 and 0.6213 with another bilinear resize, which moves them by 0.003, and with labels enlarged by nearest.

    Here scores are enlarged linearly, which is a little better.
    """
    scores = evaluate_pictures(enet, pairs, protocol="refinenet").scores
    assert scores.pixel_accuracy == pytest.approx(0.9391, abs=0.001)
    assert scores.mean_iou == pytest.approx(0.6213, abs=0.004)
    assert scores.classes_left_out == 4


def test_labels_enlarged_by_nearest_have_the_measured_scores(enet, pairs, real_data):
    names = [pair.name for pair in pairs.pairs]
    sample = pairs[names.index("aachen_000002_000019")]
    small = cv2.resize(sample.image, (1024, 512), interpolation=cv2.INTER_LINEAR)
    labels = np.repeat(np.repeat(enet.predict(small).labels, 2, 0), 2, 1)
    accumulator = PROTOCOLS["refinenet"].accumulator(pairs.labels)
    accumulator.update(labels, sample.targets["labels"])
    found = accumulator.scores()
    assert found.pixel_accuracy == pytest.approx(0.9634, abs=2e-4)
    assert found.mean_iou == pytest.approx(0.6074, abs=0.003)


def test_the_author_s_picture_is_found_in_every_pixel(enet, real_data):
    home = real_data / "caffe" / "enet-cityscapes"
    photo = np.asarray(Image.open(home / "munich_000000_000019_leftImg8bit.png").convert("RGB"))
    lut = np.asarray(Image.open(home / "cityscapes19.png").convert("RGB")).reshape(-1, 3)
    expected = np.asarray(Image.open(home / "munich_000000_000019_leftImg8bit_enet.png").convert("RGB"))
    small = cv2.resize(photo.astype(np.float32) / 255, (1024, 512), interpolation=cv2.INTER_LINEAR)
    labels = enet.predict(small).labels
    np.testing.assert_array_equal(lut[labels][..., ::-1], expected)
