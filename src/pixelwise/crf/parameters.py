"""The settings of a dense CRF, and those that were released with the DeepLab models."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Self, get_args

from pixelwise.crf.arrays import is_real, shown
from pixelwise.crf.reference import Normalization
from pixelwise.errors import BadOption


@dataclass(frozen=True, kw_only=True)
class CRFParameters:
    """Two Gaussians, one of position and color, one of position (DeepLab v1, equation 3).

    Attributes:
        bilateral_weight: w1, reward for the label of near pixels of like color; 0 switches the term off.
        bilateral_sigma_pixels: σα, in pixels of the image at its full size.
        bilateral_sigma_color: σβ, in 0–255.
        spatial_weight: w2, reward for the label of near pixels; 0 switches the term off.
        spatial_sigma_pixels: σγ, in pixels.
        normalization: of both filters, see `reference.gaussian_kernel`. DeepLab's binaries use "after", pydensecrf
            and the programs built on it "symmetric".

    Raises:
        BadOption: a weight is below 0, a width is not above 0, either is not finite, or no such normalization.
    """

    bilateral_weight: float = 4.0
    bilateral_sigma_pixels: float = 67.0
    bilateral_sigma_color: float = 3.0
    spatial_weight: float = 3.0
    spatial_sigma_pixels: float = 3.0
    normalization: Normalization = "symmetric"

    def __post_init__(self) -> None:
        for name in (field.name for field in fields(self) if field.name != "normalization"):
            value = getattr(self, name)
            if not is_real(value):
                raise BadOption(f"{name} is {shown(value)}: expected a number")
            value = float(value)
            if value < 0 or (value == 0 and "sigma" in name):
                raise BadOption(
                    f"{name} is {value:g}: expected more than 0{'' if 'sigma' in name else ', or 0 for off'}"
                )
            object.__setattr__(self, name, value)
        check_normalization(self.normalization)

    def to_record(self) -> dict[str, Any]:
        """The settings as plain numbers and strings, for a model file."""
        return asdict(self)

    @classmethod
    def from_record(cls, record: Mapping[str, Any]) -> Self:
        """What `to_record` gave.

        Raises:
            BadOption: a name is unknown or a value impossible.
        """
        known = [field.name for field in fields(cls)]
        for name in record:
            if name not in known:
                raise BadOption(f"CRFParameters has no {name!r}: expected {', '.join(known)}")
        return cls(**record)


def check_normalization(normalization: object) -> None:
    """Raise BadOption unless it is one of the four."""
    if not (isinstance(normalization, str) and normalization in get_args(Normalization)):
        raise BadOption(
            f"normalization is {shown(normalization)}: expected one of {', '.join(get_args(Normalization))}"
        )


def _deeplab(w1: float, sigma_alpha: float, sigma_beta: float, w2: float, sigma_gamma: float) -> CRFParameters:
    return CRFParameters(
        bilateral_weight=w1,
        bilateral_sigma_pixels=sigma_alpha,
        bilateral_sigma_color=sigma_beta,
        spatial_weight=w2,
        spatial_sigma_pixels=sigma_gamma,
        normalization="after",
    )


# Values released with each model, from a table of the official model pages in a third party's library (spec,
# networks-2014-2016 §6.1): a secondary source, UNVERIFIED, but for the first two. v1's "DeepLab" is `deeplab_4x4`; for
# `deeplab_7x7` and `deeplab_4x4_rate8` no values are known, they get the same. v2's are of one VGG-16 and one
# ResNet-101; all fields of view get them.
PRESETS: dict[str, CRFParameters] = {
    "deeplab_code": _deeplab(5, 70, 5, 3, 3),  # defaults of the authors' dense_inference.cpp
    "deeplab_script": _deeplab(4, 49, 5, 3, 3),  # the authors' run_densecrf.sh
    "deeplab_7x7": _deeplab(5, 50, 10, 3, 3),
    "deeplab_4x4": _deeplab(5, 50, 10, 3, 3),
    "deeplab_4x4_rate8": _deeplab(5, 50, 10, 3, 3),
    "deeplab_largefov": _deeplab(4, 121, 5, 3, 3),
    "deeplab_msc_largefov": _deeplab(4, 83, 5, 3, 3),
    "deeplab_v2_vgg16_largefov": _deeplab(4, 65, 3, 2, 2),
    "deeplab_v2_vgg16_aspp_s": _deeplab(4, 65, 3, 2, 2),
    "deeplab_v2_vgg16_aspp_l": _deeplab(4, 65, 3, 2, 2),
    "deeplab_v2_resnet101_largefov": _deeplab(4, 67, 3, 3, 1),
    "deeplab_v2_resnet101_aspp": _deeplab(4, 67, 3, 3, 1),
    "pydensecrf_example": CRFParameters(  # its inference.py: 5 steps, labels of probability 0.7
        bilateral_weight=10,
        bilateral_sigma_pixels=80,
        bilateral_sigma_color=13,
        spatial_weight=3,
        spatial_sigma_pixels=3,
    ),
}
"""{name: the settings that a paper or its code used}."""
