"""The catalogue of published weights: where a file is, how it is known again, what it reached, which network it fits.

A fact that was read nowhere is None, and shown as "unknown". Each table says where its facts were read. Names are a
network's and its data's. Scores are the publishers' own, by the protocol that is named with them. Nothing here imports
torch, and nothing is downloaded until it is asked for (`pixelwise.weights.cache`).
"""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

Triple = tuple[float, float, float]

MEBIBYTE = 1 << 20


@dataclass(frozen=True)
class PublishedWeights:
    """A published file of weights.

    Attributes:
        name: the network's and its data's.
        file: its name, in the cache and on mirrors; the publisher's, but where several have the same.
        network: a name in `pixelwise.models.MODELS`, or in `pixelwise.backbones.CLASSIFIERS`.
        format: a name in `pixelwise.weights.WEIGHT_FORMATS`.
        addresses: where it is offered for download, http or https; none where it has to be brought.
        page: where a person looks for it.
        size: bytes.
        size_error: bytes by which `size` may be wrong, where it was published rounded.
        digest: "sha256:", "sha1:" or "md5:", and the hexadecimal digits, or their beginning.
        license: as the publisher states it.
        score: what it reached, and on what.
        data: what it was trained on.
        labels: the data set whose classes it knows, a name in `pixelwise.data.DATASETS`; None where there is none.
        classes: the classes where no data set has them in this order.
        classifier: it tells one class of a whole picture: the trunk of segmenters, no segmenter itself.
        mean, deviation: of the network that comes out, red first, 0–255; None where the format says it.
        options: what the network's builder takes beside what the file tells.
        source: where these facts were read.
    """

    name: str
    file: str
    network: str
    format: str
    addresses: tuple[str, ...] = ()
    page: str | None = None
    size: int | None = None
    size_error: int = 0
    digest: str | None = None
    license: str | None = None
    score: str | None = None
    data: str | None = None
    labels: str | None = None
    classes: tuple[str, ...] | None = None
    classifier: bool = False
    mean: tuple[float, ...] | None = None
    deviation: tuple[float, ...] | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""

    def to_record(self) -> dict[str, Any]:
        """As JSON takes it."""
        return asdict(self)


IMAGENET: Triple = (123.675, 116.28, 103.53)  # 255 · (.485, .456, .406)
IMAGENET_DEVIATION: Triple = (58.395, 57.12, 57.375)  # 255 · (.229, .224, .225)
ONES: Triple = (1.0, 1.0, 1.0)
BERKELEYS: Triple = (122.67892, 116.66877, 104.00699)  # ImageNet's
VGG: Triple = (123.68, 116.779, 103.939)  # the VGG team's, PSPNet's and CRF-RNN's
BVLC: Triple = (122.679, 116.669, 104.007)
GOOGLENET: Triple = (123.0, 117.0, 104.0)
MSRA: Triple = (122.7, 116.7, 104.0)
DEEPLAB: Triple = (122.675, 116.669, 104.008)
NOTHING: Triple = (0.0, 0.0, 0.0)

TORCHVISION = "torchvision 0.29.2, torchvision/models: url, _file_size (MiB, rounded to 0.001), _metrics"
TORCHVISION_LICENSE = "code BSD-3-Clause; for the weights none stated"


def _torchvision(
    name: str, network: str, file: str, mebibytes: float, score: str, data: str, labels: str | None = None
) -> PublishedWeights:
    """A file of torchvision; its name ends in the first 8 digits of its SHA-256."""
    return PublishedWeights(
        name,
        file,
        network,
        network if labels else f"torchvision_{network}",
        addresses=(f"https://download.pytorch.org/models/{file}",),
        page="https://pytorch.org/vision/stable/models.html",
        size=round(mebibytes * MEBIBYTE),
        size_error=MEBIBYTE // 2000 + 1,
        digest=f"sha256:{file.removesuffix('.pth').rpartition('-')[2]}",
        license=TORCHVISION_LICENSE,
        score=score,
        data=data,
        labels=labels,
        classifier=labels is None,
        mean=IMAGENET,
        deviation=IMAGENET_DEVIATION,
        source=TORCHVISION,
    )


