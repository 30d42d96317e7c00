"""FCN's recipes: the paper's, with batches of 20, and the reference repository's "heavy" learning, one picture a step.

Long, Shelhamer, Darrell, CVPR 2015 (arXiv 1411.4038), §4.2–4.3, §5, Tables 1, 2, 4, 5 and 6; fcn.berkeleyvision.org,
`solver.prototxt` and `solve.py` of each network, README. Source: spec, networks 2014–2016 §2.5–2.9.

| | paper | heavy |
| --- | --- | --- |
| batch | 20 | 1 |
| loss | mean over the counted pixels | sum |
| momentum, decay | 0.9, 5e-4 | 0.99, 5e-4 |
| rate | 1e-4 VGG-16, 1e-3 AlexNet, 5e-5 GoogLeNet; 1/100 of it for 16s and 8s | 1e-10, 1e-12, 1e-14 |
| length | 175 passes at least | 100 000 steps a network, 300 000 at once |
| upsampling by 2 | learned from the bilinear kernel on | fixed |

Both show whole pictures as they are, and double the rate of biases, which do not decay.

**Differences** and what is UNVERIFIED, of all:
- that the paper's loss is a mean (its batches are sums of pictures of different sizes) is UNVERIFIED; so is its weight
  decay, "5e-4 or 2e-4"; so is that 8s, as 16s, has a rate of 1/100 of the network before.
- each stage of the paper's recipes has 175 passes; the paper says so of the whole alone: UNVERIFIED.
- networks are evaluated after their last step.
"""

from typing import Any, Literal

from pixelwise.data.augmentation import PAPER_AUGMENTATIONS
from pixelwise.recipes.published import BIASES, Data, PublishedRecipe, Score, Stage, caffe_sgd, less
from pixelwise.training.recipe import HeadLoss, Rate, Recipe

AS_IT_IS = PAPER_AUGMENTATIONS["fcn_released"]

VOC_MEAN = (104.00699, 116.66877, 122.67892)
NYUD_MEAN = (116.190, 97.203, 92.318)
HHA_MEAN = (132.431, 94.076, 118.477)  # in the order of the file
DEPTH_MEAN = 7.844  # of ln(millimeters)
SIFT_FLOW_MEAN = (114.578, 115.294, 108.353)
CONTEXT_MEAN = (104.007, 116.669, 122.679)

VGG16 = ("vgg16_ilsvrc", "vgg16_imagenet")  # the authors', or torchvision's
SBD = Data(dataset="sbd", split="train")
SEG11VALID = Data(dataset="seg11valid", split="val")
VOC2011, VOC2011_VAL = Data(dataset="voc2011", split="train"), Data(dataset="voc2011", split="val")
CONTEXT, CONTEXT_VAL = Data(dataset="pascal_context", split="train"), Data(dataset="pascal_context", split="val")
SIFT_FLOW, SIFT_FLOW_TEST = Data(dataset="sift_flow", split="trainval"), Data(dataset="sift_flow", split="test")
PASSES = 175


def _nyud(channels: str) -> tuple[Data, Data]:
    name = f"nyud_v2,channels={channels},crop=true"
    return Data(dataset=name, split="trainval"), Data(dataset=name, split="test")


_BGR: Literal["bgr"] = "bgr"
_RGB: Literal["rgb"] = "rgb"
RGB, HHA, RGBD, RGB_HHA = _nyud("rgb"), _nyud("hha"), _nyud("rgbd"), _nyud("rgb_hha")
HEADS = {"logits": HeadLoss(), "geometric": HeadLoss()}


def heavy(model: str, rate: float, steps: int = 100_000, **settings: Any) -> Recipe:
    """One picture a step, drawn from all, a loss that is summed over its pixels, momentum 0.99."""
    plain: dict[str, Any] = {
        "momentum": 0.99,
        "loss_normalization": "sum",
        "order": "drawn",
        "augmentation": AS_IT_IS,
        "validate_every": min(4000, steps),
    }
    return caffe_sgd(model, rate=rate, steps=steps, crop_size=None, **(plain | settings))


