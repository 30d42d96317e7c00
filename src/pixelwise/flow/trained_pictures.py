"""The pictures that a network was trained on, so that an evaluation can leave them out or tell of them."""

from collections.abc import Iterable


class TrainedPictures:
    """Pictures that a network was trained on: by their bytes, and by name alone where these are not known.

    Attributes:
        digests: of files.
        names: of the pictures without one.
    """

    def __init__(self, pictures: Iterable[tuple[str, str]]) -> None:
        pictures = list(pictures)
        self.digests = {digest for _, digest in pictures if digest}
        self.names = {name for name, digest in pictures if not digest}