_COCO_VOC = "COCO train2017, pictures with a class of VOC"
_IMAGENET = "ImageNet (ILSVRC 2012)"


def _segmenter(network: str, file: str, mebibytes: float, mean_iou: float, accuracy: float) -> PublishedWeights:
    score = f"mean IoU {mean_iou}, pixel accuracy {accuracy} on COCO val2017 with VOC's classes, shorter side 520"
    return _torchvision(f"{network}_voc", network, file, mebibytes, score, _COCO_VOC, "voc2012")


def _trunk(network: str, file: str, mebibytes: float, top1: float) -> PublishedWeights:
    score = f"top-1 accuracy {top1} on ImageNet's validation part, center crop"
    return _torchvision(f"{network}_imagenet", network, file, mebibytes, score, _IMAGENET)


_TORCHVISION = (
    _segmenter("torchvision_fcn_resnet50", "fcn_resnet50_coco-1167a1af.pth", 135.009, 60.5, 91.4),
    _segmenter("torchvision_fcn_resnet101", "fcn_resnet101_coco-7ecb50ca.pth", 207.711, 63.7, 91.9),
    _segmenter("torchvision_deeplab_v3_resnet50", "deeplabv3_resnet50_coco-cd0a2569.pth", 160.515, 66.4, 92.4),
    _segmenter("torchvision_deeplab_v3_resnet101", "deeplabv3_resnet101_coco-586e9e4e.pth", 233.217, 67.4, 92.4),
    _trunk("vgg16", "vgg16-397923af.pth", 527.796, 71.592),
    _trunk("resnet18", "resnet18-f37072fd.pth", 44.661, 69.758),
    _trunk("resnet34", "resnet34-b627a593.pth", 83.275, 73.314),
    _trunk("resnet50", "resnet50-0676ba61.pth", 97.781, 76.130),
    _trunk("resnet101", "resnet101-63fe2227.pth", 170.511, 77.374),
    _trunk("resnet152", "resnet152-394f9c45.pth", 230.434, 78.312),
)

BERKELEY = "fcn.berkeleyvision.org: README.md, caffemodel-url of each model"
BERKELEY_LICENSE = "unrestricted use (BVLC model license), says fcn.berkeleyvision.org"
OPENCV = "opencv_extra testdata/dnn/download_models.py"  # its SHA-1


def _berkeley(
    name: str,
    network: str,
    file: str,
    labels: str,
    score: str | None,
    data: str,
    *,
    format: str,
    mean: tuple[float, ...] = BERKELEYS,
    digest: str | None = None,
    source: str = BERKELEY,
    folder: str = "",
) -> PublishedWeights:
    return PublishedWeights(
        name,
        file,
        network,
        format,
        addresses=(f"http://dl.caffe.berkeleyvision.org/{file}",),
        page=f"https://github.com/shelhamer/fcn.berkeleyvision.org/tree/master/{folder}",
        digest=digest,
        license=BERKELEY_LICENSE,
        score=score,
        data=data,
        labels=labels,
        mean=mean,
        deviation=(1.0,) * len(mean),
        source=source,
    )


def _on_seg11valid(mean_iou: float, more: str = "") -> str:
    return f"mean IoU {mean_iou} on seg11valid{more}"


_SBD = "VOC 2011 and SBD, without SBD val"
_NYUD = "NYUDv2 trainval"
_SIFT = "SIFT Flow trainval"
_CONTEXT = "PASCAL-Context train"
SIFT_FLOW: Triple = (108.353, 115.294, 114.578)  # siftflow_layers.py
CONTEXT: Triple = BVLC
NYUD: Triple = (92.318, 97.203, 116.190)  # nyud_layers.py, of the color
HHA: Triple = (132.431, 94.076, 118.477)

