"""Dilation's released Caffe files: the front ends, and the networks with a context module.

| format                  | file                      | our network                  | front end's last |
| ----------------------- | ------------------------- | ---------------------------- | ---------------- |
| `dilation_frontend_voc` | dilated_convolution_front | `dilation_frontend`          | fc-final         |
| `dilation_frontend`     | first stages of the rest  | `dilation_frontend`          | final            |
| `dilation8_voc`         | dilation8_pascal_voc      | `dilation8`                  | fc-final         |
| `dilation8_camvid`      | dilation8_camvid          | `dilation8(context="basic")` | final            |
| `dilation7_kitti`       | dilation7_kitti           | `dilation7`                  | final            |
| `dilation10_cityscapes` | dilation10_cityscapes     | `dilation10`                 | final            |

Cityscapes' file holds its last upsampling as a deconvolution of 16 × 16 taps for each class by itself, which must be
the bilinear one. No file was published for the front ends of urban scenes; their names follow from the deploy files.
Whether CamVid's classes stand in SegNet's order is UNVERIFIED, so that format names no labels, as KITTI's does not.

Source: spec, networks 2014–2016, §4.1, §4.2, §4.4 (means, BGR there); `models/*_deploy.prototxt` of fyu/dilation.
"""

from typing import Any

from torch import nn

from pixelwise.weights.fcn_formats import less
from pixelwise.weights.fixed import bilinear_kernel
from pixelwise.weights.formats import Tensors, WeightFormat, by_leaf, classes_of, filters_of

VOC_MEAN = (116.52, 111.36, 102.93)  # RGB, as all means here
CITYSCAPES_MEAN = (73.16, 82.91, 72.39)
CAMVID_MEAN = (105.41212523, 108.77808759, 110.70313206)
KITTI_MEAN = (91.34692262, 95.55136972, 96.19429688)
UPSAMPLE_TAPS = 16


def cityscapes_upsampling(network: nn.Module) -> Tensors:
    """The deconvolution that `dilation10` does without a parameter: stride 8, padding 4, a group for each class."""
    classes = network.get_submodule("context.ctx_final").get_parameter("weight").shape[0]
    return {"ctx_upsample.weight": bilinear_kernel((classes, 1, UPSAMPLE_TAPS, UPSAMPLE_TAPS))}


def camvid_options(tensors: Tensors) -> dict[str, Any]:
    """The context module of as many channels as classes."""
    return {"num_classes": filters_of(tensors, "ctx_final"), "context": "basic"}


FORMATS: dict[str, WeightFormat] = {
    "dilation_frontend_voc": WeightFormat(
        name="dilation_frontend_voc",
        model="dilation_frontend",
        source="Yu and Koltun 2016, dilated_convolution_front; networks-2014-2016 §4.1",
        layers=by_leaf({"fc_final": "fc-final"}),
        normalization=less(*VOC_MEAN),
        labels="voc2012",
        options=classes_of("fc-final"),
    ),
    "dilation_frontend": WeightFormat(
        name="dilation_frontend",
        model="dilation_frontend",
        source="Yu and Koltun 2016, front ends of urban scenes (no file published); networks-2014-2016 §4.1",
        layers=by_leaf({"fc_final": "final"}),
        options=classes_of("final"),
    ),
    "dilation8_voc": WeightFormat(
        name="dilation8_voc",
        model="dilation8",
        source="Yu and Koltun 2016, dilation8_pascal_voc; networks-2014-2016 §4.2",
        layers=by_leaf({"fc_final": "fc-final"}),
        normalization=less(*VOC_MEAN),
        labels="voc2012",
        options=classes_of("ct_final"),
    ),
    "dilation8_camvid": WeightFormat(
        name="dilation8_camvid",
        model="dilation8",
        source="Yu and Koltun 2016, dilation8_camvid; networks-2014-2016 §4.2; its order of classes is UNVERIFIED",
        layers=by_leaf(),
        normalization=less(*CAMVID_MEAN),
        options=camvid_options,
    ),
    "dilation7_kitti": WeightFormat(
        name="dilation7_kitti",
        model="dilation7",
        source="Yu and Koltun 2016, dilation7_kitti; networks-2014-2016 §4.2",
        layers=by_leaf(),
        normalization=less(*KITTI_MEAN),
        options=classes_of("ctx_final"),
    ),
    "dilation10_cityscapes": WeightFormat(
        name="dilation10_cityscapes",
        model="dilation10",
        source="Yu and Koltun 2016, dilation10_cityscapes; networks-2014-2016 §4.2",
        layers=by_leaf(),
        fixed=cityscapes_upsampling,
        normalization=less(*CITYSCAPES_MEAN),
        labels="cityscapes",
        options=classes_of("ctx_final"),
    ),
}
