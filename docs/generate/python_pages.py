"""Write the pages of the Python names: `python docs/generate/python_pages.py`.

They are `docs/reference/python.md`, a list of all, and one for each part in `docs/reference/python/`.

`PARTS` is the list of what is public. A page holds the names alone; the site draws signatures and docstrings from the
code when it is built.
"""

import importlib
import inspect
import re
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pixelwise
from pixelwise import backbones, caffe, crf, errors, models, protocols, surgery, weights
from pixelwise.data import DATASETS

ROOT = Path(__file__).parents[2]
PAGES = ROOT / "docs" / "reference"


@dataclass(frozen=True)
class Part:
    """A page.

    Attributes:
        about: what the names are for, in a sentence or two.
        names: {module from which they are imported: names}, in the order of the page.
    """

    page: str
    title: str
    about: str
    names: dict[str, tuple[str, ...]]

    @property
    def paths(self) -> list[str]:
        """All names with their modules."""
        return [f"{module}.{name}" for module, names in self.names.items() for name in names]


def _trunks(*modules: str) -> dict[str, tuple[str, ...]]:
    """The trunks and their maps, from the files they stand in."""
    kinds = re.compile(r"(AlexNet|VGG16|VGG|GoogLeNet|ResNet)(Features|Channels)?|resnet\d+")
    found = {}
    for module in modules:
        home = importlib.import_module(f"pixelwise.backbones.{module}")
        found[home.__name__] = tuple(name for name in vars(home) if kinds.fullmatch(name))
    return found


def _builders() -> dict[str, tuple[str, ...]]:
    """The networks' builders, from the package."""
    return {"pixelwise.models": ("MODELS", "build", "list_models", "takes_levels", *models.MODELS)}


PARTS = (
    Part(
        "pixelwise",
        "pixelwise",
        "What `import pixelwise as pw` gives: train, load, predict, evaluate, export.",
        {"pixelwise": tuple(name for name in pixelwise.__all__ if name != "__version__")},
    ),
    Part(
        "metrics",
        "Metrics",
        "One confusion matrix over a whole set, and the scores that are read off it.",
        {"pixelwise.metrics": ("ConfusionMatrix", "Scores", "ClassScore", "mean_iou_of_picture")},
    ),
    Part(
        "protocols",
        "Protocols",
        "The rules by which published figures were scored, on label maps alone.",
        {
            "pixelwise.protocols": tuple(protocols.__all__),
            "pixelwise.protocols.boundaries": ("TrimapAccumulator", "TrimapCurve", "label_boundaries", "distance_to"),
            "pixelwise.protocols.boundary_f": (
                "BoundaryFAccumulator",
                "BoundaryScores",
                "BoundaryMatch",
                "boundary_f",
                "match_outlines",
                "outline",
            ),
            "pixelwise.protocols.intervals": (
                "Interval",
                "interval",
                "difference",
                "score_interval",
                "score_difference",
            ),
            "pixelwise.protocols.upper_bound": ("UpperBounds", "UpperBound", "upper_bounds", "coarse", "filled"),
            "pixelwise.protocols.server_files": ("write_voc_results", "write_cityscapes_results"),
        },
    ),
    Part(
        "models",
        "Networks",
        "A builder for each network, by name or as a function; [their sizes](../models.md). Each takes `num_classes`, "
        "K; `in_channels`, C of the pictures; `width`, a share of the published channels, 1 if left out and a fraction "
        "for a narrow twin; and its paper's own options, whose defaults are the released files'.",
        _builders(),
    ),
    Part(
        "backbones",
        "Backbones",
        "Classification networks: trunks, which a segmenter reads, and the classifiers that they come from.",
        {"pixelwise.backbones": ("CLASSIFIERS", *(one.__name__ for one in backbones.CLASSIFIERS.values()))}
        | _trunks("alexnet", "vgg", "googlenet", "resnet"),
    ),
    Part(
        "layers",
        "Layers",
        "What all networks share: the output of a network, its way to the picture's pixels, and what goes in.",
        {
            "pixelwise.layers.head": ("Head", "full_size"),
            "pixelwise.layers.resample": ("Resampling", "Taps", "deconvolution_taps"),
            "pixelwise.layers.normalization": ("Normalization",),
            "pixelwise.layers.crop": ("crop",),
        },
    ),
    Part(
        "surgery",
        "Surgery",
        "Changes of any network of torch that keep its weights.",
        {"pixelwise.surgery": tuple(surgery.__all__)},
    ),
    Part(
        "crf",
        "Dense CRF",
        "Fully connected conditional random fields, usable without the rest.",
        {"pixelwise.crf": tuple(crf.__all__)},
    ),
    Part(
        "weights",
        "Weights",
        "Published weights: the catalogue, and Caffe's and PyTorch's files put into our networks.",
        {"pixelwise.weights": tuple(name for name in weights.__all__ if not name.startswith("read_"))},
    ),
    Part(
        "caffe",
        "Caffe's files",
        "Caffe's weights and networks, read and written without Caffe.",
        {"pixelwise.caffe": tuple(caffe.__all__)},
    ),
    Part(
        "training",
        "Training",
        "What a recipe holds, the losses, and the optimizers' schedules.",
        {
            "pixelwise.training.recipe": ("Recipe", "HeadLoss", "Rate"),
            "pixelwise.training.losses": (
                "NORMALIZATIONS",
                "cross_entropy",
                "focal",
                "soft_dice",
                "lovasz_softmax",
                "pixel_weights",
                "sampled",
                "hardest",
            ),
            "pixelwise.training.optimizers": ("make_optimizer", "set_rate", "rate_at"),
        },
    ),
    Part(
        "recipes",
        "Recipes",
        "The papers' trainings as values; [the list of them](../recipes.md).",
        {
            "pixelwise.recipes": ("RECIPES", "published_recipe", "list_recipes"),
            "pixelwise.recipes.published": ("PublishedRecipe", "Stage", "Data", "Levels", "Score"),
        },
    ),
    Part(
        "data",
        "Data",
        "Data sets, their samples, and what is drawn from them; [the sets](../datasets.md).",
        {
            "pixelwise.data": ("open_dataset", "list_datasets", *dict.fromkeys(["DATASETS", *sorted(DATASETS)])),
            "pixelwise.data.sample": ("Sample", "Dataset", "Pair", "Channels", "DrawnImage", "DrawnMask"),
            "pixelwise.data.folder": ("PairDataset",),
            "pixelwise.data.augmentation": ("Augmentation",),
            "pixelwise.data.augment": ("random_crop",),
            "pixelwise.data.hha": ("hha", "encode_folder", "Camera"),
        },
    ),
    Part(
        "flow",
        "Flow",
        "The parts of the commands that Python may want alone.",
        {
            "pixelwise.flow.learning_curve": ("learning_curve",),
            "pixelwise.flow.predicting.large": ("predict_large",),
            "pixelwise.flow.tracking": ("numbers_of",),
            "pixelwise.flow.demo": ("draw_demo", "draw_new_pictures"),
        },
    ),
    Part(
        "server",
        "Client of a server",
        "The other side of `pixelwise serve`.",
        {"pixelwise.server.client": ("Client", "Segmented", "ServerError")},
    ),
    Part(
        "errors",
        "Exceptions",
        "All stand under `PixelwiseError`; [what each means and what to do](../errors.md).",
        {
            "pixelwise.errors": tuple(
                name
                for name, value in vars(errors).items()
                if inspect.isclass(value) and issubclass(value, errors.PixelwiseError)
            )
        },
    ),
)
HEAD = """\
# Python

Written by `docs/generate/python_pages.py` from the code. These names stay; what is not listed may change with any
version. `import pixelwise` loads nothing but the name that is asked for.

Arrays have their shapes in this order: pictures (H, W, C), labels (H, W), tensors (N, C, H, W), with N pictures, C
channels, K classes. Sizes are (height, width). Levels are 0–255 until they are normalized.
"""


