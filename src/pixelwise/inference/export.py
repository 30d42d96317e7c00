"""Graphs of networks for programs without pixelwise: by `torch.export`, from that ONNX, from that OpenVINO.

A graph takes pictures of any height and width. Everything that depends on a picture's size is computed in it, see
`pixelwise.layers.resample_graph`. The comparisons of sizes that torch notes on the way, which mostly ask how a map lies
in memory, are left out of it; `pixelwise.flow.export` compares labels at several sizes instead.
"""

import copy
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram
from torch.fx.experimental import _config as symbols
from torch.utils._sympy.numbers import int_oo
from torch.utils._sympy.value_ranges import ValueRanges

from pixelwise.errors import BadOption, SurgeryError
from pixelwise.layers.head import Head

if TYPE_CHECKING:
    import onnx
    import openvino

TRACED = (2, 45, 53)  # batch, height and width of the pictures that are followed through a network; any would do
OPSET = 18
_CHECKS = {"_assert_scalar", "_assert_tensor_metadata", "sym_constrain_range", "sym_constrain_range_for_size"}


class Scores(nn.Module):
    """Normalized pictures (N, C, H, W) float32 → the first head's scores (N, K, h, w) on the network's own grid."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        """The scores."""
        heads: Mapping[str, Head] = self.network.heads(images)  # type: ignore[operator]  # nn.Module says Tensor | Module
        return next(iter(heads.values())).scores


def score_program(network: nn.Module, channels: int) -> ExportedProgram:
    """The graph from normalized pictures (N, C, H, W) float32 to the first head's scores (N, K, h, w).

    Batch, height and width are open. The network stays as it is.

    Args:
        network: on the CPU, in float32.
        channels: C.

    Raises:
        SurgeryError: the network cannot be a graph; says why.
    """
    return traced(Scores(network), torch.zeros(TRACED[0], channels, *TRACED[1:]), sides=(2, 3))


def score_onnx(network: nn.Module, channels: int) -> "onnx.ModelProto":
    """The same as an ONNX model, from "images" to "scores".

    Raises:
        BadOption: the extra `export` is not installed.
        SurgeryError: the network cannot be a graph; says why.
    """
    return onnx_model(score_program(network, channels), "images", ["scores"])


def score_openvino(network: nn.Module, channels: int) -> "openvino.Model":
    """The same as a model of OpenVINO, to compile; no picture is followed through it.

    OpenVINO takes no map that is smaller than the window of a pool: pictures of a few pixels are refused at run time.

    Raises:
        BadOption: the extra `openvino` or `export` is not installed.
        SurgeryError: the network cannot be a graph; says why.
    """
    return openvino_model(score_onnx(network, channels))


def plain_copy(network: nn.Module) -> nn.Module:
    """The network for a graph: a copy on the CPU, in float32, in evaluation, its weights in rows."""
    plain = copy.deepcopy(network).to("cpu", torch.float32).eval()
    plain.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]  # torch's overloads lack it alone
    return plain


def traced(module: nn.Module, example: Tensor, *, sides: tuple[int, int]) -> ExportedProgram:
    """The graph of a module of one tensor whose batch, height and width are open.

    Args:
        example: followed through it.
        sides: the axes of height and width; that of the batch is 0.

    Raises:
        SurgeryError: a layer cannot be in a graph; says which.
    """
    modes = {layer: layer.training for layer in module.modules()}
    module.eval()
    refuse(module)
    axes = {axis: Dim.DYNAMIC for axis in (0, *sides)}
    try:
        # a map with a single cell is like any other; torch would note for which sizes one comes up, and refuse them
        with torch.no_grad(), symbols.patch(backed_size_oblivious=True), quiet():  # type: ignore[attr-defined]  # patch comes at run time
            program = torch.export.export(
                module,
                (example,),
                dynamic_shapes=(axes,),
                strict=False,
                prefer_deferred_runtime_asserts_over_guards=True,
            )
    except Exception as error:  # torch raises many kinds, most of them without a common base
        what = str(error).strip().splitlines() or [type(error).__name__]
        raise SurgeryError(
            f"{type(module).__name__} cannot become a graph for pictures of any size: torch.export says {what[0]}"
        ) from error
    finally:
        for layer, training in modes.items():
            layer.training = training
    _drop_checks(program)
    return program


def refuse(module: nn.Module) -> None:
    """Refuse layers that no graph can hold.

    Raises:
        SurgeryError: naming the layer.
    """
    for layer in module.modules():
        if getattr(layer, "takes_levels", False):
            raise SurgeryError(
                f"{type(layer).__name__} ends in a dense CRF, which is computed on a lattice of the picture's colors "
                "and is no graph: predict with pixelwise, or train the network in front of it, fcn8s_vgg16"
            )


def _drop_checks(program: ExportedProgram) -> None:
    """Leave out the comparisons of sizes, from the graph and from what a .pt2 asks of its pictures before it runs."""
    graph = program.graph_module.graph
    for node in reversed(list(graph.nodes)):
        if node.op == "call_function" and getattr(node.target, "__name__", "").partition(".")[0] in _CHECKS:
            graph.erase_node(node)
    graph.eliminate_dead_code()
    program.graph_module.recompile()
    program._guards_code = []
    for symbol in program.range_constraints:
        program.range_constraints[symbol] = ValueRanges(1, int_oo)


def onnx_model(program: ExportedProgram, image: str, outputs: Sequence[str]) -> "onnx.ModelProto":
    """A graph in ONNX, its input's open axes called batch, height and width.

    Args:
        image: name of the input.
        outputs: names of the outputs.

    Raises:
        BadOption: the extra `export` is not installed.
    """
    need("onnx", "export")
    need("onnxscript", "export")
    with quiet():
        made = torch.onnx.export(
            program,
            input_names=[image],
            output_names=list(outputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    assert made is not None
    model: onnx.ModelProto = made.model_proto
    _name_axes(model)
    return model


def _name_axes(model: "onnx.ModelProto") -> None:
    """Open axes get names for people, and what torch tells of its own graph is left out."""
    graph = model.graph
    names: dict[str, str] = {}
    wanted = iter(("batch", "height", "width"))
    for axis in graph.input[0].type.tensor_type.shape.dim:
        if axis.dim_param:
            names[axis.dim_param] = next(wanted)
    for value in (*graph.input, *graph.output):
        for axis in value.type.tensor_type.shape.dim:
            if axis.dim_param in names:
                axis.dim_param = names[axis.dim_param]
        del value.metadata_props[:]
    for node in graph.node:
        del node.metadata_props[:]
    del graph.value_info[:]  # their sizes bear torch's names; programs infer them
    del graph.metadata_props[:]


def openvino_model(model: "onnx.ModelProto") -> "openvino.Model":
    """A model of OpenVINO from one in ONNX.

    Raises:
        BadOption: the extra `openvino` is not installed.
    """
    need("openvino", "openvino")
    import openvino

    return openvino.convert_model(io.BytesIO(model.SerializeToString()))


def need(module: str, extra: str) -> None:
    """Refuse to go on without a library.

    Raises:
        BadOption: it is not installed; names the extra that brings it.
    """
    import importlib.util

    if importlib.util.find_spec(module) is None:
        raise BadOption(f"this needs {module}, which is not installed: pip install 'pixelwise[{extra}]'")


@contextmanager
def quiet(*more: str) -> Iterator[None]:
    """Without what torch and onnxscript say about their own inside.

    Args:
        more: names of further loggers; "" is the root.
    """
    loggers = [logging.getLogger(name) for name in (*more, "torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        warnings.simplefilter("ignore", FutureWarning)
        try:
            for logger in loggers:
                logger.setLevel(logging.ERROR)
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)
