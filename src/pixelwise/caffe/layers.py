"""The tables of Caffe's layers: which are run, and how; which are left out; which are refused, and why.

Types are written as in the newest format; `type_of` gives that spelling for the older ones.
"""

from collections.abc import Sequence

from torch import nn

from pixelwise.caffe import layers_blobs as blobs
from pixelwise.caffe import layers_maps as maps
from pixelwise.caffe.layers_text import SAME, Blob, Builder, Built, LayerText
from pixelwise.caffe.prototxt import Message

__all__ = [
    "LAYERS",
    "REFUSED",
    "UNPOOLING",
    "Blob",
    "Built",
    "LayerText",
    "check_bottoms",
    "gives_data",
    "is_for_training",
    "type_of",
]


def python(layer: LayerText, bottoms: object) -> Built:
    """A layer written in Python: ENet's spatial dropout alone is known, which does nothing in evaluation."""
    param = layer.param("python_param")
    named = (param.get("module", ""), param.get("layer", ""))
    if named[0] == "spatial_dropout":
        return Built(nn.Identity(), moves=SAME)
    raise layer.refused(f"is written in Python (module {named[0]!r}, layer {named[1]!r}), which is not run here")


LAYERS: dict[str, Builder] = {
    "AbsVal": blobs.abs_val,
    "ArgMax": blobs.arg_max,
    "BN": blobs.fork_bn,
    "BatchNorm": blobs.batch_norm,
    "Bias": blobs.bias,
    "Concat": blobs.concat,
    "Convolution": maps.convolution,
    "Crop": maps.crop,
    "Deconvolution": maps.deconvolution,
    "Dropout": blobs.dropout,
    "ELU": blobs.elu,
    "Eltwise": blobs.eltwise,
    "Exp": blobs.exp,
    "Flatten": blobs.flatten,
    "InnerProduct": blobs.inner_product,
    "Interp": maps.interp,
    "LRN": maps.lrn,
    "Log": blobs.log,
    "PReLU": blobs.prelu,
    "Permute": blobs.permute,
    "Pooling": maps.pooling,
    "V0Padding": maps.padding,
    "Power": blobs.power,
    "Python": python,
    "ReLU": blobs.relu,
    "Reshape": blobs.reshape,
    "Scale": blobs.scale,
    "Sigmoid": blobs.sigmoid,
    "Slice": blobs.cut,
    "Softmax": blobs.softmax,
    "Split": blobs.split,
    "TanH": blobs.tanh,
    "Unpooling": maps.unpooling,
    "Upsample": maps.upsample,
}

UNPOOLING = ("Unpooling", "Upsample")  # these read a map and a pool's mask
MASKED = (*UNPOOLING, "Split")  # a mask is read by these alone
_BOTTOMS = {"Crop": (2, 2), "Scale": (1, 2), "Bias": (1, 2), **dict.fromkeys(UNPOOLING, (2, 2))}
_MANY = ("Concat", "Eltwise")


def check_bottoms(layer: LayerText, masks: Sequence[bool]) -> None:
    """Whether a layer has as many bottoms as it can read.

    Args:
        masks: of each bottom, whether it is the mask of a pool.

    Raises:
        WeightsError: it has more or fewer, or reads a mask that it cannot.
    """
    least, most = _BOTTOMS.get(layer.type, (1, 1))
    if layer.type not in _MANY and not least <= len(masks) <= most:
        wanted = f"{least}" if least == most else f"{least} or {most}"
        raise layer.refused(f"has {len(masks)} bottom{'s' if len(masks) != 1 else ''}; expected {wanted}")
    if layer.type not in MASKED and any(masks):
        name = layer.bottoms[list(masks).index(True)]
        raise layer.refused(f"reads {name!r}, which is the mask of a pool; {', '.join(MASKED)} alone can")


_CRF = (
    "is a dense CRF, which is not run inside a prototxt: take it out, and run pixelwise's own behind the network "
    "(--crf), or import the weights into the model crfrnn_fcn8s"
)
REFUSED: dict[str, str] = {"MultiStageMeanfield": _CRF, "DenseCRF": _CRF}

_TRAINING = {"Accuracy", "SegAccuracy", "Silence", "HDF5Output", "MatWrite", "SoftmaxWithLoss"}


def is_for_training(kind: str) -> bool:
    """Whether a layer trains, measures or writes, and is left out."""
    return kind in _TRAINING or kind.endswith("Loss")


def gives_data(layer: LayerText) -> bool:
    """Whether a layer's tops are the network's inputs."""
    return layer.type.endswith("Data") or layer.type == "Input" or (layer.type == "Python" and not layer.bottoms)


_OTHER_SPELLINGS = {
    "conv": "Convolution",
    "padding": "V0Padding",
    "pool": "Pooling",
    "softmaxloss": "SoftmaxWithLoss",
    "images": "ImageData",
    "imagesegdata": "ImageSegData",
    "hdf5data": "HDF5Data",
    "multistagemeanfield": "MultiStageMeanfield",
}


def type_of(message: Message) -> str:
    """A layer's type in the spelling of the newest format: CONVOLUTION and conv are Convolution.

    >>> from pixelwise.caffe.prototxt import read_prototxt
    >>> type_of(read_prototxt("type: INNER_PRODUCT")), type_of(read_prototxt('type: "Convolution"'))
    ('InnerProduct', 'Convolution')
    """
    written = message.get("type", "")
    if written in LAYERS:
        return written
    plain = written.replace("_", "").lower()
    known = {name.lower(): name for name in (*LAYERS, *REFUSED, *_TRAINING)} | _OTHER_SPELLINGS
    if plain in known:
        return known[plain]
    for ending in ("loss", "data"):
        if plain.endswith(ending):
            return written if written.endswith(ending.title()) else plain.removesuffix(ending).title() + ending.title()
    return written