# scores of NYUDv2, SIFT Flow and Context are of the paper's own models (Long et al. 2015, tables 4–6), not of these
# files: the README gives none
_BERKELEY = (
    _berkeley(
        "fcn32s_vgg16_voc",
        "fcn32s_vgg16",
        "fcn32s-heavy-pascal.caffemodel",
        "voc2012",
        _on_seg11valid(63.6),
        _SBD,
        format="berkeley_fcn32s_vgg16",
        digest="sha1:05eb922d7829c39448f57e5ab9d8cd75d6c0be6d",
        source=f"{BERKELEY}; {OPENCV}",
        folder="voc-fcn32s",
    ),
    _berkeley(
        "fcn16s_vgg16_voc",
        "fcn16s_vgg16",
        "fcn16s-heavy-pascal.caffemodel",
        "voc2012",
        _on_seg11valid(65.0),
        _SBD,
        format="berkeley_fcn16s_vgg16",
        folder="voc-fcn16s",
    ),
    _berkeley(
        "fcn8s_vgg16_voc",
        "fcn8s_vgg16",
        "fcn8s-heavy-pascal.caffemodel",
        "voc2012",
        _on_seg11valid(65.5, ", 67.2 on VOC 2012 test"),
        _SBD,
        format="berkeley_fcn8s_vgg16",
        digest="sha1:c449ea74dd7d83751d1357d6a8c323fcf4038962",
        source=f"{BERKELEY}; {OPENCV}",
        folder="voc-fcn8s",
    ),
    _berkeley(
        "fcn8s_atonce_vgg16_voc",
        "fcn8s_atonce_vgg16",
        "fcn8s-atonce-pascal.caffemodel",
        "voc2012",
        _on_seg11valid(65.4),
        _SBD,
        format="berkeley_fcn8s_atonce_vgg16",
        folder="voc-fcn8s-atonce",
    ),
    _berkeley(
        "fcn32s_alexnet_voc",
        "fcn32s_alexnet",
        "fcn-alexnet-pascal.caffemodel",
        "voc2012",
        _on_seg11valid(48.0),
        _SBD,
        format="berkeley_fcn32s_alexnet",
        folder="voc-fcn-alexnet",
    ),
    _berkeley(
        "fcn32s_vgg16_nyud",
        "fcn32s_vgg16",
        "nyud-fcn32s-color-heavy.caffemodel",
        "nyud_v2",
        None,
        _NYUD,
        format="berkeley_nyud_color",
        mean=NYUD,
        folder="nyud-fcn32s-color",
    ),
    _berkeley(
        "fcn32s_vgg16_nyud_hha",
        "fcn32s_vgg16",
        "nyud-fcn32s-hha-heavy.caffemodel",
        "nyud_v2",
        None,
        f"{_NYUD}, HHA alone",
        format="berkeley_nyud_hha",
        mean=HHA,
        folder="nyud-fcn32s-hha",
    ),
    _berkeley(
        "fcn32s_rgb_hha_nyud",
        "fcn32s_rgb_hha",
        "nyud-fcn32s-color-hha-heavy.caffemodel",
        "nyud_v2",
        None,
        f"{_NYUD}, color and HHA",
        format="berkeley_nyud_color_hha",
        mean=(*NYUD, *HHA),
        folder="nyud-fcn32s-color-hha",
    ),
    *(
        _berkeley(
            f"fcn{stride}s_two_headed_sift_flow",
            f"fcn{stride}s_two_headed",
            f"siftflow-fcn{stride}s-heavy.caffemodel",
            "sift_flow",
            None,
            _SIFT,
            format=f"berkeley_sift_flow_{stride}s",
            mean=SIFT_FLOW,
            folder=f"siftflow-fcn{stride}s",
        )
        for stride in (32, 16, 8)
    ),
    *(
        _berkeley(
            f"fcn{stride}s_vgg16_context",
            f"fcn{stride}s_vgg16",
            f"pascalcontext-fcn{stride}s-heavy.caffemodel",
            "pascal_context",
            None,
            _CONTEXT,
            format=f"berkeley_context_{stride}s",
            mean=CONTEXT,
            folder=f"pascalcontext-fcn{stride}s",
        )
        for stride in (32, 16, 8)
    ),
)

