"""The pictures of a run: which of a folder are trained on, validated and tested, decoded and in memory."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pixelwise.data.batch import MemoryDataset
from pixelwise.data.duplicates import groups_of
from pixelwise.data.folder import PairDataset
from pixelwise.errors import DataError
from pixelwise.flow import planner
from pixelwise.flow.class_folders import ReducedDataset
from pixelwise.flow.machine import Machine
from pixelwise.flow.plan import Plan
from pixelwise.flow.understanding import Understanding

SPLITS = {"train": ("train", "all"), "validation": ("val", "train", "all"), "test": ("test",)}
"""The splits of a folder that a plan's part may be of: the first that has all its pictures."""


@dataclass(frozen=True)
class Parts:
    """The pictures of a run.

    Attributes:
        train, validation: as they are trained on: reduced, where folders tell the classes.
        whole_validation: the validation part as a model file meets it.
        test: None where the folder names none.
        presence: (n, K), of the training part.
    """

    train: MemoryDataset
    validation: MemoryDataset
    whole_validation: MemoryDataset | PairDataset
    test: PairDataset | None
    presence: NDArray[np.bool_]


def check_counted(understanding: Understanding, parts: dict[str, PairDataset | None]) -> None:
    """Refuse a part of which nothing counts, before it is trained or measured on."""
    for part, data in parts.items():
        if data is not None and not pixel_counts(understanding, data).any():
            raise DataError(
                f"all {len(data)} masks of the {part} part are void, so that nothing of it counts; complete them, or "
                "remove the part"
            )


def datasets_of(understanding: Understanding) -> dict[str, PairDataset]:
    """The parts of a folder, of the pictures that have masks."""
    return {
        split: data.subset([i for i, pair in enumerate(data.pairs) if pair.mask is not None])
        for split, data in understanding.datasets().items()
    }


def in_memory(data: PairDataset, limit: int, by_folder: bool, shrink: int) -> MemoryDataset:
    """A data set that keeps what it has decoded; reduced, where folders tell the classes."""
    return MemoryDataset(ReducedDataset(data, shrink) if by_folder else data, limit_bytes=limit)


def pixel_counts(understanding: Understanding, data: PairDataset) -> NDArray[np.int64]:
    """(n, K) pixels of each class in each picture of a data set."""
    rows = [understanding.mask_counts[pair.mask] for pair in data.pairs if pair.mask is not None]
    return np.stack(rows)


def look_alikes(understanding: Understanding, data: PairDataset) -> list[int]:
    """The group of pictures that look the same, for each picture of a data set."""
    pairs = understanding.pairs
    groups = groups_of(len(pairs), list(understanding.alike))
    place = {pair: int(group) for pair, group in zip(pairs, groups, strict=True)}
    return [place[pair] for pair in data.pairs]


def pictures_of(understanding: Understanding, plan: Plan, part: str) -> tuple[tuple[str, str], ...]:
    """(name, digest of the file's bytes) of each picture of a plan's part."""
    names = plan.split[part]
    for split in SPLITS[part]:
        digests = {pair.name: understanding.images[pair.image].digest for pair in understanding.splits.get(split, ())}
        if all(name in digests for name in names):
            return tuple((name, digests[name]) for name in names)
    return tuple((name, "") for name in names)


def parts_of_plan(understanding: Understanding, plan: Plan, machine: Machine) -> Parts:
    """The pictures that a stored plan names, from the folder as it is now."""
    if understanding.labels != plan.labels:
        raise DataError("the classes of the folder are no longer those of the plan; make a new plan with a new fit")
    datasets = datasets_of(understanding)
    place = {(split, p.name): i for split, data in datasets.items() for i, p in enumerate(data.pairs)}
    limit = int(machine.memory_bytes * planner.MEMORY_SHARE)

    def find(names: tuple[str, ...], splits: tuple[str, ...], part: str) -> PairDataset | None:
        for split in splits:
            if split in datasets and all((split, name) in place for name in names):
                return datasets[split].subset([place[split, name] for name in names])
        missing = [n for n in names if not any((s, n) in place for s in splits)]
        if missing:
            raise DataError(f"{missing[0]} of the plan's {part} part is no longer in the folder; put it back")
        return None

    train = find(plan.split["train"], SPLITS["train"], "training")
    validation = find(plan.split["validation"], SPLITS["validation"], "validation")
    test = find(plan.split["test"], SPLITS["test"], "test") if plan.split["test"] else None
    if train is None or validation is None:
        raise DataError("the folder's parts are no longer those of the plan; make a new plan with a new fit")
    check_counted(understanding, {"training": train, "validation": validation, "test": test})
    presence = pixel_counts(understanding, train) > 0
    by_folder = understanding.by_folder
    shrink = plan.recipe.model_options.get("shrink", 1)
    memory, held_back = (in_memory(data, limit, by_folder, shrink) for data in (train, validation))
    return Parts(memory, held_back, validation if by_folder else held_back, test, presence)
