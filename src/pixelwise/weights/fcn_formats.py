"""The FCNs that Berkeley released, and CRF-RNN: names, classes, means.

Reference code: fcn.berkeleyvision.org (`voc-*`, `nyud-*`, `siftflow-*`, `pascalcontext-*`), torrvision/crfasrnn
(`TVG_CRFRNN_COCO_VOC`). Their layers have our layers' names but where a table says otherwise. All read BGR; HHA is
stored as it is used, and depth follows blue, green and red. Spec, networks 2014–2016, §2, §7, §8.
"""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pixelwise.errors import WeightsError
from pixelwise.layers.normalization import Normalization
from pixelwise.weights.fixed import bilinear_kernel
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, by_path, classes_of, filters_of

VOC_MEAN = (122.67892, 116.66877, 104.00699)  # RGB
CONTEXT_MEAN = (122.679, 116.669, 104.007)
SIFT_FLOW_MEAN = (108.353, 115.294, 114.578)
NYUD_MEAN = (92.318, 97.203, 116.190)
HHA_MEAN = (132.431, 94.076, 118.477)  # disparity, height, angle
DEPTH_MEAN = 7.844  # of the natural logarithm of millimeters
CRFRNN_MEAN = (123.68, 116.779, 103.939)

# {deconvolution: taps of its side}
UPSCORE_32S = {"upscore": 64}
UPSCORE_16S = {"upscore2": 4, "upscore16": 32}
UPSCORE_8S = {"upscore2": 4, "upscore_pool4": 4, "upscore8": 16}


def less(*mean: float) -> Normalization:
    """Caffe's: a mean is taken away, nothing is divided."""
    return Normalization(mean, (1.0,) * len(mean))


def kernels(taps: Mapping[str, int], score: str = "score_fr") -> Callable[[nn.Module], Tensors]:
    """`fixed` of bilinear deconvolutions from all classes to all classes.

    Args:
        taps: {name of a deconvolution: taps of its side}.
        score: our layer that gives the classes.
    """

    def fixed(network: nn.Module) -> Tensors:
        weight = network.state_dict()[f"{score}.weight"]
        classes = weight.shape[0], weight.shape[0]
        return {f"{name}.weight": bilinear_kernel((*classes, side, side), weight.device) for name, side in taps.items()}

    return fixed


def berkeley(
    name: str,
    model: str,
    source: str,
    taps: Mapping[str, int],
    normalization: Normalization,
    labels: str,
    *,
    reverse_channels: bool = True,
) -> WeightFormat:
    """One of Berkeley's files with one head."""
    return WeightFormat(
        name,
        model,
        f"fcn.berkeleyvision.org, {source}; networks-2014-2016 §2.1, §2.7, §8.3",
        by_leaf(),
        reverse_channels=reverse_channels,
        fixed=kernels(taps),
        normalization=normalization,
        labels=labels,
        options=classes_of("score_fr"),
    )


def sift_flow(name: str, model: str, source: str, taps: Mapping[str, int]) -> WeightFormat:
    """One of SIFT Flow's, with a semantic and a geometric head."""
    semantic, geometric = (
        kernels({f"{name}_{head}": side for name, side in taps.items()}, f"score_fr_{head}") for head in ("sem", "geo")
    )
    return WeightFormat(
        name,
        model,
        f"fcn.berkeleyvision.org, {source}; networks-2014-2016 §2.1, §2.7, §8.3",
        by_leaf(),
        fixed=lambda network: semantic(network) | geometric(network),
        normalization=less(*SIFT_FLOW_MEAN),
        labels="sift_flow",
        options=two_headed,
    )


def two_headed(tensors: Tensors) -> dict[str, Any]:
    """How many semantic and geometric classes a file has."""
    return {
        "num_classes": filters_of(tensors, "score_fr_sem"),
        "geometric_classes": filters_of(tensors, "score_fr_geo"),
    }


def tower_name(path: str) -> str:
    """The name of a layer of two towers: `color.conv1.conv1_1` is `conv1_1color`.

    >>> tower_name("hha.fc6"), tower_name("score_frhha")
    ('fc6hha', 'score_frhha')
    """
    tower, _, layer = path.partition(".")
    return layer.rpartition(".")[2] + tower if layer else tower


def color_reversed(tensors: Tensors) -> Tensors:
    """The color tower reads RGB instead of BGR, or the reverse; HHA stays as it is."""
    name = "conv1_1color.weight"
    return tensors | {name: tensors[name].flip(1)} if name in tensors else tensors


CRF_PARTS = ("spatial", "bilateral", "compatibility")  # in the order of the layer's blobs, §7.1
CRF = "inference1"


