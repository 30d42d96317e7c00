import gzip

import cv2
import numpy as np
import pytest
import torch

from pixelwise.caffe import read_caffemodel
from pixelwise.caffe.network import caffe_network_of
from pixelwise.errors import WeightsError
from pixelwise.surgery import convolutionalize

pytestmark = pytest.mark.real


def opened(folder, prototxt, caffemodel):
    path = folder / "caffe" / prototxt
    network = caffe_network_of(path.read_text(), where=path.name).eval().requires_grad_(False)
    network.load_caffemodel(read_caffemodel(path.parent / caffemodel))
    return network


@pytest.mark.parametrize(
    ("prototxt", "caffemodel", "reference"),
    [
        ("mtcnn/det1.prototxt", "det1.caffemodel", "det1_reference_opencv.npz"),
        ("mtcnn/det2.prototxt", "det2.caffemodel", "det2_reference_opencv.npz"),
        ("mtcnn/det3.prototxt", "det3.caffemodel", "det3_reference_opencv.npz"),
        ("rfb320/RFB-320.prototxt", "RFB-320.caffemodel", "reference_opencv.npz"),
        ("mnet-deconv/mnet-deconv-0517.prototxt", "mnet-deconv-0517.caffemodel", "reference_opencv.npz"),
    ],
)
def test_a_real_model_gives_opencvs_outputs(real_data, prototxt, caffemodel, reference):
    network = opened(real_data, prototxt, caffemodel)
    with np.load((real_data / "caffe" / prototxt).parent / reference) as arrays:
        expected = {name.removeprefix("out_").removeprefix("mid_"): arrays[name] for name in arrays}
    images = torch.from_numpy(expected.pop("input"))
    tops = {top.replace("-", "_"): top for step in network.steps for top in step.text.tops}
    blobs = network.run(images, [tops[name] for name in expected])
    for name, values in expected.items():
        assert blobs[tops[name]].shape == values.shape
        assert np.abs(blobs[tops[name]].numpy() - values).max() < 1e-4


def digits(folder):
    folder = folder / "caffe/lenet-mnist"
    pixels = np.frombuffer(gzip.decompress((folder / "t10k-images-idx3-ubyte.gz").read_bytes()), np.uint8, offset=16)
    labels = np.frombuffer(gzip.decompress((folder / "t10k-labels-idx1-ubyte.gz").read_bytes()), np.uint8, offset=8)
    return torch.from_numpy(pixels.reshape(-1, 1, 28, 28).astype(np.float32) / 256), torch.from_numpy(labels.copy())


def test_lenet_reads_9914_of_10_000_digits(real_data):
    network = opened(real_data, "lenet-mnist/lenet.prototxt", "lenet_iter_10000.caffemodel")
    images, labels = digits(real_data)
    with np.load(real_data / "caffe/lenet-mnist/reference_opencv.npz") as arrays:
        blobs = network.run(images[:64], ["conv1", "pool2", "ip2"])
        for name, top in (("probs_first64", "prob"), ("ip2_first64", "ip2")):
            assert np.abs(blobs[top].numpy() - arrays[name]).max() < 1e-4
        for name, top in (("conv1_first4", "conv1"), ("pool2_first4", "pool2")):
            assert np.abs(blobs[top][:4].numpy() - arrays[name]).max() < 1e-4
        found = torch.cat([network(part).argmax(1) for part in images.split(500)])
        assert np.array_equal(found.numpy(), arrays["argmax_10000"])
    assert int((found == labels).sum()) == 9914


def test_lenet_made_convolutional_finds_digits_on_a_canvas(real_data):
    network = opened(real_data, "lenet-mnist/lenet.prototxt", "lenet_iter_10000.caffemodel")
    images, labels = digits(real_data)
    slid = convolutionalize(network, 28)
    canvas = torch.zeros(1, 1, 200, 200)
    places = [(row, column) for row in (4, 84, 164) for column in (0, 56, 112, 168)][:10]
    for digit, (row, column) in enumerate(places):
        canvas[0, :, row : row + 28, column : column + 28] = images[labels == digit][0]
    scores = slid(canvas)[0]
    assert scores.shape[0] == 10
    for digit, (row, column) in enumerate(places):
        there = scores[:, row // 4, column // 4]  # two pools of stride 2
        assert int(there.argmax()) == digit and float(there.max()) > 0.5
        alone = network(canvas[:, :, row : row + 28, column : column + 28])[0]
        assert torch.allclose(there, alone, atol=1e-5)


def test_enet_gives_its_authors_picture(real_data):
    folder = real_data / "caffe/enet-cityscapes"
    network = opened(real_data, "enet-cityscapes/enet_deploy_final.prototxt", "cityscapes_weights.caffemodel")
    picture = cv2.imread(str(folder / "munich_000000_000019_leftImg8bit.png"))  # BGR, as the network takes it
    small = cv2.resize(picture.astype(np.float32), (1024, 512))  # floats: rounded levels give other pixels
    scores = network(torch.from_numpy(small).permute(2, 0, 1)[None])[0]
    with np.load(folder / "reference_torch.npz") as arrays:
        assert np.abs(scores[:, ::8, ::8].numpy() - arrays["logits_stride8"]).max() < 1e-4
    colors = cv2.imread(str(folder / "cityscapes19.png")).reshape(-1, 3)[:, ::-1]  # R and B swapped
    author = cv2.imread(str(folder / "munich_000000_000019_leftImg8bit_enet.png"))
    assert np.array_equal(colors[scores.argmax(0).numpy()], author)


def test_enet_before_its_bn_was_merged_is_doubted(real_data):
    folder = real_data / "caffe/enet-cityscapes"
    network = caffe_network_of((folder / "enet_deploy.prototxt").read_text())
    fit = network.eval().load_caffemodel(read_caffemodel(folder / "cityscapes_weights_before_bn_merge.caffemodel"))
    assert fit.doubt.startswith("layer 'bn0_1' (BN) gives values near ±35") and "without the statistics" in fit.doubt


def test_upresnet10_is_refused_by_layer_name(real_data):
    with pytest.raises(WeightsError, match=r"scale2.0x_model.prototxt:185: layer '/res1/crop' \(CropCenter\)"):
        opened(real_data, "waifu2x-upresnet10/scale2.0x_model.prototxt", "scale2.0x_model.json.caffemodel")
