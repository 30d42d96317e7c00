"""Draw the parts and their imports from the code: `python docs/generate/architecture_picture.py`.

The rules are import-linter's in pyproject.toml; the imports are those of all modules, as grimp finds them. Writes
`docs/images/architecture.svg`, the parts in rows, and `docs/images/imports.svg`, who imports whom.
"""

import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).parents[2]
IMAGES = ROOT / "docs" / "images"
LEFT_OUT = {"__main__", "version"}
ALSO = {"metrics_kernels": "metrics"}  # a file that belongs to a part
WIDTH = 380
STYLE = """<style>
.page{fill:#fff}.words{fill:#263238}.faint{fill:#5f6b70}.box{fill:#009485}.on{fill:#fff}.line{stroke:#cfd8dc}
.forbidden{fill:#ffe0b2}.used{fill:#009485}.self{fill:#b0bec5}
@media (prefers-color-scheme:dark){.page{fill:#1e2129}.words{fill:#e0e6e8}.faint{fill:#9fb0b6}.box{fill:#00796b}
.line{stroke:#3a4350}.forbidden{fill:#5d4327}.used{fill:#4db6ac}.self{fill:#546e7a}}
text{font-family:system-ui,sans-serif;font-size:12px}
</style>"""

Imports = dict[str, set[str]]


def part_of(module: str) -> str | None:
    """The part that a module belongs to: the first name below pixelwise."""
    words = module.split(".")
    name = ALSO.get(words[1], words[1]) if len(words) > 1 else None
    return None if name in LEFT_OUT else name


def imports() -> Imports:
    """{part: the parts that it imports}."""
    graph = grimp.build_graph("pixelwise", cache_dir=None)
    found: Imports = {part: set() for part in map(part_of, sorted(graph.modules)) if part is not None}
    for module in graph.modules:
        part = part_of(module)
        others = {part_of(other) for other in graph.find_modules_directly_imported_by(module)}
        if part is not None:
            found[part] |= {other for other in others if other is not None} - {part}
    return found


def forbidden(parts: list[str]) -> set[tuple[str, str]]:
    """(part, another that it may not import), of the contracts."""
    found = set()
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    for contract in contracts:
        if contract["type"] == "forbidden":
            pairs = ((one, other) for one in contract["source_modules"] for other in contract["forbidden_modules"])
        else:  # layers, the uppermost first; those of one line are independent
            rows = [line.split(" | ") for line in contract["layers"]]
            pairs = (
                (one, other)
                for number, row in enumerate(rows)
                for one in row
                for other in (each for upper in rows[: number + 1] for each in upper if each != one)
            )
        found |= {(str(part_of(one)), str(part_of(other))) for one, other in pairs}
    return {(one, other) for one, other in found if one in parts and other in parts}


def rows_of(found: Imports) -> list[list[str]]:
    """The parts in rows, so that each stands above all that it imports, and as low as can be; the uppermost first."""
    level: dict[str, int] = {}

    def height(part: str) -> int:
        if part not in level:
            level[part] = 1 + max((height(other) for other in found[part]), default=-1)
        return level[part]

    rows = [sorted(part for part in found if height(part) == number) for number in range(1 + max(map(height, found)))]
    return rows[::-1]


def sheet(height: float, told: str, body: list[str]) -> str:
    """The text of a file."""
    start = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" width="{WIDTH}" role="img"'
    page = f'<rect class="page" width="{WIDTH}" height="{height:g}" rx="6"/>'
    return "\n".join([f"{start}>", f"<title>{told}</title>", STYLE, page, *body, "</svg>", ""])


def stack(rows: list[list[str]]) -> str:
    """The parts as boxes, each row above what it imports."""
    body = []
    high, gap, edge = 30, 8, 10
    for number, row in enumerate(rows):
        wide = (WIDTH - 2 * edge - gap * (len(row) - 1)) / len(row)
        for place, part in enumerate(row):
            x, y = edge + place * (wide + gap), edge + number * (high + gap)
            body.append(f'<rect class="box" x="{x:g}" y="{y:g}" width="{wide:g}" height="{high}" rx="4"/>')
            middle = f'x="{x + wide / 2:g}" y="{y + 19:g}" text-anchor="middle"'
            body.append(f'<text class="on" {middle}>{part}</text>')
    return sheet(2 * edge + len(rows) * (high + gap) - gap, "The parts; each imports from rows below it", body)


def matrix(found: Imports, order: list[str], not_allowed: set[tuple[str, str]]) -> str:
    """Who imports whom: a row for each part, a column for each that it may import."""
    side, left, top = 12, 82, 78
    body = []
    for number, part in enumerate(order):
        x, y = left + number * side, top + number * side
        body.append(f'<text class="words" x="{left - 6}" y="{y + 10}" text-anchor="end">{part}</text>')
        body.append(
            f'<text class="words" transform="translate({x + 10} {top - 6}) rotate(-90)" style="font-size:11px">{part}'
            "</text>"
        )
    for number, part in enumerate(order):
        for place, other in enumerate(order):
            x, y = left + place * side, top + number * side
            if part == other or (part, other) in not_allowed:
                kind = "self" if part == other else "forbidden"
                body.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{side}" height="{side}"/>')
            if other in found[part]:
                body.append(f'<circle class="used" cx="{x + side / 2:g}" cy="{y + side / 2:g}" r="4"/>')
    end = side * len(order)
    for number in range(len(order) + 1):
        at = number * side
        body.append(f'<path class="line" d="M{left} {top + at}h{end}M{left + at} {top}v{end}" stroke-width=".5"/>')
    y = top + end + 22
    body += [
        f'<circle class="used" cx="{left + 6}" cy="{y - 4}" r="4"/>',
        f'<text class="faint" x="{left + 16}" y="{y}">imports it</text>',
        f'<rect class="forbidden" x="{left + 90}" y="{y - 10}" width="12" height="12"/>',
        f'<text class="faint" x="{left + 108}" y="{y}">may not, by a rule</text>',
    ]
    return sheet(y + 12, "Who imports whom: a row imports what has a dot", body)


def pictures() -> dict[str, str]:
    """{file in docs/images: its text}."""
    found = imports()
    rows = rows_of(found)
    order = [part for row in rows for part in row]
    return {"architecture.svg": stack(rows), "imports.svg": matrix(found, order, forbidden(order))}


def main() -> None:
    """Write both files."""
    for name, text in pictures().items():
        (IMAGES / name).write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