def crf_parts(tensors: Tensors) -> Tensors:
    """The blobs (1, 1, K, K) of the mean field as the matrices (K, K) that they are.

    Raises:
        WeightsError: they have another shape.
    """
    blobs = {f"{CRF}.blob{place}": f"{CRF}.{part}" for place, part in enumerate(CRF_PARTS)}
    renamed: Tensors = {}
    for name, tensor in tensors.items():
        if name in blobs:
            side = tensor.shape[-1] if tensor.dim() else 0
            if tensor.numel() != side * side:
                raise WeightsError(f"{CRF} has a blob of shape {tuple(tensor.shape)}; expected 1 × 1 × K × K")
            tensor = tensor.reshape(side, side)
        renamed[blobs.get(name, name)] = tensor
    return renamed


def crf_blobs(tensors: Tensors) -> Tensors:
    """The inverse of `crf_parts`."""
    blobs = {f"{CRF}.{part}": f"{CRF}.blob{place}" for place, part in enumerate(CRF_PARTS)}
    return {blobs.get(name, name): t[None, None] if name in blobs else t for name, t in tensors.items()}


def crf_rnn_layers(network: nn.Module) -> dict[str, str]:
    """CRF-RNN's names: FCN-8s's with hyphens, and `inference1` for the mean field."""
    scores = {f"score_{stream}": f"score-{stream}" for stream in ("fr", "pool4", "pool3")}
    return by_leaf(scores | {"mean_field": CRF})(network)


VOC = less(*VOC_MEAN)
CONTEXT = less(*CONTEXT_MEAN)

_FORMATS = (
    berkeley("berkeley_fcn32s_vgg16", "fcn32s_vgg16", "voc-fcn32s", UPSCORE_32S, VOC, "voc2012"),
    berkeley("berkeley_fcn16s_vgg16", "fcn16s_vgg16", "voc-fcn16s", UPSCORE_16S, VOC, "voc2012"),
    berkeley("berkeley_fcn8s_vgg16", "fcn8s_vgg16", "voc-fcn8s", UPSCORE_8S, VOC, "voc2012"),
    berkeley("berkeley_fcn8s_atonce_vgg16", "fcn8s_atonce_vgg16", "voc-fcn8s-atonce", UPSCORE_8S, VOC, "voc2012"),
    berkeley("berkeley_fcn32s_alexnet", "fcn32s_alexnet", "voc-fcn-alexnet", {"upscore": 63}, VOC, "voc2012"),
    berkeley("berkeley_nyud_color", "fcn32s_vgg16", "nyud-fcn32s-color", UPSCORE_32S, less(*NYUD_MEAN), "nyud_v2"),
    berkeley(
        "berkeley_nyud_hha",
        "fcn32s_vgg16",
        "nyud-fcn32s-hha",
        UPSCORE_32S,
        less(*HHA_MEAN),
        "nyud_v2",
        reverse_channels=False,
    ),
    berkeley(
        "berkeley_nyud_color_d",
        "fcn32s_rgbd",
        "nyud-fcn32s-color-d",
        UPSCORE_32S,
        less(*NYUD_MEAN, DEPTH_MEAN),
        "nyud_v2",
    ),
    WeightFormat(
        "berkeley_nyud_color_hha",
        "fcn32s_rgb_hha",
        "fcn.berkeleyvision.org, nyud-fcn32s-color-hha; networks-2014-2016 §2.7",
        by_path(tower_name),
        prepare=color_reversed,
        restore=color_reversed,
        reverse_channels=False,
        fixed=kernels(UPSCORE_32S, "score_frcolor"),
        normalization=less(*NYUD_MEAN, *HHA_MEAN),
        labels="nyud_v2",
        options=classes_of("score_frcolor"),
    ),
    sift_flow("berkeley_sift_flow_32s", "fcn32s_two_headed", "siftflow-fcn32s", UPSCORE_32S),
    sift_flow("berkeley_sift_flow_16s", "fcn16s_two_headed", "siftflow-fcn16s", UPSCORE_16S),
    sift_flow("berkeley_sift_flow_8s", "fcn8s_two_headed", "siftflow-fcn8s", UPSCORE_8S),
    berkeley("berkeley_context_32s", "fcn32s_vgg16", "pascalcontext-fcn32s", UPSCORE_32S, CONTEXT, "pascal_context"),
    berkeley("berkeley_context_16s", "fcn16s_vgg16", "pascalcontext-fcn16s", UPSCORE_16S, CONTEXT, "pascal_context"),
    berkeley("berkeley_context_8s", "fcn8s_vgg16", "pascalcontext-fcn8s", UPSCORE_8S, CONTEXT, "pascal_context"),
    WeightFormat(
        "crfrnn_fcn8s",
        "crfrnn_fcn8s",
        "torrvision/crfasrnn, TVG_CRFRNN_COCO_VOC; networks-2014-2016 §7",
        crf_rnn_layers,
        prepare=crf_parts,
        restore=crf_blobs,
        fixed=kernels({"upsample": 16}),
        # the authors' demo takes the same numbers away in the wrong order, red's from blue (§7.3)
        normalization=less(*CRFRNN_MEAN),
        labels="voc2012",
        options=classes_of("score-fr"),
    ),
)
FORMATS: dict[str, WeightFormat] = {format.name: format for format in _FORMATS}
