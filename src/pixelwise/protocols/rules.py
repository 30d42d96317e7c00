"""PROTOCOLS: how each paper's evaluator counts and takes means, under the name that `--protocol` takes.

All sum one confusion matrix over the whole set, at the targets' own sizes; void is never counted. They differ in what a
class counts that nowhere occurs, in what becomes of predictions that are no class, and in which classes are in the
means. Where every class occurs and every prediction is a class, fcn, voc, refinenet, torchvision, camvid and
camvid_segnet give the same mean IoU, and semseg the same within 1e-10.
Source: specification §3.1, §3.2, §2.3, §2.7, §2.10.
"""

from pixelwise.errors import unknown_name
from pixelwise.protocols.accumulate import Accumulator, ChallengeAccumulator, Protocol
from pixelwise.protocols.cityscapes import CityscapesAccumulator

_VOID = "void pixels are not counted"
_FCN = "Long et al. 2015, §5; score.py of fcn.berkeleyvision.org"
_OVER_OCCURRING = "means over the classes that occur in targets or predictions"

PROTOCOLS: dict[str, Protocol] = {
    p.name: p
    for p in (
        Protocol(
            "fcn",
            _FCN,
            "pixels whose target is one of the K classes, any other value is void",
            f"{_OVER_OCCURRING}; frequency-weighted IoU over those in targets",
            strange_targets="dropped",
        ),
        Protocol(
            "voc",
            "VOCevalseg of the PASCAL VOC devkit; mean accuracy as in DeepLab's MyVOCevalseg",
            f"{_VOID}; a prediction that is no class, or of another size, is an error",
            "mean IoU over all classes, background too: not-a-number where one occurs nowhere; mean accuracy over the "
            "classes in targets",
            absent="not a number",
        ),
        Protocol(
            "cityscapes",
            "Cordts et al. 2016, §3; evalPixelLevelSemanticLabeling of cityscapesScripts",
            "label ids; pixels of ignored ids are never a false positive, predictions of ignored ids are misses",
            "means over the evaluated classes that occur, over 7 categories, and with instances weighted by mean size "
            "over own size",
            extra=(
                "mean_category_iou",
                "mean_instance_iou",
                "mean_category_instance_iou",
            ),
            accumulator_type=CityscapesAccumulator,
        ),
        Protocol(
            "sift_flow",
            _FCN + "; siftflow_layers",
            f"{_VOID}; the geometric head is counted by itself",
            "means over 30 of 33 classes, frequency-weighted IoU by their pixels: cow, desert and moon are in no test "
            "picture; the 3 geometric classes by pixel accuracy",
            extra=("geometric_pixel_accuracy",),
            num_classes=33,
            heads=(("geometric", 3),),
            strange_targets="dropped",
            left_out=("cow", "desert", "moon"),
        ),
        Protocol(
            "context60",
            "Long et al. 2015, appendix B; Mottaghi et al. 2014",
            "every pixel: 59 classes, and background for all others",
            f"{_OVER_OCCURRING}, background too",
            num_classes=60,
            strange_targets="dropped",
        ),
        Protocol(
            "context59",
            "Mottaghi et al. 2014; as mmsegmentation's pascal_context_59",
            "pixels of the 59 classes; background is void in targets and a miss in predictions",
            f"{_OVER_OCCURRING}, without background",
            num_classes=59,
            strange_targets="dropped",
            ignored=("background",),
        ),
        Protocol(
            "context33",
            "Long et al. 2015, appendix B; that background is void is UNVERIFIED",
            "pixels of the 33 easier classes; background is void in targets and a miss in predictions",
            f"{_OVER_OCCURRING}, without background",
            num_classes=33,
            strange_targets="dropped",
            ignored=("background",),
        ),
        Protocol(
            "camvid_segnet",
            "compute_test_results of SegNet-Tutorial",
            f"{_VOID}; predictions of a 12th class count for the pixel accuracy alone",
            "sums over classes divided by 11; a class that occurs nowhere counts as 0",
            num_classes=11,
            strange_predictions="vanish",
            absent="zero",
        ),
        Protocol(
            "camvid",
            "Badrinarayanan et al. 2017, §4; the mean over 11 classes without the script's exceptions",
            f"{_VOID}; predictions of a 12th class are misses",
            f"{_OVER_OCCURRING}, of 11",
            num_classes=11,
            strange_predictions="missed",
        ),
        Protocol(
            "ade20k",
            "MIT scene parsing challenge 2016, evaluationCode of sceneparsing",
            "pixels whose target is one of 150 classes (0 in the files is void); predictions of no class are misses",
            "mean IoU over all 150, 0 where one occurs nowhere; the challenge's score is (mean IoU + pixel "
            "accuracy) / 2",
            extra=("challenge_score",),
            num_classes=150,
            strange_predictions="missed",
            absent="zero",
            epsilon=2.0**-52,
            accumulator_type=ChallengeAccumulator,
        ),
        Protocol(
            "refinenet",
            "Lin et al. 2017; evaluate_predict_results of the authors' repository",
            f"{_VOID}",
            "means over the classes that are in targets",
            absent="needs target",
        ),
        Protocol(
            "semseg",
            "Zhao et al. 2017; intersectionAndUnion of hszhao/semseg",
            f"{_VOID}; predictions of no class are misses",
            "means over all K classes of I / (U + 1e-10): 0 where one occurs nowhere",
            strange_predictions="missed",
            absent="zero",
            epsilon=1e-10,
        ),
        Protocol(
            "torchvision",
            "ConfusionMatrix of torchvision's references/segmentation",
            "pixels whose target is one of the K classes, any other value is void",
            "mean IoU over all K classes: not-a-number where one occurs nowhere; mean accuracy over those in targets",
            strange_targets="dropped",
            absent="not a number",
        ),
    )
}
"""{name: protocol}"""

USUAL: dict[str, str] = {
    "voc2011": "fcn",
    "seg11valid": "fcn",
    "voc2012": "voc",
    "sbd": "voc",
    "voc2012_trainaug": "voc",
    "person_part": "voc",
    "pascal_context": "context60",
    "cityscapes": "cityscapes",
    "nyud_v2": "fcn",
    "sift_flow": "sift_flow",
    "coco": "torchvision",
    "camvid": "camvid_segnet",
    "ade20k": "ade20k",
}
"""{data set: the protocol of the papers that introduced it or report it}"""


def protocol(name: str) -> Protocol:
    """The protocol of this name.

    Raises:
        UnknownName: there is none.
    """
    if name not in PROTOCOLS:
        raise unknown_name("protocol", name, PROTOCOLS)
    return PROTOCOLS[name]


__all__ = ["PROTOCOLS", "USUAL", "Accumulator", "Protocol", "protocol"]