_CAFFE_CLASSIFIERS = (
    PublishedWeights(
        "vgg16_ilsvrc",
        "VGG_ILSVRC_16_layers.caffemodel",
        "vgg16",
        "ilsvrc_vgg16",
        addresses=("http://www.robots.ox.ac.uk/~vgg/software/very_deep/caffe/VGG_ILSVRC_16_layers.caffemodel",),
        page="https://gist.github.com/ksimonyan/211839e770f7b538e2d8",
        digest="sha1:9363e1f6d65f7dba68c4f27a1e62105cdf6c4e24",
        license="see http://www.robots.ox.ac.uk/~vgg/research/very_deep/",
        data=_IMAGENET,
        classifier=True,
        mean=VGG,
        deviation=ONES,
        # address and license in the gist; the SHA-1 at OpenCV
        source=f"gist ksimonyan/211839e770f7b538e2d8; {OPENCV}",
    ),
    PublishedWeights(
        "alexnet_ilsvrc",
        "bvlc_reference_caffenet.caffemodel",
        "alexnet",
        "bvlc_caffenet",
        addresses=("http://dl.caffe.berkeleyvision.org/bvlc_reference_caffenet.caffemodel",),
        page="https://github.com/BVLC/caffe/tree/master/models/bvlc_reference_caffenet",
        digest="sha1:4c8d77deb20ea792f84eb5e6d0a11ca0a8660a46",
        license="unrestricted use",
        score="top-1 accuracy 57.4 on ImageNet's validation part, center crop",
        data=_IMAGENET,
        classifier=True,
        mean=BVLC,
        deviation=ONES,
        source="BVLC/caffe models/bvlc_reference_caffenet/readme.md",
    ),
    PublishedWeights(
        "googlenet_ilsvrc",
        "bvlc_googlenet.caffemodel",
        "googlenet",
        "bvlc_googlenet",
        addresses=("http://dl.caffe.berkeleyvision.org/bvlc_googlenet.caffemodel",),
        page="https://github.com/BVLC/caffe/tree/master/models/bvlc_googlenet",
        digest="sha1:405fc5acd08a3bb12de8ee5e23a96bec22f08204",
        license="unrestricted use",
        score="top-1 accuracy 68.7 on ImageNet's validation part, center crop",
        data=_IMAGENET,
        classifier=True,
        mean=GOOGLENET,
        deviation=ONES,
        source="BVLC/caffe models/bvlc_googlenet/readme.md",
    ),
    *(
        PublishedWeights(
            f"resnet{depth}_msra",
            f"ResNet-{depth}-model.caffemodel",
            f"resnet{depth}",
            f"msra_resnet{depth}",
            addresses=addresses,
            page="https://github.com/KaimingHe/deep-residual-networks",
            digest=digest,
            score=f"top-1 error {error} on ImageNet's validation part, center crop",
            data=_IMAGENET,
            classifier=True,
            mean=MSRA,
            deviation=ONES,
            options={"stride_in": "1x1", "stem_pool": "unpadded"},
            # the address at OpenCV, the SHA-1 of all three at MXNet
            source=f"KaimingHe/deep-residual-networks README.md; MXNet's caffe_converter/model_zoo.py; {OPENCV}",
        )
        for depth, error, digest, addresses in (
            (
                50,
                24.7,
                "sha1:b7c79ccc21ad0479cddc0dd78b1d20c4d722908d",
                ("https://dl.opencv.org/models/ResNet-50-model.caffemodel",),
            ),
            (101, 23.6, "sha1:1dbf5f493926bb9b6b3363b12d5133c0f8b78904", ()),
            (152, 23.0, "sha1:251edb93604ac8268c7fd2227a0f15144310e1aa", ()),
        )
    ),
)


