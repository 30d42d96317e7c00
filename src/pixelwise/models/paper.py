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
        """In short, "Long et al. 2015", "Yu and Koltun 2016"."""
        names = self.authors.removesuffix(" et al.").split(", ")
        if len(names) == 2:
            return f"{names[0]} and {names[1]} {self.year}"
        return (
            f"{names[0]} et al. {self.year}"
            if len(names) > 2 or "et al." in self.authors
            else f"{names[0]} {self.year}"
        )
