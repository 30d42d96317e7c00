"""Write the page of the data sets, `docs/reference/datasets.md`: `python docs/generate/datasets_table.py`."""

import textwrap
from pathlib import Path

from pixelwise.data import list_datasets
from pixelwise.flow.data_sets import Facts, facts

ROOT = Path(__file__).parents[2]
HEAD = """\
# Data sets

Written by `docs/generate/datasets_table.py`; on the terminal: `pixelwise list datasets`, or with names and colors of
all classes `pixelwise list datasets --json`.

Each name is what `pw.open_dataset(NAME, root, split)` takes, and `--dataset NAME` of `check`, `convert`, `evaluate` and
`tune-crf`. The split that is opened if none is named is the first of the list; `evaluate` takes val, or test of NYUDv2
and SIFT Flow. Options are keywords of `open_dataset`, and on the command line follow the name:
`--dataset pascal_context,classes=33`. The usual value stands first. Of two heads `check` and `convert` take the first,
or the one that is named: `--dataset sift_flow,head=geometric`.

Numbers of pictures are the official ones (of VOC 2011 but train, of SBD's val and of COCO they are UNVERIFIED); where a
folder holds others, a line says so, and nothing is refused. Nothing is decoded when a set is opened, and labels are
never resampled.

`folder` is any folder of pictures and masks that `pixelwise check` understands:
[prepare a folder](../how-to/prepare-a-folder.md).

"""

MORE = {
    "nyud_v2": """
`channels=hha` reads HHA (disparity, height, angle) from `data/hha`. From the labelled file, and from `data/depth` where
there is no `data/hha`, it is computed once, with NYUDv2's camera, and kept in the cache. For other programs:

<!-- not run: it needs the depth pictures of NYUDv2; tests/data/test_hha.py makes small ones -->
```
pixelwise convert nyud hha --dataset nyud_v2,channels=hha
pixelwise convert FOLDER_OF_THE_MAT hha --dataset nyud_v2,channels=hha,crop=true
```

write images/ (HHA as red, green, blue), masks/ and classes.yaml. `crop=true` is FCN's and Gupta's size, 425 × 560.
`data/depth` does not tell where depth was filled in, so that normals are estimated there, too; of three pictures, the
authors' own HHA is met but for a level in some pixels of one. From the labelled file these places are left out. For
depth of another camera, or without masks: `pixelwise.data.hha.encode_folder`.
""",
}


def section(one: Facts) -> str:
    """What there is to say of a data set."""
    lines = [f"## {one.name}", "", f"{one.about}. Scored by `{one.protocol}` in the papers.", ""]
    splits = ", ".join(f"{name} ({count:,})".replace(",", " ") for name, count in one.splits.items())
    lines.append(f"- splits: {splits}")
    for option, values in one.options.items():
        lines.append(f"- option `{option}`: {', '.join(values)}")
    for head, labels in one.classes.items():
        of = f" of the head `{head}`" if len(one.classes) > 1 else ""
        lines.append(f"- {labels.num_classes} classes{of}: {', '.join(labels.names)}")
    filled = (textwrap.fill(line, 116, subsequent_indent="  ", break_on_hyphens=False) for line in lines)
    return "\n".join(filled) + "\n"


def page(known: list[Facts]) -> str:
    """The page of the documentation: what lies where stands once for all sets of a module."""
    rows = ["| name | classes | splits |", "| --- | ---: | --- |"]
    for one in known:
        classes = " + ".join(str(labels.num_classes) for labels in one.classes.values())
        rows.append(f"| `{one.name}` | {classes} | {', '.join(one.splits)} |")
    parts = [HEAD + "\n".join(rows) + "\n"]
    for i, one in enumerate(known):
        parts.append(section(one) + MORE.get(one.name, ""))
        if i + 1 == len(known) or known[i + 1].home is not one.home:
            parts.append(f"What lies where:\n\n```text\n{one.layout}\n```\n")
    return "\n".join(parts)


def all_facts() -> list[Facts]:
    """Of all data sets but `folder`, those of one module beside each other."""
    known = [found for name in list_datasets() if (found := facts(name)) is not None]
    return sorted(known, key=lambda one: (one.home.__name__, one.name))


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "reference" / "datasets.md").write_text(page(all_facts()), encoding="utf-8")


if __name__ == "__main__":
    main()
