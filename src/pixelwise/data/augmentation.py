"""What may vary from one view of a picture to the next, and what each paper lets vary.

`data.augment` draws the views.
"""

from collections.abc import Mapping
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator


class Augmentation(BaseModel):
    """What may vary from one view of a picture to the next.

    Attributes:
        flip_horizontal, flip_vertical: mirror with probability ½.
        quarter_turns: turn by a random multiple of 90°, for pictures without an up and down.
        scale: (low, high) factor of the size; 1 leaves it.
        scale_drawn: "log": doubling is as likely as halving; "linear": all factors are equally likely.
        scales: the factors, one of which is drawn, in place of `scale`; DeepLab v2's {0.5, 0.75, 1, 1.25, 1.5}.
        short_side: (low, high) pixels that the factor may make of the picture's shorter side; RefineNet's 450–1100.
        stretch: the two axes may differ by up to this factor; 1 keeps the aspect.
        rotation: largest angle in degrees.
        rotation_probability: of turning at all.
        elastic: deviation in pixels of the displacements on a 3 × 3 grid over the crop (U-Net: 10); 0 for none.
        jitter: the crop lies in the picture's middle, moved by up to so many pixels of the picture in each direction
            (FCN: 32); None: it lies anywhere.
        overhang: share of half a crop by which it may reach over the picture's edge, so that edges are seen as often
            as the rest; 0 keeps it inside where it fits, as the papers do.
        focus_spread: how far from the crop's middle the pixel of a class-centered crop may lie, in sides of the crop;
            0 puts it in the middle (RefineNet).
        gamma: largest factor of the exponent of the tone curve between the picture's darkest and brightest pixel.
        contrast: largest factor of the deviation from the mean; 1 leaves it.
        brightness, color: largest shift of all channels together, and of each alone, in the picture's deviations.
        grey: probability of mixing the channels into one grey.
        invert: probability of the negative.
        noise: largest deviation of added noise, in the picture's deviations.
        blur: largest deviation of a Gaussian blur, in pixels.
        blur_kernel: odd side in pixels of a fixed Gaussian kernel instead, as OpenCV makes it from its side alone; 5
            has the weights 1 4 6 4 1 (PSPNet's release); 0 for none.
        blur_probability: of blurring at all.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    flip_horizontal: bool = True
    flip_vertical: bool = False
    quarter_turns: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    scale_drawn: Literal["log", "linear"] = "log"
    scales: tuple[float, ...] = ()
    short_side: tuple[float, float] | None = None
    stretch: float = Field(1.0, ge=1)
    rotation: float = Field(0.0, ge=0, le=180)
    rotation_probability: float = Field(1.0, ge=0, le=1)
    elastic: float = Field(0.0, ge=0)
    jitter: int | None = Field(None, ge=0)
    overhang: float = Field(0.25, ge=0, lt=1)
    focus_spread: float = Field(0.4, ge=0, le=0.4)
    gamma: float = Field(1.0, ge=1)
    contrast: float = Field(1.0, ge=1)
    brightness: float = Field(0.0, ge=0)
    color: float = Field(0.0, ge=0)
    grey: float = Field(0.0, ge=0, le=1)
    invert: float = Field(0.0, ge=0, le=1)
    noise: float = Field(0.0, ge=0)
    blur: float = Field(0.0, ge=0)
    blur_kernel: int = Field(0, ge=0)
    blur_probability: float = Field(1.0, ge=0, le=1)

    @property
    def tones(self) -> bool:
        """Whether anything but the geometry varies."""
        factors = self.gamma, self.contrast
        shares = self.brightness, self.color, self.grey, self.invert, self.noise, self.blur, self.blur_kernel
        return any(factor != 1 for factor in factors) or any(shares)

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if not 0 < self.scale[0] <= self.scale[1]:
            raise ValueError(f"scale is a low and a high factor above 0, got {self.scale}")
        if min(self.scales, default=1) <= 0:
            raise ValueError(f"scales are factors above 0, got {self.scales}")
        if self.scales and self.scale != (1.0, 1.0):
            raise ValueError(f"factors are drawn from scale or from scales, got {self.scale} and {self.scales}")
        if self.short_side and not 0 < self.short_side[0] <= self.short_side[1]:
            raise ValueError(f"short_side is a low and a high number of pixels above 0, got {self.short_side}")
        if self.blur_kernel % 2 == 0 and self.blur_kernel:
            raise ValueError(f"blur_kernel is odd, or 0 for none, got {self.blur_kernel}")
        if self.blur_kernel and self.blur:
            raise ValueError(f"a picture is blurred by blur or by blur_kernel, got {self.blur} and {self.blur_kernel}")
        return self


_NONE = Augmentation(flip_horizontal=False, overhang=0)
_MIRROR = Augmentation(overhang=0)
_PSPNET = Augmentation(scale=(0.5, 2.0), scale_drawn="linear", rotation=10.0, overhang=0)

PAPER_AUGMENTATIONS: Mapping[str, Augmentation] = {
    # Long et al. 2015, §4.3: mirroring, and "jittering" by up to 32 pixels; it gave no noticeable gain
    "fcn": Augmentation(jitter=32, overhang=0),
    # the authors' prototxts: whole pictures as they are (spec, networks-2014-2016 §2.5)
    "fcn_released": Augmentation(flip_horizontal=False, jitter=0, overhang=0),
    # Ronneberger et al. 2015, §3.1: shift, rotation, elastic deformation (3 × 3 grid, 10 pixels), gray values; with
    # BorderWeights. How far they turn and how gray values vary is UNVERIFIED: 180°, contrast and brightness here
    "unet": Augmentation(flip_vertical=True, rotation=180.0, elastic=10.0, contrast=1.25, brightness=0.15, overhang=0),
    # the authors' prototxts: none (spec, networks-2014-2016 §3)
    "segnet": _NONE,
    # Chen et al. 2015: random crop and mirror (spec §5.4)
    "deeplab_v1": _MIRROR,
    # Yu, Koltun 2016: random crop and mirror (spec §4.4)
    "dilation": _MIRROR,
    # Chen et al. 2016: scales 0.5–1.5; in practice one of these five (spec §5.4, from the ports' notes)
    "deeplab_v2": Augmentation(scales=(0.5, 0.75, 1.0, 1.25, 1.5), overhang=0),
    # Lin et al. 2017, the authors' code: scales 0.7:0.1:1.3, mirror, the crop's middle on a pixel of a class that the
    # picture has (Batches: class_crops=1, class_from="picture"), shorter side 450–1100
    "refinenet": Augmentation(
        scales=(0.7, 0.8, 0.9, 1.0, 1.1, 1.2, 1.3), short_side=(450, 1100), focus_spread=0, overhang=0
    ),
    # Zhao et al. 2017, §5: mirror, 0.5–2; on ADE20K and VOC ±10° and Gaussian blur, whose deviation is UNVERIFIED
    "pspnet": _PSPNET.model_copy(update={"blur": 1.1}),
    "pspnet_cityscapes": _PSPNET.model_copy(update={"rotation": 0.0}),
    # the authors' semseg: ±10° and a blur of 5 × 5, each for half of the pictures
    "pspnet_semseg": _PSPNET.model_copy(
        update={"rotation_probability": 0.5, "blur_kernel": 5, "blur_probability": 0.5}
    ),
    # Chen et al. 2017, §4: mirror, 0.5–2; the authors' code takes steps of 0.25
    "deeplab_v3": Augmentation(scales=(0.5, 0.75, 1.0, 1.25, 1.5, 1.75, 2.0), overhang=0),
}
"""{paper: what it varies}, by year. Crop sizes stand in the recipes; all pad with the mean and void.

Differences: where the picture is smaller than the crop it lies anywhere in it, not at the top left (DeepLab), and a
blur comes after the padding. How often PSPNet draws which factor of 0.5–2 (here all alike) is UNVERIFIED. FCN moves the
picture in a crop that holds it whole. Dilation's reflected border belongs to its network.
"""
