"""The fully connected end of AlexNet's and VGG's classifiers, and its check of the map's size."""

from collections import OrderedDict

from torch import Tensor, nn

from pixelwise.errors import ShapeError


class FlattenMap(nn.Flatten):
    """(N, C, h, w) → (N, C·h·w), channel by channel as in Caffe, of maps of one size alone.

    A layer of its own, so that what makes a classifier convolutional removes the check together with the flattening.

    Args:
        size: (h, w) of the map.
        pictures: the least and the largest side of pictures that give it, and the paper's.
    """

    def __init__(self, size: tuple[int, int], *, pictures: tuple[int, int, int]) -> None:
        super().__init__()
        self.size, self.pictures = size, pictures

    def forward(self, values: Tensor) -> Tensor:
        """Flatten.

        Raises:
            ShapeError: the map has another size.
        """
        if tuple(values.shape[-2:]) != self.size:
            least, largest, published = self.pictures
            raise ShapeError(
                f"the fully connected layer takes a map of {self.size[0]} × {self.size[1]}, got "
                f"{values.shape[-2]} × {values.shape[-1]}; crop or resize the pictures to {published} × {published} "
                f"(sides of {least} to {largest} do)"
            )
        return super().forward(values)

    def extra_repr(self) -> str:
        """What `print(network)` shows."""
        return f"{self.size[0]} × {self.size[1]}"


def fully_connected(channels: int, fc: int, num_classes: int, flatten: FlattenMap) -> nn.Sequential:
    """fc6, fc7 and fc8 with their ReLUs and dropouts: (N, C, h, w) → (N, K).

    Args:
        channels: C of the map.
        fc: the width of fc6 and fc7, 4096 as published.
    """
    height, width = flatten.size
    return nn.Sequential(
        OrderedDict(
            flatten=flatten,
            fc6=nn.Linear(channels * height * width, fc),
            relu6=nn.ReLU(inplace=True),
            drop6=nn.Dropout(0.5),
            fc7=nn.Linear(fc, fc),
            relu7=nn.ReLU(inplace=True),
            drop7=nn.Dropout(0.5),
            fc8=nn.Linear(fc, num_classes),
        )
    )