def paper(model: str, rate: float, pictures: int, **settings: Any) -> Recipe:
    """Batches of 20 pictures, 175 passes over so many."""
    steps = -(-pictures * PASSES // 20)
    return caffe_sgd(
        model, rate=rate, steps=steps, crop_size=None, accumulate=20, augmentation=AS_IT_IS, **settings
    )  # pictures of their own sizes make no batch


def stages(*recipes: Recipe, train: Data, weights: tuple[str, ...] = VGG16) -> tuple[Stage, ...]:
    """Networks one after the other, each from the last, the first from ImageNet's weights."""
    made: list[Stage] = []
    for recipe in recipes:
        after = (made[-1].name,) if made else ()
        made.append(
            Stage(name=recipe.model, recipe=recipe, train=(train,), weights=() if after else weights, after=after)
        )
    return tuple(made)


def _voc(name: str, row: str, expected: Score | None, made: tuple[Stage, ...], *notes: str) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Long et al. 2015, {row}",
        expected=expected,
        notes=notes,
        normalization=less(*VOC_MEAN),
        stages=made,
        validation=SEG11VALID,
        evaluation=SEG11VALID,
        protocol="fcn",
    )


_README = "README of fcn.berkeleyvision.org, seg11valid"


def fcn32s_vgg16_voc_heavy() -> PublishedRecipe:
    """FCN-32s on SBD's training pictures, one a step: voc-fcn32s; mean IoU 63.6 on seg11valid.

    pixelwise train fcn32s_vgg16_voc_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_vgg16", 1e-10), train=SBD)
    return _voc("fcn32s_vgg16_voc_heavy", "voc-fcn32s", Score(mean_iou=63.6, source=_README), made)


def fcn16s_vgg16_voc_heavy() -> PublishedRecipe:
    """FCN-16s after FCN-32s: voc-fcn16s; mean IoU 65.0 on seg11valid.

    pixelwise train fcn16s_vgg16_voc_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_vgg16", 1e-10), heavy("fcn16s_vgg16", 1e-12), train=SBD)
    return _voc("fcn16s_vgg16_voc_heavy", "voc-fcn16s", Score(mean_iou=65.0, source=_README), made)


def fcn8s_vgg16_voc_heavy() -> PublishedRecipe:
    """FCN-8s after FCN-32s and FCN-16s: voc-fcn8s; mean IoU 65.5 on seg11valid.

    pixelwise train fcn8s_vgg16_voc_heavy --data ROOT
    """
    expected = Score(mean_iou=65.5, source=_README)
    return _voc("fcn8s_vgg16_voc_heavy", "voc-fcn8s", expected, fcn8s_stages(SBD), "67.2 on the test set of VOC 2012")


def fcn8s_stages(train: Data) -> tuple[Stage, ...]:
    """32s, 16s and 8s by heavy learning."""
    return stages(heavy("fcn32s_vgg16", 1e-10), heavy("fcn16s_vgg16", 1e-12), heavy("fcn8s_vgg16", 1e-14), train=train)


def fcn8s_atonce_vgg16_voc_heavy() -> PublishedRecipe:
    """FCN-8s at once, its pools scaled by 0.01 and 0.0001: voc-fcn8s-atonce; mean IoU 65.4 on seg11valid.

    pixelwise train fcn8s_atonce_vgg16_voc_heavy --data ROOT
    """
    made = stages(heavy("fcn8s_atonce_vgg16", 1e-10, 300_000), train=SBD)
    return _voc("fcn8s_atonce_vgg16_voc_heavy", "voc-fcn8s-atonce", Score(mean_iou=65.4, source=_README), made)


def fcn32s_alexnet_voc_heavy() -> PublishedRecipe:
    """FCN-32s on AlexNet, batches of 20, a mean loss: voc-fcn-alexnet; mean IoU 48.0 on seg11valid.

    The trunk's biases learn and decay as its weights do, as its layers have no `param` in the file.

    pixelwise train fcn32s_alexnet_voc_heavy --data ROOT
    """
    rates = (Rate(parameters="backbone.*"), BIASES)
    alexnet: dict[str, Any] = {"momentum": 0.9, "loss_normalization": "counted", "accumulate": 20, "rates": rates}
    made = stages(heavy("fcn32s_alexnet", 1e-4, **alexnet), train=SBD, weights=("alexnet_ilsvrc",))
    return _voc("fcn32s_alexnet_voc_heavy", "voc-fcn-alexnet", Score(mean_iou=48.0, source=_README), made)


