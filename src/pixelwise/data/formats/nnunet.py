"""nnU-Net's raw folder: dataset.json with the classes, a file for each channel of a picture, masks of class numbers.

    dataset.json                     channel_names, labels, file_ending (version 2); modality, labels (version 1)
    imagesTr/<case>_0000.png         one file a channel, _0001, …; or one file with all channels of a color picture
    labelsTr/<case>.png              imagesTs and labelsTs alike, for a test set

A label that is called ignore is void. Where labels are regions (lists of values), each value is called by the smallest
region that holds it.

Source: Isensee et al. 2021, nnU-Net, and the dataset format that its documentation gives.
"""

import re
from pathlib import Path
from typing import Any

from pixelwise.data.answers import NOTHING, Answers
from pixelwise.data.decode import IMAGE_EXTENSIONS
from pixelwise.data.formats.finding import counted, is_background, is_void, read_json
from pixelwise.data.layout import Fault, Layout, directories, normal
from pixelwise.data.sample import Channels, ImageSource, Pair
from pixelwise.errors import DataError
from pixelwise.labels import VOID, VOID_16, LabelSet

_CHANNEL = re.compile(r"(.+)_(\d{4})")
_VOLUMES = (".nii.gz", ".nii", ".nrrd", ".mha", ".mhd", ".b2nd", ".npz", ".npy")


def nnunet_layout(root: Path, answers: Answers = NOTHING) -> Layout | None:
    """The layout of a folder that is, or holds, one data set of nnU-Net; None where it does not.

    Raises:
        DataError: it holds two, volumes instead of pictures, or a dataset.json that names no labels.
    """
    homes = [
        home for home in directories(root, 2) if (home / "dataset.json").is_file() and (home / "imagesTr").is_dir()
    ]
    if not homes:
        return None
    if len(homes) > 1:
        raise DataError(
            f"{root} holds {len(homes)} sets of nnU-Net, {homes[0].name} and {homes[1].name}; which one is meant? "
            f"Pass {homes[0]} or {homes[1]}"
        )
    home = homes[0]
    path = home / "dataset.json"
    record = read_json(path)
    if not isinstance(record, dict) or not isinstance(record.get("labels"), dict) or not record["labels"]:
        raise DataError(f'{path} has no "labels"; expected {{"background": 0, "name": 1, …}}: add them')
    _check_no_volumes(home, record)
    labels, notes = _labels(record["labels"], path)
    channel_names = _channel_names(record)
    splits: dict[str, tuple[Pair, ...]] = {}
    faults: list[Fault] = []
    has_test = (home / "labelsTs").is_dir() and any((home / "labelsTs").iterdir())
    for split, end in (("train", "Tr"), ("test", "Ts")):
        if end == "Ts" and not has_test:
            continue
        pairs, wrong = _pairs(home / f"images{end}", home / f"labels{end}", len(channel_names))
        faults += wrong
        if pairs:
            splits[split if has_test else "all"] = pairs
    if not splits:
        first = faults[0].message if faults else "both folders are empty"
        raise DataError(f"no case of {home} has a picture in imagesTr and a mask in labelsTr: {first}")
    several = any(isinstance(pair.image, Channels) for pairs in splits.values() for pair in pairs)
    return Layout(
        root=home,
        name=f"nnU-Net ({home.name})",
        rule="each mask of labelsTr/ with the files of its case in imagesTr/, <case>_0000, <case>_0001, …"
        + (": one channel each" if several else ""),
        splits=splits,
        faults=tuple(faults),
        notes=tuple(notes),
        labels=(labels,),
        channel_names=channel_names if len(channel_names) > 1 else (),
    )


def _check_no_volumes(home: Path, record: dict[str, Any]) -> None:
    ending = str(record.get("file_ending", ""))
    sample = next((f for f in sorted((home / "imagesTr").iterdir()) if f.name.lower().endswith(_VOLUMES)), None)
    if ending.lower().endswith(_VOLUMES) or sample is not None:
        what = sample.name if sample is not None else f"*{ending}"
        raise DataError(
            f"{home} holds volumes ({what}), which are no pictures; expected PNG, TIFF or BMP: "
            "export their slices, one picture and one mask each"
        )


