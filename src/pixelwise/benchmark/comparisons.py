"""All comparisons, in the order in which they are measured and shown."""

from collections.abc import Callable, Iterator, Mapping, Sequence

from pixelwise.benchmark import argmax, confusion, crf, data_path, imports, predict
from pixelwise.benchmark.turns import Missing, Ratio
from pixelwise.errors import unknown_name

COMPARISONS: Mapping[str, Callable[..., Iterator[Ratio | Missing]]] = {
    argmax.NAME: argmax.measure,
    confusion.NAME: confusion.measure,
    crf.NAME: crf.measure,
    predict.NAME: predict.measure,
    data_path.NAME: data_path.measure,
    imports.NAME: imports.measure,
}


def compare(
    only: Sequence[str] = (),
    *,
    quick: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Ratio | Missing]:
    """Measure all comparisons, or some of them, one after the other.

    Args:
        only: their names, as in `COMPARISONS`.
        quick: smaller cases and fewer turns: a look at whether everything runs.

    Raises:
        UnknownName: there is no such comparison.
    """
    for name in only:
        if name not in COMPARISONS:
            raise unknown_name("comparison", name, COMPARISONS)
    chosen = [name for name in COMPARISONS if name in only or not only]
    found: list[Ratio | Missing] = []
    for done, name in enumerate(chosen):
        progress(done, len(chosen))
        found.extend(COMPARISONS[name](quick=quick))
    progress(len(chosen), len(chosen))
    return found
