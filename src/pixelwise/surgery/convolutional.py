"""Any classifier as a fully convolutional network: the same numbers, slid over a picture of any size.

Long, Shelhamer, Darrell: Fully Convolutional Networks for Semantic Segmentation, CVPR 2015 (arXiv 1411.4038), §3.1,
Figure 2: a fully connected layer is a convolution whose kernel covers its whole input. The same is done to all that
stands between the last map and the scores, by the graph of the network, not by the names of its classes (`sliding`,
`sliding_layers`, `sliding_functions`, `sliding_steps`).
"""

import copy
import operator
from fractions import Fraction

import torch
from torch import Tensor, fx, nn

from pixelwise.errors import BadOption, SurgeryError
from pixelwise.surgery.graph import described, far_of, meta_layers, trace, value
from pixelwise.surgery.sliding import BATCH, Cell, Fixed, Form, Map, Pair, Several, Slide, Window, common
from pixelwise.surgery.sliding_functions import FUNCTION_RULES
from pixelwise.surgery.sliding_in_place import change, is_in_place
from pixelwise.surgery.sliding_layers import LAYER_FUNCTION_RULES, check_own_layers, layer_rule
from pixelwise.surgery.sliding_steps import copied, function_name, has_tensor, literal, places_of

RULES = FUNCTION_RULES | LAYER_FUNCTION_RULES
ROUNDING = {torch.float64: 1e-6, torch.float32: 1e-3}  # of the largest score; 5e-2 with fewer digits


def convolutionalize(
    classifier: nn.Module, input_size: int | tuple[int, int], *, in_channels: int | None = None
) -> fx.GraphModule:
    """A network that gives a classifier's scores at every place: (N, C, H, W) → (N, K, h, w), where that gives (N, K).

    Flattening and what follows become convolutions, batch norms and pools with the same numbers under the same names
    (`classifier.fc6.weight` is (O, C·h·w) before and (O, C, h, w) after); pools over the whole map, adaptive ones too,
    become pools of the window that they had. All else stays.

    A picture of `input_size` gives one cell, the classifier's scores. A larger one gives a map whose cell (i, j) is
    the classifier on the window of `input_size` whose first pixel is (i·s, j·s), s the network's stride: exactly where
    nothing pads. A layer that pads does so at the border of the picture alone, and sees its neighbors where the
    classifier saw zeros at the border of each window; so scores of padding networks differ somewhat, most in layers
    with far-reaching kernels. A pool that rounds up may give one more row or column, of windows that reach beyond the
    picture. Where a map is resized by interpolation, cells other than (0, 0) are not the scores of windows: it mixes
    neighbors, and windows begin between its places. Branches and loops that depend on the size of the picture are
    those that the classifier takes at `input_size`. Where features of several strides are joined, s is the coarsest. A
    pool over the whole map is taken at every place, whatever its own stride. In training, a batch norm takes its
    statistics over all windows.

    The result shares nothing with the classifier, is in the same mode, on the same device, and is checked against it
    before it is returned.

    Args:
        input_size: of the pictures that the classifier takes, the side or (height, width); where several do, such as
            for a ResNet, the size it was trained on: the window of a score.
        in_channels: C; those of the first convolution if left out.

    Raises:
        BadOption: `input_size` is no size.
        SurgeryError: the classifier gives no (N, K), or holds what cannot be slid: values of the whole window that
            change the map again (squeeze-and-excitation), attention, weights for each place, norms by the statistics
            of a map (GroupNorm, InstanceNorm), adaptive pools with windows of different sizes, operations without a
            rule. The message names the layer.
        ShapeError: the classifier says so of this size.

    Source: Long et al. 2015, §3.1.

    >>> head = nn.Sequential(nn.Conv2d(3, 8, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(8 * 5 * 5, 10))
    >>> convolutionalize(head, 11)(torch.zeros(1, 3, 31, 41)).shape
    torch.Size([1, 10, 11, 16])
    """
    size = _checked(input_size)
    if in_channels is not None and (not isinstance(in_channels, int) or in_channels < 1):
        raise BadOption(f"in_channels is the number of channels of the pictures, got {in_channels!r}")
    _check_hooks(classifier)
    traced = trace(copy.deepcopy(classifier), size, in_channels=in_channels)
    modes = {path: layer.training for path, layer in traced.named_modules()}
    layers = dict(traced.named_modules())
    traced.eval()
    check_own_layers(traced)
    more = far_of(traced)
    with torch.no_grad(), meta_layers(traced):
        slide = _slid(traced, layers, None, more)
        grid = (common(slide.entries[0]), common(slide.entries[1]))
        if any(len(entries) > 1 for entries in slide.entries):
            for name in slide.added:
                delattr(traced, name)
            slide = _slid(traced, layers, grid, more)
    for fill in slide.fills:
        fill()
    slide.graph.eliminate_dead_code(is_impure_node=_is_kept)
    slid = fx.GraphModule(traced, slide.graph, f"Convolutional{type(classifier).__name__}")
    _check_scores(classifier, slid.eval(), tuple(slide.near.shape[1:]))
    for path, layer in slid.named_modules():
        layer.training = modes.get(path, classifier.training)
    return slid