def _labels(raw: dict[str, Any], path: Path) -> tuple[LabelSet, list[str]]:
    """The classes in the order of their values; version 1 has {value: name}, version 2 {name: value or values}.

    Raises:
        DataError: a value is no whole number, or none is a class.
    """
    regions: dict[str, tuple[int, ...]] = {}
    for key, value in raw.items():
        if isinstance(value, str) and key.strip().lstrip("-").isdigit():
            name, numbers = value, [int(key)]
        else:
            name, numbers = key, value if isinstance(value, list) else [value]
        if not all(isinstance(number, int) and not isinstance(number, bool) and number >= 0 for number in numbers):
            raise DataError(f"{path} gives {name!r} the value {value!r}; expected whole numbers from 0: correct it")
        regions[normal(name.strip())] = tuple(numbers)
    of_value: dict[int, str] = {}
    for name in sorted(regions, key=lambda name: -len(regions[name])):
        of_value |= dict.fromkeys(regions[name], name)
    called = list(of_value.values())
    names: list[str] = []
    table: dict[int, int] = {}
    voids = []
    for value in sorted(of_value):
        name = of_value[value]
        if is_void(name):
            voids.append(value)
            continue
        table[value] = len(names)
        names.append("background" if is_background(name) else f"{name} ({value})" if called.count(name) > 1 else name)
    if not names:
        raise DataError(f"{path} names no label besides ignore; expected classes: add them")
    void = VOID if len(names) <= VOID else VOID_16
    notes = []
    if any(len(numbers) > 1 for numbers in regions.values()):
        told = ", ".join(f"{value} is {names[cls]}" for value, cls in table.items())
        notes.append(f"the labels are regions that hold each other; each value is called by the smallest: {told}")
    return LabelSet(tuple(names), table=table | dict.fromkeys(voids, void)), notes


def _channel_names(record: dict[str, Any]) -> tuple[str, ...]:
    raw = record.get("channel_names") or record.get("modality") or {}
    if isinstance(raw, dict) and all(str(key).isdigit() for key in raw):
        return tuple(str(raw[key]) for key in sorted(raw, key=lambda key: int(str(key))))
    return tuple(str(name) for name in raw) if isinstance(raw, list) else ()


def _pairs(images: Path, masks: Path, channels: int) -> tuple[tuple[Pair, ...], list[Fault]]:
    """The cases of one folder, and those that lack a file."""
    cases: dict[str, dict[int, Path]] = {}
    for file in _files(images):
        match = _CHANNEL.fullmatch(normal(file.stem))
        name, number = (match[1], int(match[2])) if match else (normal(file.stem), 0)
        cases.setdefault(name, {})[number] = file
    several = any(set(files) != {0} for files in cases.values())
    wanted = max([channels, *(number + 1 for files in cases.values() for number in files)]) if several else 1
    targets = {normal(file.stem): file for file in _files(masks)}
    pairs, faults = [], []
    for name, mask in targets.items():
        files = cases.get(name)
        if files is None:
            reason = f"{mask} has no picture {name}_0000 in {images}"
            faults.append(Fault("error", "missing", mask, reason, "add it or remove the mask"))
            continue
        lacking = [number for number in range(wanted) if number not in files]
        if lacking:
            reason = f"{mask} lacks the channel {name}_{lacking[0]:04d} in {images}" + (
                f" and {len(lacking) - 1} more" if len(lacking) > 1 else ""
            )
            faults.append(
                Fault("error", "missing", mask, f"{reason}; {counted(wanted, 'channel')} expected", "add the file")
            )
            continue
        image: ImageSource = files[0] if wanted == 1 else Channels(tuple(files[number] for number in range(wanted)))
        pairs.append(Pair(image, mask, name))
    for name, files in cases.items():
        if name not in targets:
            first = next(iter(files.values()))
            faults.append(Fault("warning", "orphan", first, f"{first} has no mask and is left out", "add the mask"))
    return tuple(sorted(pairs, key=lambda pair: pair.name)), faults


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return [f for f in sorted(folder.iterdir()) if f.suffix.lower() in IMAGE_EXTENSIONS and f.name[0] != "."]
