"""How long `import pixelwise` and `pixelwise --help` take, against `import torch` alone, in fresh processes."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from functools import partial

from pixelwise.benchmark.turns import Ratio, ratio_of, take_turns, versioned

NAME = "import"
COMMANDS = {
    "import pixelwise": ("-c", "import pixelwise"),
    "pixelwise --help": ("-m", "pixelwise", "--help"),
    "import pixelwise and what a fit needs": ("-c", "import pixelwise; pixelwise.fit"),
}
PEER = ("-c", "import torch")


def run(arguments: tuple[str, ...]) -> int:
    """The exit code of a fresh interpreter."""
    return subprocess.run([sys.executable, *arguments], check=False, stdout=subprocess.DEVNULL).returncode


def measure(*, quick: bool = False) -> Iterator[Ratio]:
    """A ratio for each way to begin."""
    ways: dict[str, Callable[[], int]] = {name: partial(run, arguments) for name, arguments in COMMANDS.items()}
    found, seconds = take_turns(ways | {"peer": partial(run, PEER)}, 2 if quick else 5)
    for name in COMMANDS:
        fine = found[name] == found["peer"] == 0
        yield ratio_of(
            NAME,
            name,
            f"{versioned('torch')}: import torch",
            seconds[name],
            seconds["peer"],
            equal=fine,
            answers="both ran" if fine else f"exit codes {found[name]} and {found['peer']}",
        )
