"""OpenVINO: a network's exported graph, compiled for the CPU (extra `openvino`)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixelwise.inference.engine import Precision
from pixelwise.inference.export import score_openvino
from pixelwise.inference.graph_engine import GraphEngine, exportable, needs
from pixelwise.surgery.graph import first_channels

HINTS = {"fp32": "f32", "bf16": "bf16"}


class OpenVINOEngine(GraphEngine):
    """A network's first head by OpenVINO, for pictures of any size.

    Args:
        network: in evaluation mode; its weights are copied into the graph.
        precision: that OpenVINO may compute in; where the processor has no bfloat16 it takes float32.
        channels: of the pictures it takes; those of its first convolution if left out.

    Raises:
        BadOption: the extra is not installed.
        SurgeryError: the network cannot be exported; says why.
    """

    def __init__(self, network: nn.Module, precision: Precision = "fp32", channels: int | None = None) -> None:
        openvino = needs("openvino", "openvino")
        model = score_openvino(exportable(network), channels or first_channels(network))
        settings = {
            "INFERENCE_PRECISION_HINT": HINTS[precision],
            "PERFORMANCE_HINT": "LATENCY",
            "INFERENCE_NUM_THREADS": torch.get_num_threads(),
        }
        super().__init__(network, _Compiled(openvino.Core().compile_model(model, "CPU", settings)), "openvino")
        self.precision = precision


class _Compiled:
    def __init__(self, compiled: Any) -> None:
        self._compiled = compiled

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        """Each call has memory of its own, so that scores stay what they are."""
        scores: NDArray[np.float32] = self._compiled.create_infer_request().infer([images])[0]
        return np.array(scores, np.float32)
