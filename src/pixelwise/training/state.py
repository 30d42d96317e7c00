"""The state of a run between steps: what resume needs, and nothing that a model file needs."""

import errno
import pickle
from pathlib import Path
from typing import Any

import torch

from pixelwise.errors import CheckpointError, TrainingError
from pixelwise.files import replacing


def save_state(path: Path, state: dict[str, Any]) -> None:
    """Write tensors and numbers, whole or not at all.

    Raises:
        TrainingError: the disk is full; the state written before stays.
    """
    try:
        with replacing(path) as beside:
            torch.save(state, beside)
    except (OSError, RuntimeError) as error:
        # torch reports a failed write of its zip file as a RuntimeError
        if isinstance(error, OSError) and error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if isinstance(error, RuntimeError) and "write" not in str(error).lower():
            raise
        raise TrainingError(
            f"no space left on the disk of {path.parent} at step {state.get('step', 0)}; the state and model written "
            "before are whole: free some space and run again with --resume"
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
