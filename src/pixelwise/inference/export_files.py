"""The files of an exported graph, their metadata, and how each is run again: .onnx, .pt2, and .xml with .bin."""

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.export import ExportedProgram

from pixelwise.errors import BadOption
from pixelwise.inference.export import need, onnx_model, openvino_model, quiet

FORMATS = (".onnx", ".pt2", ".xml")
INPUT = "picture"
EXTRA = "pixelwise.json"  # of the metadata in a .pt2
KEY = "pixelwise"  # of each entry of the metadata in .onnx, before a dot, and of their group in .xml

Facts = Mapping[str, Any]
"""What goes with a graph, as plain values for JSON."""

Graph = Callable[[NDArray[Any]], tuple[NDArray[Any], ...]]
"""Pictures (N, H, W, C) uint8 or uint16 → labels (N, H, W), and the confidence where the graph gives it."""


def check_format(path: Path) -> str:
    """The format of a file by its extension.

    Raises:
        BadOption: it is none of `FORMATS`, or what it needs is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in FORMATS:
        raise BadOption(f"a graph is written as {', '.join(FORMATS)}, got {path.name!r}")
    for module, extra in {
        ".onnx": [("onnx", "export"), ("onnxscript", "export"), ("onnxruntime", "export")],
        ".pt2": [],
        ".xml": [("onnx", "export"), ("onnxscript", "export"), ("openvino", "openvino")],
    }[suffix]:
        need(module, extra)
    return suffix


def write_program(program: ExportedProgram, path: Path, outputs: Sequence[str], facts: Facts) -> None:
    """Write a graph into a new file, of the format of its extension; .xml has a .bin beside it."""
    suffix = check_format(path)
    if suffix == ".pt2":
        buffer = io.BytesIO()
        with quiet():
            torch.export.save(program, buffer, extra_files={EXTRA: json.dumps(facts, ensure_ascii=False)})
        path.write_bytes(buffer.getvalue())
        return
    write_onnx(onnx_model(program, INPUT, outputs), path, facts)


def write_onnx(model: Any, path: Path, facts: Facts) -> None:
    """Write an ONNX model as .onnx, or as .xml and .bin of OpenVINO."""
    if path.suffix.lower() == ".onnx":
        del model.metadata_props[:]
        for name, value in facts.items():
            model.metadata_props.add(
                key=f"{KEY}.{name}", value=value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            )
        model.producer_name = KEY
        path.write_bytes(model.SerializeToString())
        return
    import openvino

    converted = openvino_model(model)
    for name, value in facts.items():
        converted.set_rt_info(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False), [KEY, name])
    openvino.save_model(converted, path, compress_to_fp16=False)


def read_graph(path: Path) -> Graph:
    """A file that can be run: by ONNX Runtime, torch or OpenVINO, on the CPU, in single precision."""
    suffix = path.suffix.lower()
    if suffix == ".onnx":
        import onnxruntime

        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return lambda pictures: tuple(session.run(None, {INPUT: pictures}))
    if suffix == ".pt2":
        module = torch.export.load(io.BytesIO(path.read_bytes())).module()

        def run(pictures: NDArray[Any]) -> tuple[NDArray[Any], ...]:
            with torch.inference_mode():
                given = module(torch.from_numpy(np.array(pictures)))
            return tuple(each.numpy() for each in (given if isinstance(given, tuple) else (given,)))

        return run
    import openvino

    compiled = openvino.Core().compile_model(str(path), "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pictures: tuple(compiled(pictures)[output] for output in compiled.outputs)
