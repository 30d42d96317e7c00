"""Trackers: what a training tells as it happens, sent to a program that draws curves.

A tracker is a function that takes each event of a run (`flow.events`), as `tell` of `fit` and `train_recipe` does.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from pixelwise.errors import BadOption
from pixelwise.flow.events import FitEvent, StageBegan, Started, Tell
from pixelwise.training.loop import Ended, StepLogged, Validated


def told_to(*tells: Tell) -> Tell:
    """One function that tells each event to several."""

    def tell(event: FitEvent) -> None:
        for one in tells:
            one(event)

    return tell


def numbers_of(event: FitEvent) -> dict[str, float]:
    """{name: value} of a logged step or a validation, with what `log.jsonl` calls them; of other events nothing.

    >>> numbers_of(StepLogged(10, loss=0.5, rate=0.1, seconds=2.0, images_per_second=20.0))
    {'loss': 0.5, 'rate': 0.1, 'images_per_second': 20.0}
    """
    if isinstance(event, StepLogged):
        return {"loss": event.loss, "rate": event.rate, "images_per_second": event.images_per_second}
    if isinstance(event, Validated):
        scores = event.scores.to_record()
        return {name: value for name, value in scores.items() if isinstance(value, float)}
    return {}


class TensorBoard:
    """Writes the curves of a run into RUN/tensorboard, for `tensorboard --logdir RUN`; needs the extra `tensorboard`.

    Curves are those of `numbers_of`, over steps; of a run with stages below the stage's network.

    Raises:
        BadOption: tensorboard is not installed.
    """

    def __init__(self) -> None:
        self._open = _summary_writer()
        self._writer: Any = None
        self._stage = ""

    def __call__(self, event: FitEvent) -> None:
        """Take an event."""
        if isinstance(event, Started):
            self._writer = self._open(event.run / "tensorboard")
        elif isinstance(event, StageBegan):
            self._stage = f"{event.model}/" if event.total > 1 else ""
        elif isinstance(event, StepLogged | Validated):
            for name, value in numbers_of(event).items():
                self._writer.add_scalar(f"{self._stage}{name}", value, event.step)
        if isinstance(event, Validated | Ended):
            self._writer.flush()


def _summary_writer() -> Callable[[Path], Any]:
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise BadOption("TensorBoard is not installed: pip install 'pixelwise[tensorboard]'") from error
    return lambda folder: SummaryWriter(str(folder))  # type: ignore[no-untyped-call, unused-ignore]  # untyped where tensorboard is there


TRACKERS: dict[str, Callable[[], Tell]] = {"tensorboard": TensorBoard}
"""{name that `--track` takes: what makes the tracker}"""