def _table1(name: str, recipe: Recipe, mean_iou: float, weights: tuple[str, ...], *notes: str) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper="Long et al. 2015, Table 1",
        expected=Score(mean_iou=mean_iou, source="Table 1, validation part of VOC 2011"),
        notes=notes,
        normalization=less(*VOC_MEAN),
        stages=stages(recipe, train=VOC2011, weights=weights),
        validation=VOC2011_VAL,
        evaluation=VOC2011_VAL,
        protocol="fcn",
    )


def fcn32s_alexnet_voc2011() -> PublishedRecipe:
    """FCN-AlexNet on VOC 2011's 1 112 training pictures: Table 1; mean IoU 39.8 on its validation part.

    pixelwise train fcn32s_alexnet_voc2011 --data ROOT
    """
    recipe = paper("fcn32s_alexnet", 1e-3, 1112)
    return _table1("fcn32s_alexnet_voc2011", recipe, 39.8, ("alexnet_ilsvrc",))


def fcn32s_vgg16_voc2011() -> PublishedRecipe:
    """FCN-VGG16 on VOC 2011's 1 112 training pictures: Table 1; mean IoU 56.0 on its validation part.

    pixelwise train fcn32s_vgg16_voc2011 --data ROOT
    """
    return _table1("fcn32s_vgg16_voc2011", paper("fcn32s_vgg16", 1e-4, 1112), 56.0, VGG16)


def fcn32s_googlenet_voc2011() -> PublishedRecipe:
    """FCN-GoogLeNet on VOC 2011's 1 112 training pictures: Table 1; mean IoU 42.5 on its validation part.

    The network was never released, and its alignment is UNVERIFIED; the authors began with a GoogLeNet of their own.

    pixelwise train fcn32s_googlenet_voc2011 --data ROOT
    """
    recipe = paper("fcn32s_googlenet", 5e-5, 1112)
    note = "padding, crop and the weights that the authors began with are UNVERIFIED"
    return _table1("fcn32s_googlenet_voc2011", recipe, 42.5, ("googlenet_ilsvrc",), note)


_LEARNED = {"model_options": {"learn_upsampling": True}}


def _table2(row: str, *values: float) -> Score:
    return _score(f"Table 2, {row}, seg11valid", *values)


def _score(source: str, pixel: float, mean: float, iou: float, weighted: float) -> Score:
    return Score(pixel_accuracy=pixel, mean_accuracy=mean, mean_iou=iou, frequency_weighted_iou=weighted, source=source)


def _paper_stages(network: str, to: int, train: Data, pictures: int) -> tuple[Stage, ...]:
    """32s, 16s and 8s, as far as stride `to`, by the paper's recipe."""
    recipes = [paper(f"fcn32s_{network}", 1e-4, pictures)]
    if to <= 16:
        recipes.append(paper(f"fcn16s_{network}", 1e-6, pictures, **_LEARNED))
    if to <= 8:
        recipes.append(paper(f"fcn8s_{network}", 1e-8, pictures, **_LEARNED))
    return stages(*recipes, train=train)


def fcn32s_fixed_vgg16_voc() -> PublishedRecipe:
    """FCN-32s of which the last layer alone learns: Table 2, FCN-32s-fixed; mean IoU 45.4 on seg11valid.

    pixelwise train fcn32s_fixed_vgg16_voc --data ROOT
    """
    made = stages(paper("fcn32s_vgg16", 1e-4, 8498, model_options={"fixed": True}), train=SBD)
    return _voc("fcn32s_fixed_vgg16_voc", "Table 2", _table2("FCN-32s-fixed", 83.0, 59.7, 45.4, 72.0), made)