def value_of(path: str) -> Any:
    """What a path names."""
    module, _, name = path.rpartition(".")
    return getattr(importlib.import_module(module), name)


def first_line(path: str) -> str:
    """The first sentence of its docstring; of a constant, that below it in the code."""
    value = value_of(path)
    module, _, name = path.rpartition(".")
    if inspect.isclass(value) or inspect.isfunction(value):
        told = inspect.getdoc(value) or ""
    else:
        told = constant_docstring(home_of(module, name), name)
    told = told.partition("\n\n")[0].replace("\n", " ").replace("|", "\\|")
    return re.split(r"(?<=\.)\s+(?=[A-Z`])", told)[0].rstrip(".")


def home_of(module: str, name: str) -> str:
    """The module in which a constant is written."""
    home = importlib.import_module(module)
    found = re.search(rf"^from (\S+) import (?:[^(\n]*|\([^)]*)\b{name}\b", inspect.getsource(home), re.M)
    return str(getattr(home, "_HOME", {}).get(name) or (found[1] if found else module))


def constant_docstring(module: str, name: str) -> str:
    """The text in quotes that stands behind `name = …` in a module's code."""
    code = inspect.getsource(importlib.import_module(module))
    found = re.search(rf"^{name}\b.*?^\"\"\"(.*?)\"\"\"", code, re.M | re.S)
    return inspect.cleandoc(found[1]) if found else ""


def pages() -> dict[str, str]:
    """{path below docs/reference: text}; what `pixelwise` itself gives is told on that page alone."""
    start = [HEAD]
    written = {}
    first = PARTS[0]
    told = {id(value_of(path)): path for path in first.paths}
    for part in PARTS:
        about = part.about.replace("(../", "(")
        start.append(f"\n## [{part.title}](python/{part.page}.md)\n\n{about}\n\n| name | |\n| --- | --- |\n")
        body = [f"# {part.title}\n\n{part.about}\n"]
        elsewhere = []
        for path in part.paths:
            name = path.rpartition(".")[2]
            home = told.get(id(value_of(path)), path)
            page = part.page if home == path else first.page
            start.append(f"| [`{name}`](python/{page}.md#{home}) | {first_line(path)} |\n")
            if home == path:
                body.append(f"\n::: {path}\n")
            else:
                elsewhere.append(f"[`{name}`]({page}.md#{home})")
        if elsewhere:
            body.insert(1, f"\nTold under `pixelwise`: {', '.join(elsewhere)}.\n")
        written[f"python/{part.page}.md"] = "".join(body)
    return {"python.md": "".join(start)} | written


def main() -> None:
    """Write all pages, and remove those that are no more."""
    written = pages()
    (PAGES / "python").mkdir(exist_ok=True)
    for old in (PAGES / "python").glob("*.md"):
        if f"python/{old.name}" not in written:
            old.unlink()
    for path, text in written.items():
        (PAGES / path).write_text(text, encoding="utf-8")
        print(path, file=sys.stderr)


if __name__ == "__main__":
    main()