def _dilation(
    name: str,
    file: str,
    mean: Triple,
    score: str,
    data: str,
    labels: str | None,
    classes: tuple[str, ...] | None = None,
) -> PublishedWeights:
    """The addresses are those of fyu/dilation, pretrained/download_*.sh."""
    return PublishedWeights(
        name,
        file,
        name.partition("_")[0],
        name,
        addresses=(f"http://dl.yf.io/dilation/models/{file}",),
        page="https://github.com/fyu/dilation",
        license="MIT",
        score=score,
        data=data,
        labels=labels,
        classes=classes,
        mean=mean,
        deviation=ONES,
        source="fyu/dilation README.md, pretrained/download_*.sh, datasets/*.json; Yu and Koltun 2016, §5 and appendix",
    )


# the order of the palettes in datasets/camvid.json and kitti.json, which are CamVid's colors
_ROAD_CLASSES = (
    *("Building", "Tree", "Sky", "Car", "SignSymbol", "Road"),
    *("Pedestrian", "Fence", "Pole", "Pavement", "Bicyclist"),
)

_DILATION = (
    _dilation(
        "dilation8_voc",
        "dilation8_pascal_voc.caffemodel",
        (116.52, 111.36, 102.93),
        "mean IoU 73.5 on VOC 2012 test, without a CRF",
        "VOC 2012, SBD, COCO",
        "voc2012",
    ),
    _dilation(
        "dilation8_camvid",
        "dilation8_camvid.caffemodel",
        (105.41212523, 108.77808759, 110.70313206),
        "mean IoU 65.3 on CamVid test",
        "CamVid",
        None,
        _ROAD_CLASSES,
    ),
    _dilation(
        "dilation7_kitti",
        "dilation7_kitti.caffemodel",
        (91.34692262, 95.55136972, 96.19429688),
        "mean IoU 59.2 on KITTI test",
        "KITTI",
        None,
        _ROAD_CLASSES,
    ),
    _dilation(
        "dilation10_cityscapes",
        "dilation10_cityscapes.caffemodel",
        (73.16, 82.91, 72.39),
        "mean IoU 67.1 on Cityscapes test, 68.7 on val",
        "Cityscapes",
        "cityscapes",
    ),
)

SEGNET_LICENSE = "CC BY-NC 4.0, personal and research use"


def _segnet(name: str, network: str, file: str, labels: str, data: str, format: str) -> PublishedWeights:
    return PublishedWeights(
        name,
        file,
        network,
        format,
        addresses=(f"http://mi.eng.cam.ac.uk/~agk34/resources/SegNet/{file}",),
        page="https://github.com/alexgkendall/SegNet-Tutorial/blob/master/Example_Models/segnet_model_zoo.md",
        license=SEGNET_LICENSE,
        data=data,
        labels=labels,
        mean=NOTHING,
        deviation=ONES,
        source="alexgkendall/SegNet-Tutorial Example_Models/segnet_model_zoo.md",
    )


# the zoo gives no scores; its driving demo and SUN RGB-D know classes of no data set here
_SEGNET = (
    *(
        _segnet(f"{name}_camvid", network, f"{name}_camvid.caffemodel", "camvid", "CamVid", f"{name}_camvid")
        for name, network in (
            ("segnet_basic", "segnet_basic"),
            ("bayesian_segnet", "bayesian_segnet"),
            ("bayesian_segnet_basic", "bayesian_segnet"),
        )
    ),
    _segnet(
        "bayesian_segnet_voc",
        "bayesian_segnet",
        "segnet_pascal.caffemodel",
        "voc2012",
        "VOC 2012, 224 × 224",
        "bayesian_segnet_pascal",
    ),
)