def fcn32s_vgg16_voc() -> PublishedRecipe:
    """FCN-32s on SBD's training pictures, batches of 20: Table 2; mean IoU 59.4 on seg11valid.

    pixelwise train fcn32s_vgg16_voc --data ROOT
    """
    made = _paper_stages("vgg16", 32, SBD, 8498)
    return _voc("fcn32s_vgg16_voc", "Table 2", _table2("FCN-32s", 89.1, 73.3, 59.4, 81.4), made)


def fcn16s_vgg16_voc() -> PublishedRecipe:
    """FCN-16s after FCN-32s, batches of 20: Table 2; mean IoU 62.4 on seg11valid.

    pixelwise train fcn16s_vgg16_voc --data ROOT
    """
    made = _paper_stages("vgg16", 16, SBD, 8498)
    return _voc("fcn16s_vgg16_voc", "Table 2", _table2("FCN-16s", 90.0, 75.7, 62.4, 83.0), made)


def fcn8s_vgg16_voc() -> PublishedRecipe:
    """FCN-8s after FCN-32s and FCN-16s, batches of 20: Table 2; mean IoU 62.7 on seg11valid.

    pixelwise train fcn8s_vgg16_voc --data ROOT
    """
    made = _paper_stages("vgg16", 8, SBD, 8498)
    return _voc("fcn8s_vgg16_voc", "Table 2", _table2("FCN-8s", 90.3, 75.9, 62.7, 83.2), made)


_NYUD_NOTE = "Table 4 has the paper's own networks; what heavy learning reaches was not read: UNVERIFIED"


def _nyud_recipe(
    name: str,
    row: str,
    made: tuple[Stage, ...],
    mean: tuple[float, ...],
    test: Data,
    expected: Score | None,
    *notes: str,
    channel_order: Literal["rgb", "bgr"] = "bgr",
) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Long et al. 2015, {row}",
        expected=expected,
        notes=notes,
        normalization=less(*mean, channel_order=channel_order),
        stages=made,
        validation=test,
        evaluation=test,
        protocol="fcn",
    )


def _table4(row: str, *values: float) -> Score:
    return _score(f"Table 4, {row}, NYUDv2 test", *values)


def _towers(color: Recipe, hha: Recipe, *fused: Recipe) -> tuple[Stage, ...]:
    """FCN-32s on color and on HHA, and networks of both towers after them."""
    made = [
        Stage(
            name=name,
            recipe=recipe,
            train=(data[0],),
            weights=VGG16,
            normalization=less(*mean, channel_order=order),
            validation=data[1],
        )
        for name, recipe, data, mean, order in (
            ("color", color, RGB, NYUD_MEAN, _BGR),
            ("hha", hha, HHA, HHA_MEAN, _RGB),
        )
    ]
    after: tuple[str, ...] = ("color", "hha")
    for recipe in fused:
        made.append(Stage(name=recipe.model, recipe=recipe, train=(RGB_HHA[0],), after=after))
        after = (recipe.model,)
    return tuple(made)


def fcn32s_vgg16_nyud_heavy() -> PublishedRecipe:
    """FCN-32s on NYUDv2's color: nyud-fcn32s-color; its score was not read, Table 4 has 29.2 by the paper's recipe.

    pixelwise train fcn32s_vgg16_nyud_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_vgg16", 1e-10), train=RGB[0])
    return _nyud_recipe("fcn32s_vgg16_nyud_heavy", "nyud-fcn32s-color", made, NYUD_MEAN, RGB[1], None, _NYUD_NOTE)


def fcn32s_vgg16_nyud_hha_heavy() -> PublishedRecipe:
    """FCN-32s on NYUDv2's HHA: nyud-fcn32s-hha; its score was not read, Table 4 has 24.2 by the paper's recipe.

    pixelwise train fcn32s_vgg16_nyud_hha_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_vgg16", 1e-10), train=HHA[0])
    return _nyud_recipe(
        "fcn32s_vgg16_nyud_hha_heavy",
        "nyud-fcn32s-hha",
        made,
        HHA_MEAN,
        HHA[1],
        None,
        _NYUD_NOTE,
        channel_order="rgb",
    )


