"""Write the table of the networks in README.md and README.zh.md: `python docs/generate/readme_table.py`.

Parameters are those of `models/facts.json`, published scores those of `RECIPES`.
"""

from pathlib import Path

from pixelwise.models.facts import stored
from pixelwise.recipes import RECIPES, PublishedRecipe

ROOT = Path(__file__).parents[2]
START, END = "<!-- networks: docs/generate/readme_table.py -->\n\n", "<!-- end of networks -->"
HEADS = {
    "README.md": ("network", "paper", "million parameters", "published mean IoU", "on", "reached here"),
    "README.zh.md": ("网络", "论文", "参数（百万）", "公布的平均 IoU", "数据集", "本项目达到"),
}
NOT_YET = {"README.md": "not yet", "README.zh.md": "尚未"}
CHOSEN = {  # where the first recipe of a network is not the row that its neighbors are compared with
    "fcn32s_vgg16": "fcn32s_vgg16_voc",
    "deeplab_v2_vgg16_largefov": "deeplab_v2_vgg16_largefov_voc_poly_10_20k",
}
SETS = {
    "ade20k val": "ADE20K val",
    "camvid test": "CamVid test",
    "cityscapes val": "Cityscapes val",
    "nyud_v2 test": "NYUDv2 test",
    "seg11valid val": "seg11valid",
    "sift_flow test": "SIFT Flow test",
    "voc2011 val": "VOC 2011 val",
    "voc2012 seg12valid": "seg12valid",
    "voc2012 val": "VOC 2012 val",
    "voc2012_trainaug val": "VOC 2012 val",
}
ELSEWHERE = {  # where the number that was read is that of another set than the recipe's
    "dilation_frontend": "VOC 2012 test",
    "refinenet_resnet101": "Cityscapes test",
}


def chosen(name: str) -> PublishedRecipe | None:
    """The recipe whose score stands in the table; None where no recipe of the network has one."""
    recipes = [make() for make in RECIPES.values()]
    own = [recipe for recipe in recipes if recipe.model == name and recipe.expected and recipe.expected.mean_iou]
    named = [recipe for recipe in own if recipe.name == CHOSEN.get(name)]
    return next(iter(named or own), None)


def measured_on(recipe: PublishedRecipe) -> str:
    """The set of the published score."""
    name = recipe.evaluation.dataset.partition(",")[0]
    return ELSEWHERE.get(recipe.model, SETS[f"{name} {recipe.evaluation.split}"])


def as_printed(score: float) -> str:
    """With one decimal, or the two that the paper has."""
    return f"{score:.1f}" if round(score, 1) == score else f"{score:.2f}"


def table(page: str) -> str:
    """The lines of a page's table."""
    head = HEADS[page]
    lines = [f"| {' | '.join(head)} |", "| --- | --- | ---: | ---: | --- | --- |"]
    for one in stored():
        recipe = chosen(one.name)
        score, where, here = "–", "–", "–"
        if recipe is not None and recipe.expected is not None:
            score, where, here = as_printed(recipe.expected.mean_iou or 0), measured_on(recipe), NOT_YET[page]
        cells = (f"`{one.name}`", f"{one.authors} {one.year}", f"{one.parameters / 1e6:.1f}", score, where, here)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def with_table(text: str, page: str) -> str:
    """A page's text with its table as it is today."""
    before, rest = text.split(START)
    return before + START + table(page) + "\n" + END + rest.split(END)[1]


def main() -> None:
    """Write both."""
    for page in HEADS:
        path = ROOT / page
        path.write_text(with_table(path.read_text(encoding="utf-8"), page), encoding="utf-8")


if __name__ == "__main__":
    main()
