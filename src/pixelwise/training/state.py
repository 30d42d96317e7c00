"""The state of a run between steps: what resume needs, and nothing that a model file needs."""

import io
import pickle
from pathlib import Path
from typing import Any

import torch

from pixelwise.errors import CheckpointError, TrainingError
from pixelwise.files import replacing


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and numbers, whole or not at all.

    Raises:
        TrainingError: the disk is full or cannot be written; the state written before stays.
    """
    whole = io.BytesIO()  # torch's own writer hides a full disk behind errors of its zip format
    torch.save(state, whole)
    write_or_explain(path, whole.getvalue(), f"the state of step {state.get('step', 0)}")


def write_or_explain(path: Path, content: bytes, what: str) -> None:
    """Write a file of a run, whole or not at all.

    Raises:
        TrainingError: it could not be written; what was there stays.
    """
    try:
        with replacing(path) as beside:
            beside.write_bytes(content)
    except OSError as error:
        raise TrainingError(
            f"{what} could not be written to {path} ({error.strerror or error}); what was written before is whole: "
            "make room and run again with --resume"
        ) from error


def load_state(path: Path) -> dict[str, Any]:
    """Read what `save_state` wrote; nothing but tensors and plain values is accepted.

    Raises:
        CheckpointError: the file is no such state.
    """
    try:
        state: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, pickle.UnpicklingError, EOFError, ValueError) as error:
        raise CheckpointError(f"{path} is no training state that pixelwise wrote ({error}); start again") from error
    return state
