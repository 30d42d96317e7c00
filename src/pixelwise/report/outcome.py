"""How a run ended, and what to type next: the same words on the terminal, in result.json and on the page."""

import math
import shlex
from pathlib import Path

LABELS = {
    "finished": "Finished",
    "plateau": "Ended early",
    "budget": "Ended with its time",
    "interrupted": "Interrupted",
}
_HOW = {
    "finished": "finished after {steps}",
    "plateau": "ended early after {steps}, since validation had stopped improving",
    "budget": "ended with its time, after {steps}",
    "interrupted": "was interrupted after {steps}",
}


def ended(reason: str, steps: int, stage: str = "") -> str:
    """How training ended, a sentence without its period.

    Args:
        stage: the network and its stage, where it is one of several; see `stage_told`.

    >>> ended("finished", 1200)
    'Training finished after 1200 steps'
    >>> ended("interrupted", 1, stage_told("fcn16s_vgg16", 2, 3))
    'Training of fcn16s_vgg16, stage 2 of 3, was interrupted after 1 step'
    """
    what = f"Training of {stage}," if stage else "Training"
    how = _HOW.get(reason, f"ended ({reason}) after {{steps}}")
    return f"{what} {how.format(steps=f'{steps} step' + 's' * (steps != 1))}"


def stage_told(model: str, number: int, total: int) -> str:
    """A network and its stage.

    >>> stage_told("fcn16s_vgg16", 2, 3)
    'fcn16s_vgg16, stage 2 of 3'
    """
    return f"{model}, stage {number} of {total}"


def crf_told(without: float, refined: float, interval: tuple[float, float], pictures: int, *, kept: bool) -> str:
    """What the trial of a dense CRF found.

    Args:
        without, refined: mean IoU of the network alone and with the CRF, cross-validated.
        interval: 95 % interval of the gain; not-a-number where there is none.
        pictures: of the validation part.

    >>> crf_told(0.712, 0.731, (0.008, 0.031), 20, kept=True)
    'mean IoU 0.712 → 0.731 on 20 validation pictures (+0.019, 95 % interval +0.008 to +0.031): kept'
    """
    gain, low, high = (signed(value) for value in (refined - without, *interval))
    sure = f"95 % interval {low} to {high}" if all(map(math.isfinite, interval)) else "no interval"
    return (
        f"mean IoU {without:.3f} → {refined:.3f} on {pictures} validation pictures ({gain}, {sure}): "
        f"{'kept' if kept else 'not kept'}"
    )


def signed(value: float) -> str:
    """A difference with its sign, but for 0.

    >>> signed(0.0194), signed(-0.0031), signed(-0.0002)
    ('+0.019', '−0.003', '0.000')
    """
    text = f"{value:+.3f}".replace("-", "−")
    return text[1:] if text[1:] == "0.000" else text


def next_commands(folder: Path, run: Path, stage_of: Path | None = None) -> dict[str, str]:
    """What to type next, as a shell takes it.

    Args:
        folder: the data.
        stage_of: the whole run where `run` is a stage of it.

    >>> next_commands(Path("my pets"), Path("runs/my pets"))["resume"]
    "pixelwise fit 'my pets' --resume --out 'runs/my pets'"
    """
    data, whole = shlex.quote(str(folder)), shlex.quote(str(stage_of or run))
    model = shlex.quote(str(run / "model.safetensors"))
    return {
        "predict": f"pixelwise predict {model} NEW_PICTURES --out predictions",
        "evaluate": f"pixelwise evaluate {model} {data}",
        "reproduce": f"pixelwise fit {data} --plan {shlex.quote(str(run / 'plan.yaml'))} --out NEW_RUN",
        "resume": f"pixelwise fit {data} --resume --out {whole}",
    }