_DEEPLAB = (
    PublishedWeights(
        "deeplab_largefov_voc",
        "train2_iter_8000.caffemodel",
        "deeplab_largefov",
        "deeplab_largefov",
        addresses=("http://www.cs.jhu.edu/~alanlab/ccvl/DeepLab-LargeFOV/train2_iter_8000.caffemodel",),
        page="http://www.cs.jhu.edu/~alanlab/ccvl/DeepLab-LargeFOV/",
        score="mean IoU 70.3 on VOC 2012 test with its CRF, 62.25 on val without, of the paper's model",
        data="VOC 2012 and SBD, trainval",
        labels="voc2012",
        mean=DEEPLAB,
        deviation=ONES,
        # the address in third-party download scripts, with test.prototxt beside it
        source="third-party scripts that download it; Chen et al. 2015, table 1",
    ),
    PublishedWeights(
        "deeplab_v2_resnet101_aspp_voc",
        "deeplabv2_resnet101_msc-vocaug-20000.pth",
        "deeplab_v2_resnet101_aspp",
        "kazuto1011_deeplab_v2_resnet101",
        addresses=(
            "https://github.com/kazuto1011/deeplab-pytorch/releases/download/v1.0/deeplabv2_resnet101_msc-vocaug-20000.pth",
        ),
        page="https://github.com/kazuto1011/deeplab-pytorch",
        license="code MIT; for the weights none stated",
        score="mean IoU 76.65 on VOC 2012 val, 77.93 with its CRF",
        data="VOC 2012 and SBD, train; COCO before",
        labels="voc2012",
        mean=DEEPLAB,
        deviation=ONES,
        options={"multi_scale": True},
        source="kazuto1011/deeplab-pytorch README.md",
    ),
    PublishedWeights(
        "deeplab_v2_resnet101_aspp_voc_isht7",
        "MS_DeepLab_resnet_trained_VOC.pth",
        "deeplab_v2_resnet101_aspp",
        "isht7_deeplab_v2_resnet101",
        addresses=("https://data.vision.ee.ethz.ch/csergi/share/DEXTR/MS_DeepLab_resnet_trained_VOC.pth",),
        page="https://github.com/isht7/pytorch-deeplab-resnet",
        data="VOC 2012 and SBD, train; COCO before",
        labels="voc2012",
        mean=DEEPLAB,
        deviation=ONES,
        options={"multi_scale": True},
        source="third-party instructions that download it for DEXTR",
    ),
    PublishedWeights(
        "deeplab_v2_resnet101_aspp_voc_released",
        "deeplab_v2_resnet101_aspp_train_iter_20000.caffemodel",
        "deeplab_v2_resnet101_aspp",
        "deeplab_v2_resnet101_aspp_msc",
        page="http://liangchiehchen.com/projects/released/deeplab_aspp_resnet101/prototxt_and_model.zip "
        "(train_iter_20000.caffemodel in it)",
        score="mean IoU 76.35 on VOC 2012 val, 77.69 with its CRF",
        data="VOC 2012 and SBD, train; COCO before",
        labels="voc2012",
        mean=DEEPLAB,
        deviation=ONES,
        options={"multi_scale": True},
        source="kazuto1011/deeplab-pytorch, a script that downloads it, README.md",
    ),
)

