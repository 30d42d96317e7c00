"""A denser map from the same weights: strides taken out, convolutions dilated in their place.

    python examples/output_stride.py

A ResNet ends with a cell for each 32 × 32 pixels. With an output stride of 8 it has sixteen cells in their place, and
those that were there before keep their values. The network has random weights and an eighth of the published channels.
Prints both maps' shapes, the largest difference at the old places, and the receptive field, which stays, too.
"""

import copy

import torch

from pixelwise.backbones.resnet import resnet50
from pixelwise.surgery import receptive_field, set_output_stride

torch.manual_seed(0)
coarse = resnet50(width=1 / 8).eval()
dense = set_output_stride(copy.deepcopy(coarse), 8)  # changed in place, hence the copy

picture = torch.randn(1, 3, 224, 320)
with torch.no_grad():
    before, after = coarse(picture).res5, dense(picture).res5
print(f"output stride 32: {tuple(before.shape)}")
print(f"output stride 8: {tuple(after.shape)}")
difference = (after[..., ::4, ::4] - before).abs().max() / before.abs().max()
print(f"largest difference at the old places: {difference:.0e} of the largest value")
for name, network in (("32", coarse), ("8", dense)):
    print(f"at stride {name} a cell sees {receptive_field(network, at='layer4').height.size} pixels")
