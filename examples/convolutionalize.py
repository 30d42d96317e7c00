"""A classifier of small pictures gives a map of scores of a large one.

    python examples/convolutionalize.py

Any `nn.Module` that classifies pictures of one size becomes one for pictures of any size, with the same weights: its
fully connected layers are convolutions as large as the map that they were trained on (Long et al. 2015, Figure 2). The
classifier here has random weights; what holds does so for any. Prints the shapes, and that a cell of the map is what
the classifier says of the window below it.
"""

import torch
from torch import nn

from pixelwise.surgery import convolutionalize

torch.manual_seed(0)
classifier = nn.Sequential(
    nn.Conv2d(3, 16, 5, stride=2),  # 28 × 28 → 12 × 12
    nn.ReLU(),
    nn.MaxPool2d(2),  # 6 × 6
    nn.Flatten(),
    nn.Linear(16 * 6 * 6, 64),
    nn.ReLU(),
    nn.Linear(64, 10),
).eval()

network = convolutionalize(classifier, 28)

picture = torch.randn(1, 3, 100, 140)
with torch.no_grad():
    scores = network(picture)
    row, column, stride = 5, 9, 4
    window = picture[..., stride * row : stride * row + 28, stride * column : stride * column + 28]
    difference = (scores[0, :, row, column] - classifier(window)[0]).abs().max()
print(f"a window of 28 × 28: {tuple(classifier(window).shape)}")
print(f"a picture of 100 × 140: {tuple(scores.shape)}")
print(f"cell ({row}, {column}) against its window: largest difference {difference:.0e}")
