"""Which rule each operation of a graph has when the maps that it takes become denser, and the graph followed by them.

The original cells stay at 0, f, 2f … (`dilation_plan`), and what lies beyond a border stays beyond it:

- a convolution, a pool, a border of zeros: spread windows and wider borders (`dilation_windows`);
- cell by cell, and along other dimensions than rows and columns: nothing (`dilation_cells`);
- what joins maps: they may differ in length, and the longer one is cropped (`dilation_cells`);
- all else has no rule, and is refused (`dilation_nodes`).
"""

from collections.abc import Mapping

from torch import fx, nn

from pixelwise.errors import SurgeryError
from pixelwise.surgery.dilation_cells import (
    Cropped,
    along_dim,
    batch_norm,
    cat,
    crop,
    element,
    indexing,
    join,
    last,
    permute,
    reduce,
    reshape,
    same,
    split,
    stack,
)
from pixelwise.surgery.dilation_nodes import name_of, refuse, shape_of
from pixelwise.surgery.dilation_plan import Pair, Plan, Rule, Side
from pixelwise.surgery.dilation_windows import conv2d, convolution, pad, pad_layer, pool, pool2d
from pixelwise.surgery.graph import module_of

LAYERS: list[tuple[tuple[type[nn.Module], ...], Rule]] = [
    ((nn.Conv2d,), convolution),
    ((nn.MaxPool2d, nn.AvgPool2d), pool),
    ((nn.ConstantPad2d, nn.ReflectionPad2d, nn.ReplicationPad2d, nn.CircularPad2d), pad_layer),
    ((nn.BatchNorm2d, nn.SyncBatchNorm), batch_norm),
    ((nn.LayerNorm, nn.RMSNorm, nn.Linear), last),
    ((nn.Softmax, nn.LogSoftmax, nn.Softmin, nn.GLU), along_dim),
    ((nn.Flatten, nn.Unflatten), reshape),
    ((Cropped,), crop),
    (
        (
            *(nn.Identity, nn.PReLU, nn.Softmax2d, nn.LocalResponseNorm, nn.CrossMapLRN2d, nn.ChannelShuffle),
            *(nn.Dropout, nn.Dropout2d, nn.AlphaDropout, nn.FeatureAlphaDropout),
            *(nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.RReLU, nn.ELU, nn.CELU, nn.SELU, nn.GELU, nn.SiLU, nn.Mish),
            *(nn.Sigmoid, nn.LogSigmoid, nn.Hardsigmoid, nn.Hardswish, nn.Hardtanh, nn.Hardshrink, nn.Softshrink),
            *(nn.Tanh, nn.Tanhshrink, nn.Softplus, nn.Softsign, nn.Threshold),
        ),
        same,
    ),
]

FUNCTIONS: dict[str, Rule] = {
    "conv2d": conv2d,
    **dict.fromkeys(("max_pool2d", "avg_pool2d"), pool2d),
    "pad": pad,
    "getitem": indexing,
    "getattr": element,
    "batch_norm": batch_norm,
    **dict.fromkeys(("layer_norm", "rms_norm", "linear"), last),
    **dict.fromkeys(
        ("softmax", "log_softmax", "softmin", "cumsum", "cumprod", "logcumsumexp", "glu", "normalize"),
        along_dim,
    ),
    **dict.fromkeys(
        ("mean", "sum", "prod", "amax", "amin", "max", "min", "argmax", "argmin", "std", "var", "logsumexp", "norm"),
        reduce,
    ),
    **dict.fromkeys(("chunk", "split", "tensor_split", "unbind"), split),
    **dict.fromkeys(("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis"), permute),
    **dict.fromkeys(("view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze"), reshape),
    **dict.fromkeys(("cat", "concat", "concatenate"), cat),
    "stack": stack,
    **dict.fromkeys(
        (
            *("dropout", "dropout2d", "alpha_dropout", "feature_alpha_dropout", "feature_dropout", "stochastic_depth"),
            *("relu", "relu6", "leaky_relu", "rrelu", "prelu", "elu", "celu", "selu", "gelu", "silu", "mish"),
            *("sigmoid", "logsigmoid", "hardsigmoid", "hardswish", "hardtanh", "hardshrink", "softshrink"),
            *("tanh", "tanhshrink", "softplus", "softsign", "threshold", "local_response_norm", "channel_shuffle"),
            *("exp", "expm1", "log", "log1p", "log2", "log10", "sqrt", "rsqrt", "square", "reciprocal", "erf"),
            *("sin", "cos", "abs", "absolute", "neg", "negative", "pos", "sign", "floor", "ceil", "round"),
            *("isnan", "isinf", "isfinite", "nan_to_num", "logical_not", "invert", "bitwise_not"),
            *("contiguous", "clone", "detach", "to", "float", "half", "bfloat16", "double", "type", "type_as", "cpu"),
            *("zeros_like", "ones_like", "full_like", "rand_like", "randn_like", "empty_like", "requires_grad"),
        ),
        same,
    ),
    **dict.fromkeys(
        (
            *("add", "iadd", "sub", "isub", "subtract", "rsub", "mul", "imul", "multiply", "div", "divide"),
            *("truediv", "itruediv", "floordiv", "mod", "remainder", "fmod", "pow", "ipow", "float_power"),
            *("maximum", "minimum", "fmax", "fmin", "clamp", "clip", "clamp_min", "clamp_max", "where", "lerp"),
            *("eq", "ne", "lt", "le", "gt", "ge", "and", "or", "xor", "logical_and", "logical_or", "logical_xor"),
            *("addcmul", "addcdiv", "masked_fill", "atan2", "hypot", "copysign"),
        ),
        join,
    ),
}
FOLLOWED = (  # where nothing becomes denser: so that maps which join later are known to be of one length
    *(convolution, conv2d, pool, pool2d, pad_layer, pad),
    *(batch_norm, same, join, cat, element, crop),
)


