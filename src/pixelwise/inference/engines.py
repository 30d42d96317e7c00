"""Engines of one network: made when they are first asked for, and again when the network's weights have changed."""

from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from pixelwise.errors import unknown_name
from pixelwise.inference.engine import Engine, Precision
from pixelwise.inference.folding import folded


def _openvino(network: nn.Module, precision: Precision, channels: int) -> Engine:
    from pixelwise.inference.openvino_engine import OpenVINOEngine

    return OpenVINOEngine(network, precision, channels)


def _onnxruntime(network: nn.Module, precision: Precision, channels: int) -> Engine:
    from pixelwise.inference.onnx_engine import ONNXRuntimeEngine

    return ONNXRuntimeEngine(network, precision, channels)


ENGINES: Mapping[str, Callable[[nn.Module, Precision, int], Engine]] = {
    "torch": folded,
    "openvino": _openvino,
    "onnxruntime": _onnxruntime,
}


class Engines:
    """The engines of a network that were asked for so far. A copy begins with none."""

    def __init__(self) -> None:
        self._weights: object = None
        self._made: dict[tuple[str, Precision], Engine] = {}

    def of(self, network: nn.Module, name: str, precision: Precision, channels: int) -> Engine:
        """The engine of this name and precision for the network as it is.

        Raises:
            UnknownName: there is no such engine.
        """
        if name not in ENGINES:
            raise unknown_name("engine", name, ENGINES)
        weights = _state_of(network)
        if weights != self._weights:
            self._weights, self._made = weights, {}
        made = self._made  # of this state, though another thread may begin with a new one
        if (name, precision) not in made:
            made[name, precision] = ENGINES[name](network, precision, channels)
        return made[name, precision]

    def __deepcopy__(self, memo: Any) -> "Engines":
        return Engines()

    def __getstate__(self) -> dict[str, Any]:
        return {"_weights": None, "_made": {}}


def _state_of(network: nn.Module) -> object:
    """What changes with any weight: torch counts what is written into each tensor."""
    return (
        id(network),
        [
            (held.data_ptr(), 0 if held.is_inference() else held._version)
            for held in (*network.parameters(), *network.buffers())
        ],
    )
