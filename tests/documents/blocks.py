"""What a page tells its reader to type: its fenced blocks, and the commands in its tables of wishes."""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
NOT_RUN = re.compile(r"<!--\s*not run:\s*(.+?)\s*-->")
FENCE = re.compile(r"^(\s*)(`{3,})\s*([\w-]*)")


@dataclass(frozen=True)
class Block:
    """A fenced block of a page, or the commands of one row of a table as a block without language."""

    page: str
    line: int  # of its first line, from 1
    language: str
    text: str
    reason: str = ""  # why it is not run

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def commands(self) -> list[str]:
        """Its command lines, continued ones joined; in a console those behind `$`."""
        lines = self.text.replace("\\\n", " ").splitlines()
        if self.language == "console":
            lines = [line[2:] for line in lines if line.startswith("$ ")]
        return [line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#")]


def pages() -> list[str]:
    """All pages that a reader meets, by their paths in the repository."""
    found = [*ROOT.glob("README*.md"), *ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    return sorted({str(path.relative_to(ROOT)) for path in found})


def text_of(page: str) -> str:
    """A page."""
    return (ROOT / page).read_text(encoding="utf-8")


def blocks(page: str, text: str | None = None) -> list[Block]:
    """What there is to run in a page, from top to bottom."""
    found, lines = [], (text_of(page) if text is None else text).splitlines()
    reason, column, number = "", None, 0
    while number < len(lines):
        line = lines[number]
        number += 1
        if opened := FENCE.match(line):
            indent, fence, language = opened.groups()
            first = number
            while number < len(lines) and lines[number].strip() != fence:
                number += 1
            assert number < len(lines), f"{page}:{first}: this block does not end"
            inside = "".join(part.removeprefix(indent) + "\n" for part in lines[first:number])
            found.append(Block(page, first + 1, language.lower(), inside, reason))
            reason, number = "", number + 1
        elif marked := NOT_RUN.search(line):
            reason = marked[1]
        elif line.strip():
            assert not reason, f"{page}:{number}: `not run` stands right before a block"
            if line.startswith("|"):
                cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
                if cells[:2] == ["to", "do"] or cells[:2] == ["command", "file"]:
                    column = 1 if cells[1] == "do" else 0
                elif column is not None and (typed := whole_commands(cells[column])):
                    found.append(Block(page, number, "", "\n".join(typed)))
            else:
                column = None
    return found


def without_comments(text: str) -> str:
    """Code as it would be in another language."""
    return re.sub(r" *#.*", "", text)


def whole_commands(cell: str) -> list[str]:
    """The commands of a cell that can be typed as they stand: without MODEL, FOLDER or …"""
    typed = re.findall(r"`(pixelwise [a-z][^`]*)`", cell)
    return [line for line in typed if not re.search(r"\b[A-Z][A-Z0-9]+\b|…", re.sub(r"[A-Z_]+=", "", line))]


def named_commands(text: str) -> list[str]:
    """Every `pixelwise …` of a page, in blocks, tables and sentences."""
    in_blocks = re.findall(r"^[ \t$]*(?:[A-Z_]+=\S* )*(?:torchrun .*?-m )?pixelwise ([a-z].*)$", text, re.M)
    return in_blocks + [part.replace("\n", " ") for part in re.findall(r"`pixelwise\s([a-z][^`]*)`", text)]


def paths_named(text: str) -> list[str]:
    """Paths between backticks that a reader can look up: with a slash, and nothing to be replaced."""
    found = re.findall(r"`((?:[\w.-]+/)+[\w.-]+)`", re.sub(r"^```.*?^```", "", text, flags=re.M | re.S))
    return [path for path in found if not re.search(r"\b[A-Z][A-Z0-9]+\b", path)]


def files_listed(text: str) -> list[str]:
    """The paths in the first column of tables whose head says `file`."""
    found, listing = [], False
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if not cells:
            listing = False
        elif cells[0] in ("file", "files", "文件"):
            listing = True
        elif listing:
            found += re.findall(r"`([^`]+)`", cells[0])
    return found
