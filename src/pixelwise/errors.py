"""The exceptions of pixelwise.

```
PixelwiseError
├── ShapeError      (ValueError)   a tensor or image has the wrong size, rank or dtype
├── LabelError      (ValueError)   a mask holds a value that is neither a class nor void
├── UnknownName     (LookupError)  no such model, data set, recipe, option
├── BadOption       (TypeError)    a builder or recipe does not take this
├── DataError       (OSError)      files missing, unreadable or mismatched
│   ├── DataQuestion               files that can be read in several ways, and what would answer it
│   ├── TooManyPixels              a picture announces more than are read
│   └── MissingSplit               a data set has no such split, or its list or folder is not there
├── WeightsError    (ValueError)   names or shapes do not fit, checksum differs
├── SurgeryError    (ValueError)   a network cannot be changed as asked; names the layer and why
├── CheckpointError (ValueError)   not ours, newer format, truncated
└── TrainingError   (RuntimeError) training cannot go on: not-a-number, memory, disk
```

Each message says what was expected, what was found (with path, value and place) and what to do.
"""

import difflib
import shlex
from collections.abc import Iterable


class PixelwiseError(Exception):
    """Anything that pixelwise refuses, with a message for the person who called it."""


class ShapeError(PixelwiseError, ValueError):
    """A tensor or image has the wrong size, rank or dtype."""


class LabelError(PixelwiseError, ValueError):
    """A mask holds a value that is neither a class nor void."""


class UnknownName(PixelwiseError, LookupError):
    """No model, data set, recipe or option has this name."""


class BadOption(PixelwiseError, TypeError):
    """A builder, recipe or command does not take this option or value."""


class DataError(PixelwiseError, OSError):
    """Files are missing, unreadable or do not belong together."""


class DataQuestion(DataError):
    """Files can be read in two ways that are equally likely.

    Args:
        question: what is in doubt, with file and place, ending in the question.
        answers: the answers, each as `--as` takes it (`pixelwise.data.answers`).
    """

    def __init__(self, question: str, answers: Iterable[str]) -> None:
        self.question = question
        self.answers = tuple(answers)
        super().__init__(
            f"{question} Answer with {' or '.join(f'--as {shlex.quote(answer)}' for answer in self.answers)}"
        )


class TooManyPixels(DataError):
    """A picture announces more pixels than are read; nothing of it was decoded."""


class MissingSplit(DataError):
    """A data set has no such split, or the split's list or folder is not there; what is there but wrong is no such."""


class WeightsError(PixelwiseError, ValueError):
    """Names or shapes of weights do not fit the network."""


class SurgeryError(PixelwiseError, ValueError):
    """A network holds a layer or an operation that cannot be changed as asked."""


class CheckpointError(PixelwiseError, ValueError):
    """A model file is not ours, from a newer format, or truncated."""


class TrainingError(PixelwiseError, RuntimeError):
    """Training cannot go on: a value that is not a number, no memory, no disk space."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownName:
    """The error for a misspelt name, with the nearest known one.

    >>> str(unknown_name("model", "unett", ["unet", "segnet_basic"]))
    "no model is called 'unett'; did you mean 'unet'? Known: segnet_basic, unet"
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1)
    hint = f"; did you mean {near[0]!r}?" if near else "."
    return UnknownName(f"no {kind} is called {name!r}{hint} Known: {', '.join(names)}")
