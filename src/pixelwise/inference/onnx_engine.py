"""ONNX Runtime: a network's exported graph on the CPU (extra `export`)."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.inference.engine import Precision
from pixelwise.inference.export import score_onnx
from pixelwise.inference.graph_engine import GraphEngine, exportable, needs
from pixelwise.surgery.graph import first_channels

ERRORS_ALONE = 3  # of ONNX Runtime's levels of telling


class ONNXRuntimeEngine(GraphEngine):
    """A network's first head by ONNX Runtime in float32, for pictures of any size.

    Args:
        network: in evaluation mode; its weights are copied into the graph.
        channels: of the pictures it takes; those of its first convolution if left out.

    Raises:
        BadOption: the extra is not installed, or bfloat16 is wanted, which it does not have on a CPU.
        SurgeryError: the network cannot be exported; says why.
    """

    def __init__(self, network: nn.Module, precision: Precision = "fp32", channels: int | None = None) -> None:
        if precision != "fp32":
            raise BadOption(
                f"onnxruntime computes in float32 on a CPU, not in {precision}; leave out --precision, or use --engine "
                "torch or openvino"
            )
        runtime = needs("onnxruntime", "export")
        model = score_onnx(exportable(network), channels or first_channels(network))
        options = runtime.SessionOptions()
        options.intra_op_num_threads = torch.get_num_threads()
        options.log_severity_level = ERRORS_ALONE
        session = runtime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        super().__init__(network, _Opened(session), "onnxruntime")
        self.precision = precision


class _Opened:
    def __init__(self, session: Any) -> None:
        self._session, self._input = session, session.get_inputs()[0].name

    def __call__(self, images: NDArray[np.float32]) -> NDArray[np.float32]:
        scores: NDArray[np.float32] = self._session.run(None, {self._input: images})[0]
        return scores
