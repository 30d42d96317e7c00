"""CRF-RNN: FCN-8s with the mean field of a fully connected CRF as its last layers, trained end to end.

Zheng, Jayasumana, Romera-Paredes, Vineet, Su, Du, Huang, Torr: Conditional Random Fields as Recurrent Neural Networks,
ICCV 2015 (arXiv 1502.03240), §4–6, Figures 2 and 3. Reference code: torrvision/crfasrnn,
`TVG_CRFRNN_new_deploy.prototxt`, whose names stand here, and torrvision/caffe. Backbone: `backbones/vgg.py`; no ResNet.

134 378 207 parameters for 21 classes: FCN-8s's 134 362 751; 7 077 and 7 056 of the 2× upsampling, which is learned
here, from the bilinear kernel on: `score2` with a bias, `score4` without; and 3·21² = 1 323 of the CRF.

The authors train FCN-8s first and then all of it, one picture a step, at the fixed rate 1e-13 of a loss that is summed
over the pixels, momentum 0.99, weight decay 5e-4; the rates of `spatial` and `bilateral` are 10 000 times as large,
that of `compatibility` 1 000 times. All pixels but void count.

**Differences:**
- the released networks fill pictures up with zeros to 500 × 500 at right and bottom, after the mean is taken away, and
  the filled pixels take part in the CRF. Here the network runs at the picture's own size, with FCN-8s's borders and
  crops (5, 9 and 31), and the CRF sees the picture alone.
- the last upsampling is fixed in the released files, too; here it is no parameter, see `fcn.py`. In the files it has
  112 896 more numbers.
- 5 steps in training and 10 in evaluation are the paper's; the released training file has 10 (`training_steps=10`).
- the paper describes one weight of each filter for each class; the files have matrices, and so has this.
- score layers start at zero, and the backbone at He's initialization, as in `fcn.py`; in the paper at FCN-8s's.
- `padding="same"` is not the paper's, see `fcn.py`.
"""

from typing import ClassVar

from torch import Tensor, nn

from pixelwise.backbones.vgg import VGG16
from pixelwise.crf.mean_field import MeanField
from pixelwise.layers.channels import check_channels
from pixelwise.layers.head import Head, full_size
from pixelwise.layers.resample import Resampling
from pixelwise.models.fcn_streams import Alignment, Padding, padded_vgg16, score, three_streams, upsampling
from pixelwise.models.paper import Paper

PAPER = Paper("Zheng et al.", "Conditional Random Fields as Recurrent Neural Networks", 2015, "arXiv 1502.03240")


class CRFRNN(nn.Module):
    """FCN-8s and then mean field: (N, C, H, W) → (N, K, H, W) logits (Figure 3).

    The CRF compares the colors of `images`, in levels of 0–255.

    Attributes:
        takes_levels: the normalization must have deviation 1, and be the same for all pictures.
    """

    takes_levels: ClassVar[bool] = True

    def __init__(self, backbone: VGG16, num_classes: int, alignment: Alignment, mean_field: MeanField) -> None:
        super().__init__()
        self.backbone = backbone
        self.score_fr = score(backbone.channels.fc7, num_classes)
        self.score2 = upsampling(num_classes, learned=True, bias=True)
        self.score_pool4 = score(backbone.channels.pool4, num_classes)
        self.score4 = upsampling(num_classes, learned=True)
        self.score_pool3 = score(backbone.channels.pool3, num_classes)
        self.alignment = alignment
        self.mean_field = mean_field

    def heads(self, images: Tensor) -> dict[str, Head]:
        """One head at the picture's size."""
        fused = three_streams(
            self.backbone(images),
            self.score_fr,
            self.score2,
            self.score_pool4,
            self.score4,
            self.score_pool3,
            self.alignment,
        )
        unary = self.alignment.upscore8(fused, images).full_size()
        size = images.shape[-2], images.shape[-1]
        return {"logits": Head(self.mean_field(unary, images), Resampling.identity(size))}

    def forward(self, images: Tensor) -> Tensor:
        """(N, C, H, W) → (N, K, H, W) float32 logits, for every H and W from 1 up."""
        return full_size(self.heads(images))


def crfrnn_fcn8s(
    *,
    num_classes: int,
    in_channels: int = 3,
    width: float = 1.0,
    padding: Padding = "released",
    training_steps: int = 5,
    steps: int = 10,
) -> CRFRNN:
    """CRF-RNN on FCN-8s; 134 378 207 parameters for 21 classes.

    Args:
        in_channels: all of them are colors to the CRF.
        width: times VGG-16's channels.
        padding: "released", conv1_1 pads 100; or "same", conv1_1 pads 1 and fc6 pads 3.
        training_steps, steps: of mean field, in training and in evaluation.

    Raises:
        BadOption: a number or a word that no network can have.
    """
    check_channels(num_classes=num_classes, in_channels=in_channels, width=width)
    backbone, alignment = padded_vgg16(padding, in_channels=in_channels, width=width)
    mean_field = MeanField(num_classes, training_steps=training_steps, steps=steps)
    return CRFRNN(backbone, num_classes, alignment, mean_field)