def fcn32s_rgbd_nyud_heavy() -> PublishedRecipe:
    """FCN-32s on NYUDv2's color and depth, four channels: nyud-fcn32s-color-d; Table 4 has 30.5 by the paper's recipe.

    pixelwise train fcn32s_rgbd_nyud_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_rgbd", 1e-10), train=RGBD[0])
    mean = (*NYUD_MEAN, DEPTH_MEAN)
    return _nyud_recipe("fcn32s_rgbd_nyud_heavy", "nyud-fcn32s-color-d", made, mean, RGBD[1], None, _NYUD_NOTE)


def fcn32s_rgb_hha_nyud_heavy() -> PublishedRecipe:
    """Two towers, color and HHA, after one network of each: nyud-fcn32s-color-hha; Table 4 has 32.8.

    The towers begin with color after 28 000 steps and HHA after 60 000, by the names of the files in solve.py.

    pixelwise train fcn32s_rgb_hha_nyud_heavy --data ROOT
    """
    color, hha = heavy("fcn32s_vgg16", 1e-10, 28_000), heavy("fcn32s_vgg16", 1e-10, 60_000)
    made = _towers(color, hha, heavy("fcn32s_rgb_hha", 1e-12))
    mean = (*NYUD_MEAN, *HHA_MEAN)
    name = "fcn32s_rgb_hha_nyud_heavy"
    return _nyud_recipe(name, "nyud-fcn32s-color-hha", made, mean, RGB_HHA[1], None, _NYUD_NOTE)


def fcn32s_vgg16_nyud() -> PublishedRecipe:
    """FCN-32s on NYUDv2's color, batches of 20: Table 4, RGB; mean IoU 29.2.

    pixelwise train fcn32s_vgg16_nyud --data ROOT
    """
    made = _paper_stages("vgg16", 32, RGB[0], 795)
    return _nyud_recipe(
        "fcn32s_vgg16_nyud", "Table 4", made, NYUD_MEAN, RGB[1], _table4("FCN-32s RGB", 60.0, 42.2, 29.2, 43.9)
    )


def fcn32s_vgg16_nyud_hha() -> PublishedRecipe:
    """FCN-32s on NYUDv2's HHA, batches of 20: Table 4, HHA; mean IoU 24.2.

    pixelwise train fcn32s_vgg16_nyud_hha --data ROOT
    """
    made = _paper_stages("vgg16", 32, HHA[0], 795)
    expected = _table4("FCN-32s HHA", 57.1, 35.2, 24.2, 40.4)
    return _nyud_recipe("fcn32s_vgg16_nyud_hha", "Table 4", made, HHA_MEAN, HHA[1], expected, channel_order="rgb")


def fcn32s_rgbd_nyud() -> PublishedRecipe:
    """FCN-32s on NYUDv2's color and depth, batches of 20: Table 4, RGBD; mean IoU 30.5.

    pixelwise train fcn32s_rgbd_nyud --data ROOT
    """
    made = stages(paper("fcn32s_rgbd", 1e-4, 795), train=RGBD[0])
    expected = _table4("FCN-32s RGBD", 61.5, 42.4, 30.5, 45.5)
    return _nyud_recipe("fcn32s_rgbd_nyud", "Table 4", made, (*NYUD_MEAN, DEPTH_MEAN), RGBD[1], expected)


def fcn32s_rgb_hha_nyud() -> PublishedRecipe:
    """Two towers, color and HHA, at stride 32: Table 4, RGB-HHA; mean IoU 32.8.

    pixelwise train fcn32s_rgb_hha_nyud --data ROOT
    """
    one = paper("fcn32s_vgg16", 1e-4, 795)
    made = _towers(one, one, paper("fcn32s_rgb_hha", 1e-6, 795))
    expected = _table4("FCN-32s RGB-HHA", 64.3, 44.9, 32.8, 48.0)
    return _nyud_recipe("fcn32s_rgb_hha_nyud", "Table 4", made, (*NYUD_MEAN, *HHA_MEAN), RGB_HHA[1], expected)


def fcn16s_rgb_hha_nyud() -> PublishedRecipe:
    """Two towers, color and HHA, at stride 16: Table 4, FCN-16s RGB-HHA; mean IoU 34.0.

    The network was not released: how its streams are joined is UNVERIFIED.

    pixelwise train fcn16s_rgb_hha_nyud --data ROOT
    """
    one = paper("fcn32s_vgg16", 1e-4, 795)
    made = _towers(one, one, paper("fcn32s_rgb_hha", 1e-6, 795), paper("fcn16s_rgb_hha", 1e-8, 795, **_LEARNED))
    expected = _table4("FCN-16s RGB-HHA", 65.4, 46.1, 34.0, 49.5)
    note = "how the two streams are joined at stride 16 is UNVERIFIED"
    return _nyud_recipe("fcn16s_rgb_hha_nyud", "Table 4", made, (*NYUD_MEAN, *HHA_MEAN), RGB_HHA[1], expected, note)


def _sift_flow(name: str, row: str, made: tuple[Stage, ...], expected: Score | None) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Long et al. 2015, {row}",
        expected=expected,
        normalization=less(*SIFT_FLOW_MEAN),
        stages=made,
        validation=SIFT_FLOW_TEST,
        evaluation=SIFT_FLOW_TEST,
        protocol="sift_flow",
    )


def fcn32s_two_headed_sift_flow_heavy() -> PublishedRecipe:
    """FCN-32s with a semantic and a geometric head: siftflow-fcn32s; its score was not read.

    pixelwise train fcn32s_two_headed_sift_flow_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_two_headed", 1e-10, heads=HEADS), train=SIFT_FLOW)
    return _sift_flow("fcn32s_two_headed_sift_flow_heavy", "siftflow-fcn32s", made, None)


