"""Engines that run a network's exported graph: from normalized pictures to scores on the network's own grid.

A graph tells nothing of how its grid lies on the picture. The network itself does, on the meta device, where nothing is
computed; once for each size of pictures.
"""

import copy
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from pixelwise.errors import BadOption, PixelwiseError, SurgeryError
from pixelwise.layers.head import Head
from pixelwise.surgery.receptive_field import on_meta

REMEMBERED = 64  # sizes of pictures whose resampling is kept


class Session(Protocol):
    """A compiled graph."""

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """(N, C, H, W) → (N, K, h, w)."""
        ...


class GraphEngine:
    """A network's first head by a compiled graph, on the CPU.

    Args:
        network: that the graph was made of; it tells the grid, and its tiles.
        session: the compiled graph.
        program: its name for people and errors.
    """

    device = torch.device("cpu")

    def __init__(self, network: nn.Module, session: Session, program: str) -> None:
        self.network = network
        self.name = f"{type(network).__name__} in {program}"
        self._session = session
        self._twin = on_meta(network)
        self._sizes: OrderedDict[tuple[int, ...], tuple[str, Head]] = OrderedDict()

    @property
    def tiling(self) -> tuple[int, int, int] | None:
        """The network's own, or None."""
        own: tuple[int, int, int] | None = getattr(self.network, "tiling", None)
        return own

    def heads(self, images: Tensor) -> Mapping[str, Head]:
        """The first head of normalized pictures (N, C, H, W) on the CPU.

        Raises:
            BadOption: the graph does not take pictures of this size.
        """
        name, empty = self._head(tuple(images.shape))
        try:
            scores = self._session(np.ascontiguousarray(images.numpy(), np.float32))
        except PixelwiseError:
            raise
        except Exception as error:  # each program raises kinds of its own
            what = " ".join(str(error).split())[:300]
            height, width = images.shape[-2:]
            raise BadOption(
                f"{self.name} does not take a picture of {height} × {width} ({what}); use --engine torch"
            ) from error
        if tuple(scores.shape[-2:]) != empty.resampling.coarse_size:
            raise SurgeryError(
                f"{self.name} gives scores of {scores.shape[-2]} × {scores.shape[-1]}, the network itself "
                f"{' × '.join(map(str, empty.resampling.coarse_size))}; use --engine torch"
            )
        return {name: Head(torch.from_numpy(scores), empty.resampling, empty.kind)}

    def _head(self, shape: tuple[int, ...]) -> tuple[str, Head]:
        """The first head's name, and the head without values."""
        key = shape[1:]
        if key not in self._sizes:
            with torch.no_grad():
                heads: Mapping[str, Head] = self._twin.heads(torch.empty(1, *key, device="meta"))  # type: ignore[operator]  # nn.Module says Tensor | Module
            self._sizes[key] = next(iter(heads.items()))
            if len(self._sizes) > REMEMBERED:
                self._sizes.popitem(last=False)
        self._sizes.move_to_end(key)
        return self._sizes[key]


def exportable(network: nn.Module) -> nn.Module:
    """The network as the exporter takes it: in evaluation mode, on the CPU; a copy where it is not."""
    if not network.training and all(held.device.type == "cpu" for held in network.parameters()):
        return network
    return copy.deepcopy(network).cpu().eval()


def needs(module: str, extra: str) -> Any:
    """An optional library.

    Raises:
        BadOption: it is not installed; names the extra.
    """
    import importlib

    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise BadOption(
            f"--engine {module} needs {module}, which is not installed: pip install 'pixelwise[{extra}]'"
        ) from error
