"""Engine: what predicts the scores of pictures – a network in torch here, its exported graph elsewhere.

All of `pixelwise.inference` asks an engine for heads, and does the rest itself: normalization, tiles, views,
resampling, probabilities.
"""

import functools
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from pixelwise.layers.head import Head

Precision = Literal["fp32", "bf16"]


Wanted = Literal["auto", "fp32", "bf16"] | None
"""A precision as people ask for it."""


class Engine(Protocol):
    """What predicts the scores of pictures."""

    @property
    def device(self) -> torch.device:
        """Where its scores are."""
        ...

    @property
    def tiling(self) -> tuple[int, int, int] | None:
        """(side, margin, step) of its own tiles (`inference.tiles`), or None."""
        ...

    def heads(self, images: Tensor) -> Mapping[str, Head]:
        """The heads of normalized pictures (N, C, H, W) float32 on the CPU, the prediction first; no gradients."""
        ...


class TorchEngine:
    """A network in torch with the weights that it has when it is asked; what training's validations use.

    Args:
        network: in evaluation mode.
        precision: "bf16" runs convolutions in bfloat16.
    """

    def __init__(self, network: nn.Module, precision: Precision = "fp32") -> None:
        self.network, self.precision = network, precision

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.network.parameters()).device

    @property
    def tiling(self) -> tuple[int, int, int] | None:
        """The network's own, or None."""
        own: tuple[int, int, int] | None = getattr(self.network, "tiling", None)
        return own

    def heads(self, images: Tensor) -> Mapping[str, Head]:
        """The heads of normalized pictures (N, C, H, W) on the CPU."""
        device = self.device
        with torch.inference_mode(), precision_context(device, self.precision):
            found: Mapping[str, Head] = self.network.heads(images.to(device))  # type: ignore[operator]  # nn.Module says Tensor | Module
            return found


Predictor = Engine | nn.Module
"""An engine, or a network, which stands for `TorchEngine(network)`."""


def engine_of(given: Predictor) -> Engine:
    """An engine as it is; of a network `TorchEngine(network)`."""
    return TorchEngine(given) if isinstance(given, nn.Module) else given


def engines_of(given: Predictor | Sequence[Predictor]) -> tuple[Engine, ...]:
    """One or several."""
    if isinstance(given, Sequence):
        return tuple(engine_of(one) for one in given)
    return (engine_of(given),)


def name_of(engine: Engine) -> str:
    """How an error names an engine: its own name, its network's class, or its own class."""
    own = getattr(engine, "name", None)
    return str(own or type(getattr(engine, "network", engine)).__name__)


def fast_bfloat16(device: torch.device) -> bool:
    """Whether bfloat16 is computed by the hardware: then convolutions take about half the time."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return torch.backends.cpu.get_cpu_capability() in ("AVX512", "AMX") and _has_avx512_bf16()


@functools.cache
def _has_avx512_bf16() -> bool:
    flags = Path("/proc/cpuinfo")
    return flags.exists() and "avx512_bf16" in flags.read_text()


def precision_context(device: torch.device, precision: Precision) -> AbstractContextManager[Any]:
    """Automatic mixed precision in bfloat16, or nothing."""
    return torch.autocast(device.type, torch.bfloat16) if precision == "bf16" else nullcontext()