def _checked(input_size: int | tuple[int, int]) -> Pair:
    sides = tuple(input_size) if isinstance(input_size, tuple | list) else (input_size, input_size)
    if len(sides) != 2 or any(type(side) is not int or side < 1 for side in sides):
        raise BadOption(f"input_size is the side of the classifier's pictures or (height, width), got {input_size!r}")
    return sides[0], sides[1]


def _check_hooks(classifier: nn.Module) -> None:
    """No layer has a weight that is computed before each call: it could be neither copied nor reshaped."""
    for path, layer in classifier.named_modules():
        for name, held in vars(layer).items():
            if isinstance(held, Tensor) and (layer._forward_pre_hooks or held.grad_fn is not None):
                raise SurgeryError(
                    f"layer {path} ({type(layer).__name__}) has a {name} that a hook computes before each call, as "
                    "weight_norm, spectral_norm and pruning of torch.nn.utils make; use "
                    "torch.nn.utils.parametrizations, or make the weight permanent"
                )


def _slid(
    traced: fx.GraphModule, layers: dict[str, nn.Module], grid: tuple[Fraction, Fraction] | None, more: int
) -> Slide:
    slide = Slide(traced, layers, grid, more)
    for node in traced.graph.nodes:
        if node.op == "output":
            _put_output(slide, node)
        elif node.op == "placeholder":
            placed = slide.put(node, "placeholder", node.target, *node.args)
            batch, channels, rows, columns = value(node).shape if value(node) is slide.near else (0, 0, 0, 0)
            axes = (BATCH, (("c", channels),), (("h", rows),), (("w", columns),))
            slide.forms[node] = Map(placed, axes) if batch else Fixed(placed)
        elif node.op == "get_attr":
            slide.forms[node] = Fixed(slide.put(node, "get_attr", node.target))
        else:
            slide.forms[node] = _form_of(slide, node)
    return slide


def _form_of(slide: Slide, node: fx.Node) -> Form:
    """The form in the slid network of what a step of the classifier gives.

    Raises:
        SurgeryError: it has none.
    """
    inputs = [slide.forms[before] for before in node.all_input_nodes]
    if not has_tensor(value(node)):
        if any(isinstance(form, Window | Cell | Several) for form in inputs):
            return Fixed(literal(node))
        return Fixed(copied(slide, node, sizes_follow=True))
    if all(isinstance(form, Fixed) for form in inputs):
        return Fixed(copied(slide, node))
    layer = slide.layer_of(node)
    rule = RULES.get(function_name(node)) if layer is None else layer_rule(layer)
    if rule is None:
        raise SurgeryError(
            f"{described(node)} has no rule: what it does to a window of a larger picture is not known; convert the "
            "part of the network before it, or write it in operations that treat all places alike"
        )
    form = rule(slide, node)
    if isinstance(form, Cell) and len(form.shape) == 4:
        form = slide.reshaped(node, form, form.shape)
    _check_form(slide, node, form)
    if is_in_place(node, layer):
        change(slide, node, form)
    return form


