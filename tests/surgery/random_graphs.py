"""Random classifiers, for properties that must hold for every graph.

`classifiers()` draws one with the size of its pictures and its stride: convolutions with kernels and strides that are
not square, groups, pools, shortcuts, joined branches, shuffled channels, layers and functions, and ends of all kinds.
`trunks()` draws the part before the end: (N, 3, H, W) → (N, C, h, w).
"""

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from hypothesis import strategies as st
from torch import nn

ACTIVATIONS = (nn.ReLU, nn.Tanh, nn.SiLU)


@dataclass(frozen=True)
class Drawn:
    """A network in double precision and evaluation, what it takes, and pixels from a cell to the next."""

    network: nn.Module
    size: tuple[int, int]
    stride: tuple[int, int]

    def __repr__(self):
        return f"{self.size}, stride {self.stride}: {self.network}"


class Trunk(nn.Sequential):
    """Blocks, one after the other."""


class Residual(nn.Module):
    """A convolution beside a shortcut, which is cut to its size and given its stride and channels."""

    def __init__(self, convolution, by_function):
        super().__init__()
        self.convolution = convolution
        self.by_function = by_function
        self.project = nn.Conv2d(convolution.in_channels, convolution.out_channels, 1, convolution.stride)

    def forward(self, values):
        main = self.convolution(values)
        rows, columns = (
            (kernel - 1) // 2 - padding
            for kernel, padding in zip(self.convolution.kernel_size, self.convolution.padding, strict=True)
        )
        cut = self.project(values[:, :, rows:, columns:])[:, :, : main.shape[2], : main.shape[3]]
        return F.relu(main + cut) if self.by_function else torch.add(main, cut).tanh_()