def fcn16s_two_headed_sift_flow_heavy() -> PublishedRecipe:
    """FCN-16s with two heads, after FCN-32s: siftflow-fcn16s; Table 5 has 39.5 by the paper's recipe.

    pixelwise train fcn16s_two_headed_sift_flow_heavy --data ROOT
    """
    made = stages(
        heavy("fcn32s_two_headed", 1e-10, heads=HEADS),
        heavy("fcn16s_two_headed", 1e-12, heads=HEADS),
        train=SIFT_FLOW,
    )
    return _sift_flow("fcn16s_two_headed_sift_flow_heavy", "siftflow-fcn16s", made, None)


def fcn8s_two_headed_sift_flow_heavy() -> PublishedRecipe:
    """FCN-8s with two heads, after FCN-32s and FCN-16s, at 16s's rate: siftflow-fcn8s; its score was not read.

    pixelwise train fcn8s_two_headed_sift_flow_heavy --data ROOT
    """
    made = stages(
        heavy("fcn32s_two_headed", 1e-10, heads=HEADS),
        heavy("fcn16s_two_headed", 1e-12, heads=HEADS),
        heavy("fcn8s_two_headed", 1e-12, heads=HEADS),
        train=SIFT_FLOW,
    )
    return _sift_flow("fcn8s_two_headed_sift_flow_heavy", "siftflow-fcn8s", made, None)


def fcn16s_two_headed_sift_flow() -> PublishedRecipe:
    """FCN-16s with two heads, batches of 20: Table 5; mean IoU 39.5 over 30 classes, geometric accuracy 94.3.

    pixelwise train fcn16s_two_headed_sift_flow --data ROOT
    """
    made = stages(
        paper("fcn32s_two_headed", 1e-4, 2486, heads=HEADS),
        paper("fcn16s_two_headed", 1e-6, 2486, heads=HEADS, **_LEARNED),
        train=SIFT_FLOW,
    )
    expected = Score(
        pixel_accuracy=85.2,
        mean_accuracy=51.7,
        mean_iou=39.5,
        frequency_weighted_iou=76.1,
        geometric_pixel_accuracy=94.3,
        source="Table 5, SIFT Flow test",
    )
    return _sift_flow("fcn16s_two_headed_sift_flow", "Table 5", made, expected)


def _context(name: str, row: str, made: tuple[Stage, ...], expected: Score | None, *notes: str) -> PublishedRecipe:
    return PublishedRecipe(
        name=name,
        paper=f"Long et al. 2015, {row}",
        expected=expected,
        notes=notes,
        normalization=less(*CONTEXT_MEAN),
        stages=made,
        validation=CONTEXT_VAL,
        evaluation=CONTEXT_VAL,
        protocol="context60",
    )


