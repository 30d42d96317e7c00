"""What a fit tells as it happens; the command line shows it."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pixelwise.flow.plan import Plan
from pixelwise.flow.start import Begun
from pixelwise.flow.understanding import Understanding
from pixelwise.inference.crf_search import CRFSearch
from pixelwise.training.loop import Ended, StepLogged, Validated


@dataclass(frozen=True)
class Started:
    """Work begins: what will be read, where the run goes, and the time it has."""

    folder: Path
    run: Path
    minutes: float | None


@dataclass(frozen=True)
class Understood:
    """The folder was read."""

    understanding: Understanding


@dataclass(frozen=True)
class Planned:
    """The plan is fixed and stored; training comes next."""

    plan: Plan
    resumed: bool


@dataclass(frozen=True)
class Progressed:
    """Something counted goes on: `done` of `total` of `what`; "downloading" counts bytes, of 0 where nobody knows."""

    what: str
    done: int
    total: int


@dataclass(frozen=True)
class StageBegan:
    """Stage `number` of `total` trains `model` for `steps` steps."""

    number: int
    total: int
    model: str
    steps: int


@dataclass(frozen=True)
class MemberBegan(StageBegan):
    """Training `number` of `total` of a learning curve begins; `model` says on how many pictures, and which repeat."""


@dataclass(frozen=True)
class MemberMeasured:
    """A training of a learning curve has this mean IoU on the pictures that all are measured on."""

    mean_iou: float


@dataclass(frozen=True)
class WeightsTaken:
    """The network begins with the weights of a model file; `begun` says which layers."""

    begun: Begun


@dataclass(frozen=True)
class CRFTried:
    """The dense CRF was tried behind the best network, and kept where it helped.

    Attributes:
        search: what was found, or None where the trial did not come to its end.
        why: why not.
        instead: what became of a CRF that `pixelwise tune-crf` had stored, where it stands in for a trial, or is gone.
    """

    search: CRFSearch | None
    why: str = ""
    instead: str = ""

    @property
    def kept(self) -> bool:
        """Whether it is part of the model."""
        return self.search is not None and self.search.helped

    def to_record(self) -> dict[str, Any]:
        """What result.json keeps."""
        if self.search is not None:
            return self.search.to_record()
        return {"helped": False, "note": self.why} | ({"instead": self.instead} if self.instead else {})


FitEvent = (
    Started
    | Understood
    | Planned
    | Progressed
    | StageBegan
    | MemberMeasured
    | WeightsTaken
    | StepLogged
    | Validated
    | Ended
    | CRFTried
)
Tell = Callable[[FitEvent], None]