class Joined(nn.Module):
    """Two branches of the same kernel, concatenated, by a list or a chunk."""

    def __init__(self, first, second, shuffled):
        super().__init__()
        self.first, self.second, self.shuffled = first, second, shuffled

    def forward(self, values):
        joined = torch.cat((torch.relu(self.first(values)), self.second(values).sigmoid()), 1)
        if not self.shuffled:
            return joined
        batch, channels, height, width = joined.shape
        return joined.view(batch, 2, channels // 2, height, width).transpose(1, 2).reshape(batch, -1, height, width)


class Pool(nn.Module):
    """A pool by a function."""

    def __init__(self, kernel, stride, padding, largest):
        super().__init__()
        self.options = {"kernel_size": kernel, "stride": stride, "padding": padding}
        self.largest = largest

    def forward(self, values):
        return F.max_pool2d(values, **self.options) if self.largest else F.avg_pool2d(values, **self.options)

    def extra_repr(self):
        return f"{self.options}"


class Classifier(nn.Module):
    """A trunk and an end; ends may read the map before the last blocks, too."""

    def __init__(self, trunk, later, end):
        super().__init__()
        self.trunk, self.later, self.end = trunk, later, end

    def forward(self, images):
        early = self.trunk(images)
        late = self.later(early)
        return self.end(early, late)


class Flattened(nn.Module):
    """Two linear layers on the flattened map, in one of the ways that people write it."""

    def __init__(self, way, channels, size, classes):
        super().__init__()
        self.way = way
        self.fc1 = nn.Linear(channels * size[0] * size[1], 5)
        self.norm = nn.BatchNorm1d(5)
        self.drop = nn.Dropout()
        self.fc2 = nn.Linear(5, classes)

    def forward(self, early, late):
        if self.way == "view":
            flat = late.view(late.size(0), -1)
        elif self.way == "last":
            flat = late.permute(0, 2, 3, 1).reshape(late.shape[0], -1)
        elif self.way == "swapped":
            flat = F.dropout(torch.flatten(late.transpose(2, 3), 1), training=self.training)
        else:
            flat = F.relu(late.flatten(2).flatten(1))
        return self.fc2(self.drop(self.norm(self.fc1(flat)).relu()))

    def extra_repr(self):
        return self.way


class Averaged(nn.Module):
    """A pool over the whole map, norms and a linear layer."""

    def __init__(self, way, channels, classes):
        super().__init__()
        self.way = way
        self.pool = nn.AdaptiveMaxPool2d(1) if way == "largest" else nn.AdaptiveAvgPool2d((1, 1))
        self.norm = nn.LayerNorm(channels)
        self.fc = nn.Linear(channels, classes)

    def forward(self, early, late):
        if self.way == "mean":
            cell = late.mean((2, 3))
        elif self.way == "by axis":
            cell = late.mean(3).mean(-1)
        elif self.way == "tokens":
            cell = late.flatten(2).transpose(1, 2).mean(1)
        elif self.way == "kernel":
            cell = F.avg_pool2d(late, late.shape[2:]).flatten(1)
        elif self.way == "sum":
            cell = late.sum((2, 3)) / (late.shape[2] * late.shape[3])
        elif self.way == "maximum":
            cell = torch.max(late.flatten(2), 2).values
        else:
            cell = self.pool(late).squeeze(-1).squeeze(-1)
        return F.log_softmax(self.fc(self.norm(cell)), dim=-1)

    def extra_repr(self):
        return self.way


class TwoDepths(nn.Module):
    """Both maps pooled, and joined or gated."""

    def __init__(self, way, early, late, classes):
        super().__init__()
        self.way = way
        self.pool = nn.AdaptiveAvgPool2d(1)
        self.early = nn.Linear(early, 4)
        self.late = nn.Linear(late, 4)
        self.fc = nn.Linear(early + late if way == "joined" else 4, classes)

    def forward(self, early, late):
        before, after = self.pool(early).flatten(1), torch.amax(late, dim=(2, 3))
        if self.way == "joined":
            return self.fc(torch.cat([before, after], dim=-1))
        return self.fc(self.early(before).sigmoid() * self.late(after))

    def extra_repr(self):
        return self.way


FLATTENED = ("view", "last", "swapped", "flatten")
AVERAGED = ("mean", "by axis", "tokens", "kernel", "sum", "maximum", "largest", "adaptive")
TWO_DEPTHS = ("joined", "gated")


def _pairs(least, most):
    return st.tuples(st.integers(least, most), st.integers(least, most))


def _fits(size, kernel):
    return all(side >= taps for side, taps in zip(size, kernel, strict=True))


@st.composite
def _blocks(draw, channels, size, count, padded):
    """Blocks that fit, their channels, the size of their map, their stride."""
    blocks = []
    stride = (1, 1)
    for _ in range(count):
        kind = draw(st.sampled_from(["convolution", "residual", "joined", "pool", "pool function", "norm"]))
        kernel = draw(_pairs(1, 3))
        step = draw(st.sampled_from([(1, 1), (1, 1), (2, 2), (2, 1), (1, 2), (3, 3)]))
        padding = tuple(draw(st.integers(0, taps // 2)) for taps in kernel) if padded else (0, 0)
        if not _fits(size, kernel):
            kind, step = "norm", (1, 1)
        # a pool over the whole map has no stride of its own
        step = tuple(1 if taps == side else own for taps, side, own in zip(kernel, size, step, strict=True))
        out = 2 * draw(st.integers(1, 3))
        groups = draw(st.sampled_from([1, 2])) if channels % 2 == 0 else 1
        if kind == "norm":
            blocks += [nn.BatchNorm2d(channels), draw(st.sampled_from(ACTIVATIONS))()]
            continue
        ceil = False
        if kind == "pool":
            rounded = [(n + 2 * p - k) % s for n, p, k, s in zip(size, padding, kernel, step, strict=True)]
            ceil = draw(st.booleans()) and (padded or rounded == [0, 0])
            pool = draw(st.sampled_from([nn.MaxPool2d, nn.AvgPool2d]))
            blocks.append(pool(kernel, step, padding, ceil_mode=ceil))
        elif kind == "pool function":
            blocks.append(Pool(kernel, step, padding, draw(st.booleans())))
        elif kind == "joined":
            halves = [nn.Conv2d(channels, out // 2 * 2, kernel, step, padding, groups=groups) for _ in range(2)]
            blocks.append(Joined(*halves, draw(st.booleans())))
            out *= 2
        else:
            if kind == "residual":  # the shortcut has no more places than the picture
                padding = tuple(min(border, (taps - 1) // 2) for border, taps in zip(padding, kernel, strict=True))
            convolution = nn.Conv2d(channels, out, kernel, step, padding, groups=groups)
            blocks.append(Residual(convolution, draw(st.booleans())) if kind == "residual" else convolution)
        with torch.no_grad():
            tried = blocks[-1](torch.zeros(1, channels, *size))
        channels, size = tried.shape[1], tuple(tried.shape[2:])
        stride = (stride[0] * step[0], stride[1] * step[1])
    return Trunk(*blocks), channels, size, stride


def _settled(network, seed):
    """Random weights and statistics, double precision, evaluation."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in network.parameters():
            scale = 1 if parameter.ndim < 2 else parameter[0].numel() ** -0.5
            parameter.copy_(torch.randn(parameter.shape, generator=generator) * scale)
        for name, held in network.named_buffers():
            if name.endswith("running_var"):
                held.copy_(torch.rand(held.shape, generator=generator) + 0.5)
            elif name.endswith("running_mean"):
                held.copy_(torch.randn(held.shape, generator=generator))
    return network.double().eval()


@st.composite
def trunks(draw, *, padded=None):
    """Networks (N, 3, H, W) → (N, C, h, w), with a size that gives a map.

    Args:
        padded: whether convolutions and pools may pad, and pools round up beyond the map; drawn if None.
    """
    padded = draw(st.booleans()) if padded is None else padded
    size = draw(_pairs(9, 20))
    trunk, _, _, stride = draw(_blocks(3, size, draw(st.integers(1, 5)), padded))
    return Drawn(_settled(trunk, draw(st.integers(0, 9))), size, stride)


@st.composite
def classifiers(draw, *, padded=None):
    """Networks (N, 3, *size) → (N, K); a slid one has the stride.

    Args:
        padded: whether convolutions and pools may pad, and pools round up beyond the map; drawn if None.
    """
    padded = draw(st.booleans()) if padded is None else padded
    size = draw(_pairs(9, 20))
    trunk, early, early_size, stride = draw(_blocks(3, size, draw(st.integers(1, 4)), padded))
    later, late, late_size, more = draw(_blocks(early, early_size, draw(st.integers(0, 2)), padded))
    classes = draw(st.integers(1, 4))
    way = draw(st.sampled_from(FLATTENED + AVERAGED + TWO_DEPTHS))
    if way in FLATTENED:
        end = Flattened(way, late, late_size, classes)
    elif way in AVERAGED:
        end = Averaged(way, late, classes)
    else:
        end = TwoDepths(way, early, late, classes)
    network = _settled(Classifier(trunk, later, end), draw(st.integers(0, 9)))
    return Drawn(network, size, (stride[0] * more[0], stride[1] * more[1]))