def plan_of(traced: fx.GraphModule, wanted: Mapping[fx.Node, Pair], *, dilate_first: bool) -> Plan:
    """What must change in a graph, which is followed node by node; the network is left as it is.

    Args:
        traced: the graph.
        wanted: how much denser each map (N, C, H, W) becomes.
        dilate_first: whether convolutions that lose a stride are dilated by it.

    Raises:
        SurgeryError: an operation has no rule.
    """
    plan = Plan(wanted, dilate_first=dilate_first)
    for node in traced.graph.nodes:
        _follow(plan, node)
    return plan


def _follow(plan: Plan, node: fx.Node) -> None:
    if node.op == "output" or isinstance(node.target, type):  # a named tuple of maps
        return
    shape = shape_of(node)
    denser = any(side.factor > 1 for source in node.all_input_nodes for side in plan.of(source))
    sized = any(source in plan.sizes for source in node.all_input_nodes)
    if shape is None:
        side = _size(plan, node)
        if (denser or sized) and (side is None or side.factor > 1):
            plan.sizes[node] = side
        return
    plan.sides[node] = _fresh(node)
    if node.op in ("placeholder", "get_attr"):
        return
    rule = _rule(node)
    goal = plan.wanted.get(node, (1, 1))
    if not (denser or sized or goal != (1, 1)):
        if rule in FOLLOWED:
            _follow_length(plan, node, rule)
        return
    if rule is None or (sized and rule not in (reshape, indexing, pool2d)):
        refuse(node)
    sides = rule(plan, node)
    if len(sides) != len(shape) or (node in plan.wanted and (sides[2].factor, sides[3].factor) != goal):
        refuse(node)
    plan.sides[node] = sides


def _follow_length(plan: Plan, node: fx.Node, rule: Rule) -> None:
    """Of a map that stays as it is; without a rule it gets a root of its own."""
    try:
        sides = rule(plan, node)
    except SurgeryError:
        return
    if len(sides) == len(plan.sides[node]):
        plan.sides[node] = sides


def _size(plan: Plan, node: fx.Node) -> Side | None:
    """What values.shape[1] or values.size(1) is the size of."""
    source, *index = node.args
    shape = source.args[0] if isinstance(source, fx.Node) and name_of(node) == "getitem" and source.args else source
    sides = plan.of(shape)
    return sides[index[0]] if len(index) == 1 and type(index[0]) is int and sides else None


def _fresh(node: fx.Node) -> tuple[Side, ...]:
    return tuple(Side(1, ((node, dim), 0)) for dim in range(len(shape_of(node) or ())))


def _rule(node: fx.Node) -> Rule | None:
    if node.op == "call_module":
        layer = module_of(node)
        rule = next((rule for kinds, rule in LAYERS if isinstance(layer, kinds)), None)
        own = layer is not None and not type(layer).forward.__module__.startswith("torch.")
        return None if own and rule is same else rule
    return FUNCTIONS.get(name_of(node))