# PSPNet's are on Google Drive, which has no plain address
_BROUGHT = (
    *(
        PublishedWeights(
            name,
            file,
            network,
            name,
            page="https://github.com/hszhao/PSPNet#usage",
            score=score,
            data=data,
            labels=labels,
            mean=VGG,
            deviation=ONES,
            source="hszhao/PSPNet README.md",
        )
        for name, file, network, score, data, labels in (
            (
                "pspnet_resnet50_ade20k",
                "pspnet50_ADE20K.caffemodel",
                "pspnet_resnet50",
                "mean IoU 41.68, pixel accuracy 80.04 on ADE20K val, one scale",
                "ADE20K",
                "ade20k",
            ),
            (
                "pspnet_resnet101_voc",
                "pspnet101_VOC2012.caffemodel",
                "pspnet_resnet101",
                "mean IoU 85.41 on VOC 2012 test, several scales",
                "VOC 2012, SBD, COCO",
                "voc2012",
            ),
            (
                "pspnet_resnet101_cityscapes",
                "pspnet101_cityscapes.caffemodel",
                "pspnet_resnet101",
                "mean IoU 79.70, pixel accuracy 96.38 on Cityscapes val, one scale",
                "Cityscapes",
                "cityscapes",
            ),
        )
    ),
    PublishedWeights(
        "crfrnn_fcn8s_voc",
        "TVG_CRFRNN_COCO_VOC.caffemodel",
        "crfrnn_fcn8s",
        "crfrnn_fcn8s",
        # a shortened address, http://goo.gl/j7PrPZ, of a service that has ended
        page="https://github.com/torrvision/crfasrnn",
        digest="sha1:bfda5c5149d566aa56695789fa9a08e7a7f3070a",
        license="non-commercial; else ask crfasrnn@gmail.com",
        score="mean IoU 73.0 on 346 pictures of VOC 2012 val",
        data="VOC 2012, SBD, COCO",
        labels="voc2012",
        mean=VGG,
        deviation=ONES,
        source="torrvision/crfasrnn, the Caffe model zoo's page TVG_CRFRNN_COCO_VOC",
    ),
)

# wkentaro/pytorch-fcn: Berkeley's files as .pth, on Google Drive; MD5 and score in torchfcn/models/*.py and its README
_PORTS = tuple(
    PublishedWeights(
        f"{network}_voc_wkentaro",
        file,
        network,
        f"wkentaro_{network}",
        page="https://github.com/wkentaro/pytorch-fcn",
        digest=f"md5:{md5}",
        score=_on_seg11valid(score),
        data=_SBD,
        labels="voc2012",
        mean=BERKELEYS,
        deviation=ONES,
        source="wkentaro/pytorch-fcn torchfcn/models, README.md",
    )
    for network, file, md5, score in (
        ("fcn32s_vgg16", "fcn32s_from_caffe.pth", "8acf386d722dc3484625964cbe2aba49", 63.63),
        ("fcn16s_vgg16", "fcn16s_from_caffe.pth", "991ea45d30d632a01e5ec48002cac617", 65.01),
        ("fcn8s_vgg16", "fcn8s_from_caffe.pth", "dbd9bbb3829a3184913bccc74373afbb", 65.51),
        ("fcn8s_atonce_vgg16", "fcn8s-atonce_from_caffe.pth", "bfed4437e941fef58932891217fe6464", 65.40),
    )
)


def _by_name(records: Iterable[PublishedWeights]) -> dict[str, PublishedWeights]:
    return {record.name: record for record in records}


CATALOGUE: dict[str, PublishedWeights] = _by_name(
    (*_TORCHVISION, *_BERKELEY, *_CAFFE_CLASSIFIERS, *_DILATION, *_SEGNET, *_DEEPLAB, *_BROUGHT, *_PORTS)
)
"""{name: what is known of a file of published weights}."""


def list_weights() -> list[str]:
    """The names of published weights, torchvision's first."""
    return list(CATALOGUE)


def megabytes(size: int) -> str:
    """Bytes in millions, as few digits as tell something.

    >>> megabytes(553_432_081), megabytes(46_830_000), megabytes(2_345)
    ('553', '47', '0.002')
    """
    return f"{size / 1e6:.0f}" if size >= 1e6 else f"{size / 1e6:.1g}"