def _check_form(slide: Slide, node: fx.Node, form: Form) -> None:
    """The node of a form has the sizes that it should, and more of them in a larger picture."""
    if isinstance(form, Map):
        places = places_of(form)
        expected = tuple(value(node).shape) == tuple(value(form.node).shape)
    elif isinstance(form, Cell):
        places = (-2, -1)
        expected = (*value(node).shape, 1, 1) == tuple(value(form.node).shape)
    else:
        return
    if not expected:
        raise SurgeryError(f"{described(node)} cannot be slid: it gives {tuple(value(form.node).shape)} there")
    if not slide.grows(form.node, places):
        raise SurgeryError(
            f"{described(node)} gives {tuple(value(form.node).shape)} at every size of the picture; let it follow the "
            "size of its input, or convert the part of the network before it"
        )


def _put_output(slide: Slide, node: fx.Node) -> None:
    given = node.args[0]
    form = slide.forms[given] if isinstance(given, fx.Node) else None
    if not isinstance(form, Cell) or len(form.shape) != 2:
        shape = f"a {type(given).__name__}"
        if isinstance(given, fx.Node):
            held = value(given)
            shape = f"{tuple(held.shape) if isinstance(held, Tensor) else type(held).__name__} from {described(given)}"
        raise SurgeryError(
            f"a classifier gives one tensor (N, K) of scores, this gives {shape} for one picture; "
            "wrap it in a module that returns the scores alone"
        )
    slide.graph.output(form.node)


def _is_kept(node: fx.Node) -> bool:
    """All but sizes and items of tuples: what is done in place may be used by nothing that follows."""
    return node.op == "placeholder" or (
        (node.op == "output" or isinstance(value(node), Tensor)) and node.target is not operator.getitem
    )


def _check_scores(classifier: nn.Module, slid: nn.Module, shape: tuple[int, ...]) -> None:
    """Both give the same scores for two random pictures of the size that they share."""
    held = next((t for t in classifier.parameters() if t.is_floating_point()), torch.empty(0))
    if held.is_meta:
        return
    noise = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0)).to(held)
    modes = [(module, module.training) for module in classifier.modules()]
    try:
        with torch.no_grad():
            expected = torch.cat([classifier.eval()(picture) for picture in noise[:, None]])
            scores = slid(noise)
    finally:
        for module, training in modes:
            module.training = training
    allowed = ROUNDING.get(held.dtype, 5e-2)
    if scores.shape != (*expected.shape, 1, 1):
        raise SurgeryError(
            f"the slid classifier gives {tuple(scores.shape)} for two pictures, the classifier {tuple(expected.shape)}"
        )
    error = _relative(scores[:, :, 0, 0], expected)
    if not error <= allowed:
        steps = slid.graph.nodes if isinstance(slid, fx.GraphModule) else ()
        for step in steps:
            if step.op == "call_function" and "dropout" in function_name(step):
                raise SurgeryError(
                    f"{described(step)} is random in evaluation, too, and by {error:.2g} of the largest score; give it "
                    "training=self.training"
                )
        raise SurgeryError(
            f"the slid classifier differs from the classifier by {error:.2g} of the largest score on a random picture "
            f"({allowed:g} allowed); a layer does something else than its class says, or treats the batch as a whole"
        )


def _relative(scores: Tensor, expected: Tensor) -> float:
    scale = expected.double().abs().max()
    return float((scores.double() - expected.double()).abs().max() / scale) if scale > 0 else float(scores.abs().max())