_CONTEXT_STEPS = 400_000
_CONTEXT_NOTE = "steps are those of solve.py; max_iter in the solver says 300 000"
_CONTEXT_SCORES = {
    "FCN-32s": (63.8, 42.7, 31.8, 48.3),
    "FCN-16s": (65.7, 46.2, 34.8, 50.7),
    "FCN-8s": (65.9, 46.5, 35.1, 51.0),
}


def fcn32s_vgg16_context_heavy() -> PublishedRecipe:
    """FCN-32s on PASCAL-Context: pascalcontext-fcn32s; Table 6 has 31.8 by the paper's recipe.

    pixelwise train fcn32s_vgg16_context_heavy --data ROOT
    """
    made = stages(heavy("fcn32s_vgg16", 1e-10, _CONTEXT_STEPS), train=CONTEXT)
    return _context("fcn32s_vgg16_context_heavy", "pascalcontext-fcn32s", made, None, _CONTEXT_NOTE)


def fcn16s_vgg16_context_heavy() -> PublishedRecipe:
    """FCN-16s on PASCAL-Context, after FCN-32s: pascalcontext-fcn16s; Table 6 has 34.8 by the paper's recipe.

    pixelwise train fcn16s_vgg16_context_heavy --data ROOT
    """
    made = stages(
        heavy("fcn32s_vgg16", 1e-10, _CONTEXT_STEPS), heavy("fcn16s_vgg16", 1e-12, _CONTEXT_STEPS), train=CONTEXT
    )
    return _context("fcn16s_vgg16_context_heavy", "pascalcontext-fcn16s", made, None, _CONTEXT_NOTE)


def fcn8s_vgg16_context_heavy() -> PublishedRecipe:
    """FCN-8s on PASCAL-Context, after FCN-32s and FCN-16s: pascalcontext-fcn8s; 37.8 as later papers quote it.

    pixelwise train fcn8s_vgg16_context_heavy --data ROOT
    """
    made = stages(
        heavy("fcn32s_vgg16", 1e-10, _CONTEXT_STEPS),
        heavy("fcn16s_vgg16", 1e-12, _CONTEXT_STEPS),
        heavy("fcn8s_vgg16", 1e-14, _CONTEXT_STEPS),
        train=CONTEXT,
    )
    expected = Score(mean_iou=37.8, source="as DeepLab v2's Table 6 quotes it, PASCAL-Context val")
    note = "that the quoted score is of heavy learning is UNVERIFIED"
    return _context("fcn8s_vgg16_context_heavy", "pascalcontext-fcn8s", made, expected, _CONTEXT_NOTE, note)


def _table6(network: str) -> Score:
    return _score(f"Table 6, {network}, 59 classes, PASCAL-Context val", *_CONTEXT_SCORES[network])


def fcn32s_vgg16_context() -> PublishedRecipe:
    """FCN-32s on PASCAL-Context, batches of 20: Table 6; mean IoU 31.8.

    pixelwise train fcn32s_vgg16_context --data ROOT
    """
    made = _paper_stages("vgg16", 32, CONTEXT, 4998)
    return _context("fcn32s_vgg16_context", "Table 6", made, _table6("FCN-32s"))


def fcn16s_vgg16_context() -> PublishedRecipe:
    """FCN-16s on PASCAL-Context, batches of 20: Table 6; mean IoU 34.8.

    pixelwise train fcn16s_vgg16_context --data ROOT
    """
    made = _paper_stages("vgg16", 16, CONTEXT, 4998)
    return _context("fcn16s_vgg16_context", "Table 6", made, _table6("FCN-16s"))


def fcn8s_vgg16_context() -> PublishedRecipe:
    """FCN-8s on PASCAL-Context, batches of 20: Table 6; mean IoU 35.1.

    pixelwise train fcn8s_vgg16_context --data ROOT
    """
    made = _paper_stages("vgg16", 8, CONTEXT, 4998)
    return _context("fcn8s_vgg16_context", "Table 6", made, _table6("FCN-8s"))
