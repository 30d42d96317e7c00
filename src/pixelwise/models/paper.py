"""Paper: which publication a file of networks belongs to; each file has its `PAPER`."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Paper:
    """A publication.

    Attributes:
        authors: as one cites them, "Long, Shelhamer, Darrell" or "Chen et al.".
        title: in full.
        year: of the publication whose network it is.
        link: arXiv number, or where to find it.
    """

    authors: str
    title: str
    year: int
    link: str

    @property
    def citation(self) -> str:
        """In short, "Long et al. 2015"."""
        names = self.authors.removesuffix(" et al.").split(", ")
        short = f"{names[0]} et al." if len(names) > 1 or "et al." in self.authors else names[0]
        return f"{short} {self.year}"
