"""The formats of all families of released files, by name."""

from pixelwise.weights import (
    classifier_formats,
    deeplab_formats,
    dilation_formats,
    fcn_formats,
    port_formats,
    pspnet_formats,
    segnet_formats,
    torchvision_formats,
)
from pixelwise.weights.formats import WeightFormat

WEIGHT_FORMATS: dict[str, WeightFormat] = {
    **fcn_formats.FORMATS,
    **classifier_formats.FORMATS,
    **deeplab_formats.FORMATS,
    **dilation_formats.FORMATS,
    **pspnet_formats.FORMATS,
    **segnet_formats.FORMATS,
    **torchvision_formats.FORMATS,
    **port_formats.FORMATS,
}
"""{name: format}; a new family adds its `FORMATS` here."""
