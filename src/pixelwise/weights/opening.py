"""A model by its file or its name in the catalogue: the one place where a MODEL becomes a Segmenter.

Published weights are imported once and kept in the cache as a model file of ours, in PIXELWISE_CACHE/models, so that
the next start needs neither the published file nor the import. A published file that is newer, as one that a person
has put there since, is imported again; so it is by another version of pixelwise.
"""

from pathlib import Path

from pixelwise.errors import CheckpointError, unknown_name
from pixelwise.files import cache_folder
from pixelwise.segmenter import Segmenter
from pixelwise.version import VERSION
from pixelwise.weights.cache import fetch, place_of
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights
from pixelwise.weights.download import Patience, Progress
from pixelwise.weights.import_files import import_weights

IMAGENET_CLASSES = 1000


def load(model: str | Path) -> Segmenter:
    """The segmenter of a model file, or of published weights by their name in the catalogue.

    Raises:
        CheckpointError: there is no such file, it is truncated, not ours, or from a newer pixelwise.
        UnknownName: it is neither a file nor, quite, a name of the catalogue.
        NotHere: the published file is not in the cache and cannot be downloaded; says which to bring, and where to.
        WeightsError: the file is another one than was published.
    """
    return open_model(model)


def open_model(model: str | Path, *, patience: Patience | None = None, progress: Progress | None = None) -> Segmenter:
    """What `load` gives, with what a command line shows of a download.

    Args:
        model: a path, or a name in `CATALOGUE`; a file goes before a name.
        patience: with slow servers.
        progress: called with the bytes so far and of the whole file while it is downloaded.
    """
    name = str(model)
    if name in CATALOGUE and not Path(model).is_file():
        return _published(CATALOGUE[name], patience, progress)
    try:
        return Segmenter.load(model)
    except CheckpointError:
        if Path(model).exists() or Path(name).suffix or Path(name).name != name:
            raise
        raise unknown_name("model file or published weights", name, CATALOGUE) from None


def file_of(model: str | Path, *, progress: Progress | None = None) -> Path:
    """The path of a model file; of published weights that of their import in the cache, made where it is not there."""
    if str(model) in CATALOGUE and not Path(model).is_file():
        return imported(str(model), progress=progress)
    return Path(model)


def imported(name: str, *, patience: Patience | None = None, progress: Progress | None = None) -> Path:
    """The model file of published weights in the cache, made where it is not there yet.

    Raises:
        NotHere, WeightsError: as `load`.
        OSError: the cache cannot be written.
    """
    record = CATALOGUE[name]
    place = _kept(record)
    if not _is_fresh(record, place):
        _import(record, patience, progress).save(place)
    return place


def _published(record: PublishedWeights, patience: Patience | None, progress: Progress | None) -> Segmenter:
    place = _kept(record)
    if _is_fresh(record, place):
        try:
            return Segmenter.load(place)
        except CheckpointError:
            pass  # damaged: made again
    segmenter = _import(record, patience, progress)
    try:
        segmenter.save(place)
    except OSError:
        pass  # a cache that cannot be written costs time alone
    return segmenter


def _import(record: PublishedWeights, patience: Patience | None, progress: Progress | None) -> Segmenter:
    file = fetch(record.name, patience=patience, progress=progress)
    classes = record.classes or record.labels
    if record.classifier:
        classes = tuple(f"imagenet {index}" for index in range(IMAGENET_CLASSES))
    segmenter, _ = import_weights(file, model=record.network, format=record.format, classes=classes)
    segmenter.recipe = dict(segmenter.recipe) | {"published": record.name}
    return segmenter


def _kept(record: PublishedWeights) -> Path:
    """Where the imported model lies."""
    return cache_folder() / "models" / f"{record.name}-{VERSION}.safetensors"


def _is_fresh(record: PublishedWeights, place: Path) -> bool:
    """Whether the imported model is there, and no older than the published file, where that is there."""
    try:
        made = place.stat().st_mtime_ns
    except OSError:
        return False
    try:
        return place_of(record).stat().st_mtime_ns <= made
    except OSError:
        return True
