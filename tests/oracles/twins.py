"""A narrow twin of a released file: written as a .caffemodel, put into our network, and compared with OpenCV's run.

OpenCV reads pictures in BGR, as the released networks do, ours the same pictures in RGB. Weights are random; what is
written are the blobs of a network of ours, under the names of the release.
"""

from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.files import read_tensors
from pixelwise.weights.importing import load_weights

from .caffe import caffemodel, run
from .compare import agree, pictures


def imported(path, weights, name, network):
    """`network` with the weights of a file that is written to `path`, in evaluation."""
    path = path / "twin.caffemodel"
    path.write_bytes(caffemodel(weights))
    report = load_weights(network, read_tensors(path), WEIGHT_FORMATS[name])
    assert report.complete
    return network.eval().requires_grad_(False)


def agree_in_rgb(network, layers, weights, last, size):
    """Our scores of RGB pictures are OpenCV's of the same in BGR."""
    images = pictures(*size)
    agree(network(images.flip(1)), run(layers, weights, images.numpy(), last))


def stem_named(name_or_text):
    """The oracle's ResNets in the release's names: the stem's two layers of batch norm have an underscore."""
    return name_or_text.replace("bnconv1", "bn_conv1").replace("scaleconv1", "scale_conv1")
