"""A network for another number of classes has new scoring layers, and nothing else is new."""

import inspect
import operator
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

from pixelwise.backbones import CLASSIFIERS
from pixelwise.errors import BadOption, SurgeryError
from pixelwise.models import MODELS, build
from pixelwise.surgery import replace_classifier
from pixelwise.surgery.graph import trace


def tensors(network):
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def changed(network, before):
    """The layers whose tensors are others than before; the rest is equal bit for bit."""
    after = network.state_dict()
    assert after.keys() == before.keys()
    return sorted({name.rpartition(".")[0] for name in after if not torch.equal(after[name], before[name])})


OPTIONS = {
    "fcn8s_vgg16": {"learn_upsampling": True},
    "pspnet_resnet50": {"auxiliary": True},
    "torchvision_deeplab_v3_resnet50": {"auxiliary": True},
}
SCORING = {
    "fcn8s_vgg16": ["score_fr", "score_pool3", "score_pool4", "upscore2", "upscore_pool4"],
    "fcn16s_two_headed": ["score_fr_sem", "score_pool4_sem"],
    "deeplab_msc_largefov": None,
    "deeplab_v2_vgg16_aspp_s": None,
    "unet": None,
    "segnet_basic": None,
    "refinenet_resnet50": None,
    "pspnet_resnet50": None,
    "torchvision_deeplab_v3_resnet50": None,
}


@pytest.mark.parametrize("name", SCORING)
def test_our_networks_become_what_their_builders_make_for_as_many_classes(name):
    options = {"width": 1 / 16} | OPTIONS.get(name, {})
    network = build(name, num_classes=5, **options)
    before = tensors(network)
    assert replace_classifier(network, 7) is network
    found = {key: tensor.shape for key, tensor in network.state_dict().items()}
    assert found == {key: tensor.shape for key, tensor in build(name, num_classes=7, **options).state_dict().items()}
    if SCORING[name] is not None:
        assert changed(network, before) == SCORING[name]
    else:
        assert all(
            torch.equal(tensor, before[key]) for key, tensor in network.state_dict().items() if 7 not in tensor.shape
        )
    channels = inspect.signature(MODELS[name]).parameters["in_channels"].default
    with torch.no_grad():
        assert network.eval()(torch.randn(1, channels, 50, 41)).shape == (1, 7, 50, 41)


@pytest.mark.parametrize("name", ["gcn_resnet50", "dilation8"])
def test_layers_from_scores_to_scores_are_features_of_the_last_ones(name):
    """GCN and Dilation refine scores by convolutions from all classes to all: the last on each way is new."""
    network = build(name, num_classes=5, width=1 / 16)
    before = tensors(network)
    replace_classifier(network, 7)
    layers = changed(network, before)
    if name == "dilation8":
        assert layers == ["context.ct_final"]
    assert all(not layer.startswith(("backbone", "gcn_res5.0.left.0")) for layer in layers)
    with torch.no_grad():
        assert network.eval()(torch.randn(1, 3, 50, 41)).shape == (1, 7, 50, 41)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_every_classifier_has_its_last_layer_replaced(name):
    network = CLASSIFIERS[name](num_classes=10, width=1 / 16)
    before = tensors(network)
    last = [key for key in before if key.endswith("weight")][-1].rpartition(".")[0]
    replace_classifier(network, ["cat", "dog", "mouse"])
    assert changed(network, before) == [last]
    assert network.get_submodule(last).out_features == 3


def small(classes=4, channels=6):
    return nn.Sequential(
        OrderedDict(
            conv=nn.Conv2d(3, channels, 3),
            relu=nn.ReLU(),
            score=nn.Conv2d(channels, classes, 1),
            pool=nn.AdaptiveAvgPool2d(1),
            flatten=nn.Flatten(),
            softmax=nn.LogSoftmax(1),
        )
    )


@pytest.mark.parametrize("kind", [nn.Linear, nn.Conv2d, nn.ConvTranspose2d])
def test_a_new_layer_starts_as_torch_starts_it(kind):
    kernel = () if kind is nn.Linear else (3,)
    ending = [nn.Flatten(), kind(6, 4)] if kind is nn.Linear else [kind(6, 4, *kernel), nn.Tanh()]
    network = nn.Sequential(nn.Conv2d(3, 6, 3), nn.AdaptiveAvgPool2d(1 if kind is nn.Linear else 4), *ending).double()
    torch.manual_seed(8)
    replace_classifier(network, 9)
    torch.manual_seed(8)
    expected = kind(6, 9, *kernel, dtype=torch.float64)
    (found,) = (layer for layer in network[2:] if isinstance(layer, kind))
    assert repr(found) == repr(expected)
    assert torch.equal(found.weight, expected.weight) and torch.equal(found.bias, expected.bias)


def test_a_new_layer_keeps_device_precision_mode_and_shape_and_can_be_trained():
    network = small().to(torch.bfloat16).eval()
    network.score = nn.Conv2d(6, 4, (3, 1), 2, padding=(1, 0), dilation=2, bias=False, padding_mode="reflect")
    network.to(device="meta", dtype=torch.bfloat16).requires_grad_(False).score.eval()
    network.relu.train()
    before = {name: id(module) for name, module in network.named_modules()}
    replace_classifier(network, 9, size=(20, 31))
    expected = nn.Conv2d(6, 9, (3, 1), 2, padding=(1, 0), dilation=2, bias=False, padding_mode="reflect")
    assert repr(network.score) == repr(expected)
    weight = network.score.weight
    assert (weight.device.type, weight.dtype, weight.shape) == ("meta", torch.bfloat16, (9, 6, 3, 1))
    assert weight.requires_grad and not network.conv.weight.requires_grad
    assert not network.training and not network.score.training and network.relu.training
    assert [name for name, module in network.named_modules() if id(module) != before[name]] == ["score"]


class Streams(nn.Module):
    """Two streams whose scores are summed; what lies between is `middle`."""

    def __init__(self, middle, classes=4):
        super().__init__()
        self.deep = nn.Conv2d(3, 5, 4, 4)
        self.shallow = nn.Conv2d(3, 6, 2, 2)
        self.score_deep = nn.Conv2d(5, classes, 1)
        self.score_shallow = nn.Conv2d(6, classes, 1)
        self.middle = middle

    def forward(self, images):
        skip = self.score_shallow(self.shallow(images))
        upscored = self.middle(self.score_deep(self.deep(images)))
        height, width = skip.shape[-2:]
        return F.interpolate(upscored, size=(height, width)) + skip[:, :, 0:height, :width] * 2


def per_class(kernels, *, grouped=False, bias=False):
    layer = nn.ConvTranspose2d(4, 4, 4, 2, groups=4 if grouped else 1, bias=bias)
    with torch.no_grad():
        layer.weight.zero_()
        for index in range(4):
            layer.weight[index, 0 if grouped else index] = kernels[index]
    return layer


@pytest.mark.parametrize("grouped", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_an_upsampling_of_each_class_by_itself_keeps_its_kernel(grouped, alike):
    kernels = torch.rand(4, 4, 4)
    if alike:
        kernels[:] = kernels[0].clone()
    middle = per_class(kernels, grouped=grouped, bias=True).requires_grad_(False)
    network = Streams(middle)
    before = tensors(network)
    replace_classifier(network, 6)
    assert changed(network, before) == ["middle", "score_deep", "score_shallow"]
    new = network.middle
    assert (new.in_channels, new.out_channels, new.groups, new.stride) == (6, 6, 6 if grouped else 1, (2, 2))
    for i in range(6):
        for j in range(6):
            if grouped and j:
                continue
            expected = kernels[0] if alike else kernels.mean(0)
            torch.testing.assert_close(
                new.weight[i, j], expected if grouped or i == j else 0 * expected, rtol=0, atol=0 if alike else 1e-6
            )
    assert not new.bias.any() and not new.weight.requires_grad and not new.bias.requires_grad
    assert network.score_deep.weight.requires_grad


def test_an_upsampling_that_mixes_classes_starts_as_torch_starts_it():
    middle = per_class(torch.rand(4, 4, 4))
    with torch.no_grad():
        middle.weight[2, 1, 0, 0] = 0.1
    network = Streams(middle)
    replace_classifier(network, 6)
    weight = network.middle.weight
    assert weight.shape == (6, 6, 4, 4) and bool((weight != 0).all()) and weight.requires_grad


def test_a_filter_for_each_class_keeps_its_kernel():
    middle = nn.Conv2d(4, 4, 3, padding=1, groups=4, bias=False)
    kernel = middle.weight.detach().mean((0, 1))
    network = replace_classifier(Streams(middle), 6)
    assert network.middle.groups == 6
    torch.testing.assert_close(network.middle.weight, kernel.expand(6, 1, 3, 3), rtol=0, atol=1e-6)


@pytest.mark.parametrize("middle", [nn.BatchNorm2d(4), nn.InstanceNorm2d(4, affine=True, track_running_stats=True)])
def test_a_normalization_of_scores_starts_anew(middle):
    nn.init.normal_(middle.weight)
    nn.init.normal_(middle.running_mean)
    network = replace_classifier(Streams(middle), 6)
    assert network.middle.num_features == 6
    for tensor, expected in [
        (network.middle.weight, 1.0),
        (network.middle.bias, 0.0),
        (network.middle.running_mean, 0.0),
        (network.middle.running_var, 1.0),
    ]:
        assert tensor.shape == (6,) and bool((tensor == expected).all())


@pytest.mark.parametrize("middle", [nn.PReLU(), nn.Dropout(0.3), nn.MaxPool2d(2, 1), nn.ReflectionPad2d(1)])
def test_what_works_on_each_class_by_itself_is_passed(middle):
    network = Streams(nn.Sequential(middle, nn.Softmax2d()))
    before = tensors(network)
    replace_classifier(network, 2)
    assert changed(network, before) == ["score_deep", "score_shallow"]
    assert network(torch.randn(2, 3, 16, 16)).shape == (2, 2, 8, 8)


class Auxiliary(nn.Module):
    """A dictionary of scores; the second, and a regression of other width, in training alone."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 6, 3)
        self.out = nn.Conv2d(6, 4, 1)
        self.aux = nn.Conv2d(6, 4, 1)
        self.depth = nn.Conv2d(6, 1, 1)
        self.unused = nn.Linear(3, 5)

    def forward(self, images):
        features = torch.relu(self.trunk(images))
        given = {"out": self.out(features)}
        if self.training:
            given |= {"more": (self.aux(features), self.depth(features)), "loss": 0.0}
        return given


@pytest.mark.parametrize("training", [False, True])
def test_auxiliary_scores_of_training_are_replaced_too(training):
    network = Auxiliary().train(training)
    before = tensors(network)
    replace_classifier(network, 9)
    assert network.training is training
    assert changed(network, before) == ["aux", "out"]
    more = network.train()(torch.randn(1, 3, 8, 8))["more"]
    assert [scores.shape[1] for scores in more] == [9, 1]


class Scales(nn.Module):
    """One scoring layer, under two names, for two scales; its scores are looked at again."""

    def __init__(self):
        super().__init__()
        self.trunk = nn.Conv2d(3, 6, 3, padding=1)
        self.score = self.again = nn.Conv2d(6, 4, 1)
        self.look = nn.Conv2d(4, 2, 3, padding=1)

    def forward(self, images):
        large, half = (self.trunk(F.avg_pool2d(images, factor)) for factor in (1, 2))
        scores = self.score(large) + F.interpolate(self.again(half), scale_factor=2)
        attention = torch.sigmoid(self.look(scores))
        return scores * attention[:, :1]


def test_a_shared_layer_stays_shared_and_layers_that_read_scores_take_the_new_ones():
    network = Scales()
    before = tensors(network)
    replace_classifier(network, 5)
    assert network.score is network.again
    assert changed(network, before) == ["again", "look", "score"]
    assert (network.look.in_channels, network.look.out_channels) == (5, 2)
    assert network(torch.randn(1, 3, 8, 8)).shape == (1, 5, 8, 8)


class Featured(nn.Module):
    """As many features as classes; `give` says what comes out."""

    def __init__(self, give, **layers):
        super().__init__()
        self.trunk = nn.Conv2d(3, 4, 3)
        self.fc = nn.Linear(4, 4)
        self.give = give
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, images):
        return self.give(self, torch.relu(self.trunk(images)).mean((2, 3)))


@pytest.mark.parametrize(
    "give",
    [
        lambda n, f: (n.fc(f), f),
        lambda n, f: {"out": n.fc(f), "features": f, "aux": n.aux(f)},
        lambda n, f: {"out": [n.fc(f).softmax(1), n.aux(f)], "features": [f]},
    ],
)
def test_features_beside_the_scores_stay_though_they_are_as_many(give):
    network = Featured(give, aux=nn.Linear(4, 4))
    before = tensors(network)
    images = torch.randn(2, 3, 9, 9)
    features = torch.relu(network.trunk(images)).mean((2, 3))
    replace_classifier(network, 6, size=9)
    used = "aux" in give.__code__.co_names
    assert changed(network, before) == (["aux", "fc"] if used else ["fc"])
    given = network(images)
    flat = list(given.values()) if isinstance(given, dict) else given
    flat = [one for group in flat for one in (group if isinstance(group, list) else [group])]
    assert flat[0].shape == (2, 6) and sum(one.shape == (2, 6) for one in flat) == 1 + used
    (kept,) = (one for one in flat if one.shape == (2, 4))
    assert torch.equal(kept, features)


READS = r"reads what layer trunk \(Conv2d\) gives, and both have 4 outputs, so that it cannot be told which are scores"


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (lambda n, f: f + n.fc(f), rf"layer fc \(Linear\) {READS}"),
        (lambda n, f: f + n.fc(n.inner(f).relu()), rf"layer fc \(Linear\) {READS}"),
        (lambda n, f: (f, n.fc(f)), rf"layer fc \(Linear\) {READS}"),
        (
            lambda n, f: {"features": f, "out": n.inner(f)},
            r"layer trunk \(Conv2d\) gives the network's first output, from which layer inner \(Linear\) makes "
            r"another: features, not scores",
        ),
    ],
)
def test_what_may_be_features_is_refused(give, message):
    network = Featured(give, inner=nn.Linear(4, 5))
    if "relu" in give.__code__.co_names:
        network.fc = nn.Linear(5, 4)
    before = tensors(network)
    with pytest.raises(SurgeryError, match=message):
        replace_classifier(network, 6, size=9)
    assert changed(network, before) == []


def test_a_step_that_no_sum_has_tells_features():
    """The residual of a refinement is added to scores as they are, not to an average."""
    network = Odd(
        lambda n, x: (lambda f: f + n.last(n.inner(f).relu()))(n.score(x).mean((2, 3))),
        inner=nn.Linear(4, 4),
        last=nn.Linear(4, 4),
    )
    with pytest.raises(SurgeryError, match=r"layer last \(Linear\) reads what layer score \(Conv2d\) gives"):
        replace_classifier(network, 6, size=9)


def test_a_layer_that_reads_scores_itself_tells_features():
    """Without an activation before or behind it: `f + fc(f)`, not a refinement."""
    network = Odd(lambda n, x: (lambda f: f + n.last(f))(n.score(x)), last=nn.Conv2d(4, 4, 1))
    with pytest.raises(SurgeryError, match=r"layer last \(Conv2d\) reads what layer score \(Conv2d\) gives"):
        replace_classifier(network, 6, size=9)


@pytest.mark.parametrize(
    "step",
    [
        lambda s: F.interpolate(s, scale_factor=2),
        nn.Upsample(scale_factor=2),
        nn.Identity(),
        nn.ConvTranspose2d(4, 4, 2, groups=4),
        lambda s: s[:, :, 1:],
        lambda s: operator.iadd(s, 1.0),
        lambda s: torch.add(s, 1.0),
        lambda s: s.add(1.0),
        lambda s: s.add_(1.0),
        lambda s: s.mul(2.0),
        lambda s: 2 * s,
    ],
)
def test_scores_are_summed_and_resampled_before_their_refinement(step):
    layers = {"layer": step} if isinstance(step, nn.Module) else {}
    network = Odd(
        lambda n, x: (lambda s: s + n.last(n.inner(s).relu()))((n.layer if layers else step)(n.score(x))),
        inner=nn.Conv2d(4, 4, 3, padding=1),
        last=nn.Conv2d(4, 4, 3, padding=1),
        **layers,
    )
    assert replace_classifier(network, 6, size=9).eval()(torch.randn(1, 3, 9, 9)).shape[1] == 6


def test_a_residual_refinement_of_scores_has_both_ends_replaced():
    network = Odd(
        lambda n, x: (lambda s: s + n.last(n.inner(s).relu()))(n.score(x)).softmax(1),
        inner=nn.Conv2d(4, 4, 3, padding=1),
        last=nn.Conv2d(4, 4, 3, padding=1),
    )
    before = tensors(network)
    replace_classifier(network, 6, size=9)
    assert changed(network, before) == ["inner", "last", "score"]
    widths = {name: (layer.in_channels, layer.out_channels) for name, layer in network.named_children()}
    assert widths == {"score": (3, 6), "inner": (6, 4), "last": (4, 6)}


@pytest.mark.parametrize("norm", [nn.utils.spectral_norm, nn.utils.weight_norm])
@pytest.mark.parametrize("refused", [False, True])
@pytest.mark.filterwarnings("ignore:.*weight_norm.* is deprecated:FutureWarning")
def test_weights_that_hooks_compute_keep_their_numbers(norm, refused):
    """Old norms put the weight that they compute into the layer as a plain attribute."""
    network = nn.Sequential(norm(nn.Conv2d(3, 4, 1)), nn.Conv2d(4, 4, 1)).eval()
    weight = network[0].weight.detach().clone()
    if refused:
        network[1] = norm(network[1])
        with pytest.raises(SurgeryError, match="layer 1 has a weight made from others"):
            replace_classifier(network, 6, size=9)
    else:
        replace_classifier(network, 6, size=9)
    assert all(not layer.weight.is_meta for layer in network) and torch.equal(network[0].weight, weight)


def test_a_network_in_a_wrapper_for_several_devices_is_refused():
    with pytest.raises(SurgeryError, match=r"DataParallel holds copies of the network; pass network.module"):
        replace_classifier(nn.DataParallel(small()), 6)


def test_a_network_that_is_a_graph_already_is_changed_too():
    network = trace(small(), (9, 9))
    replace_classifier(network, 7)
    assert network(torch.randn(1, 3, 12, 12)).shape == (1, 7)


@pytest.mark.parametrize("side", [8, 28, 224])
def test_a_size_that_the_network_takes_is_found(side):
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * (side - 2) ** 2, 3))
    assert replace_classifier(network, 2)(torch.zeros(1, 1, side, side)).shape == (1, 2)


def test_a_network_of_another_size_asks_for_it():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.Flatten(), nn.Linear(2 * 51 * 48, 3))
    with pytest.raises(SurgeryError, match=r"cannot be followed on pictures of 224, .*, 8 pixels a side; pass size"):
        replace_classifier(network, 2)
    assert replace_classifier(network, 2, size=(53, 50))(torch.zeros(1, 1, 53, 50)).shape == (1, 2)


class Odd(nn.Module):
    """A convolution of 3 channels to 4 scores, and a step of one's own."""

    def __init__(self, step, **layers):
        super().__init__()
        self.score = nn.Conv2d(3, 4, 1)
        self.step = step
        for name, layer in layers.items():
            setattr(self, name, layer)

    def forward(self, images):
        return self.step(self, images)


def prior(network, images):
    return network.score(images) + network.prior


REFUSED = {
    "a weight without a layer": (
        lambda n, x: F.conv2d(x, n.score.weight),
        {},
        r"scores come from conv2d\(\).*, which is no linear layer, convolution or transposed convolution; only these",
    ),
    "scores put together": (
        lambda n, x: torch.cat([n.score(x)[:, :3], n.score(x)[:, 3:]], 1),
        {},
        r"scores come from cat\(\)",
    ),
    "scores that hold the picture": (
        lambda n, x: n.other(x) + x,
        {"other": nn.Conv2d(3, 3, 1)},
        r"scores come from the pictures, which is no linear layer",
    ),
    "a tensor of the classes": (
        prior,
        {"prior": nn.Parameter(torch.zeros(1, 4, 1, 1))},
        r"scores come from the tensor prior, which",
    ),
    "weights of each class": (
        lambda n, x: n.prelu(n.score(x)),
        {"prelu": nn.PReLU(4)},
        r"layer prelu \(PReLU\) works on the scores with weights of its own",
    ),
    "a choice by the scores": (
        lambda n, x: (lambda scores: scores * (scores.argmax(1, keepdim=True) > 0))(n.score(x)),
        {},
        r"argmax\(\).* makes \(1, 1, 9, 9\) of scores \(1, 4, 9, 9\), and there is no rule",
    ),
    "scores and their maximum": (
        lambda n, x: (lambda scores: scores * scores.max(1)[0])(n.score(x)),
        {},
        r"max\(\).* makes \w+ of scores \(1, 4, 9, 9\)",
    ),
    "a number of classes in the code": (
        lambda n, x: n.score(x).reshape(1, 4, -1).mean(2),
        {},
        r"Odd does not work with 6 classes by new scoring layers alone: Odd cannot be followed .* shape '\[1, 4, -1\]'",
    ),
    "a number of classes that is cut": (
        lambda n, x: n.score(x)[:, :4],
        {},
        r"alone: scores of shape \(1, 4, 9, 9\) came out, not \(1, 6, 9, 9\)",
    ),
    "groups": (
        lambda n, x: n.grouped(n.score(x).relu()),
        {"grouped": nn.Conv2d(4, 8, 1, groups=4)},
        r"layer grouped has 4 groups, into which 6 classes do not go",
    ),
    "a weight made from others": (
        lambda n, x: n.normed(x),
        {"normed": parametrizations.weight_norm(nn.Conv2d(3, 4, 1))},
        r"layer normed has a weight made from others; remove its parametrization first",
    ),
    "scores along another axis": (
        lambda n, x: n.linear(n.score(x).flatten(2).transpose(1, 2)),
        {"linear": nn.Linear(4, 4)},
        r"layer linear \(Linear\) gives scores \(1, 81, 4\), not \(N, K\)",
    ),
    "no scores": (lambda n, x: [], {}, r"^Odd gives no scores \(N, K\) or \(N, K, h, w\)"),
    "a sum": (lambda n, x: n.score(x).sum(), {}, r"network gives \(\) first, not scores \(N, K\) or \(N, K, h, w\)"),
    "a decision by values": (
        lambda n, x: n.score(x) if x.sum().item() > 0 else x,
        {},
        r"^Odd cannot be followed on a picture \(1, 3, 9, 9\) \(RuntimeError: Tensor.item",
    ),
    "training that cannot be followed": (
        lambda n, x: n.other(x) if n.training and x.sum().item() > 0 else n.score(x),
        {"other": nn.Conv2d(3, 4, 1)},
        r"layer other has as many outputs as there are classes, and is reached in training alone, if at all",
    ),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_replaced_is_refused_and_left_as_it_was(case):
    step, layers, message = REFUSED[case]
    network = Odd(step, **layers)
    before = dict(network.named_modules()) | dict(network.named_parameters())
    with pytest.raises(SurgeryError, match=message):
        replace_classifier(network, 6, size=9, in_channels=3)
    after = dict(network.named_modules()) | dict(network.named_parameters())
    assert after.keys() == before.keys() and all(after[name] is before[name] for name in before)


def test_a_layer_that_is_called_for_scores_and_for_other_maps_is_refused():
    network = Odd(lambda n, x: n.other(n.both(x).relu()) + n.both(x), both=nn.Conv2d(3, 3, 1), other=nn.Conv2d(3, 3, 1))
    with pytest.raises(SurgeryError, match=r"layer both \(Conv2d\) is called for the scores and for other maps"):
        replace_classifier(network, 6, size=9)


def test_a_network_that_is_the_layer_is_refused():
    with pytest.raises(SurgeryError, match="the network is its scoring layer, which cannot be replaced in place"):
        replace_classifier(nn.Conv2d(3, 4, 1), 6)


@pytest.mark.parametrize("classes", [0, -1, 2.0, True, [], "cats", ["cat", "cat"], ["cat", 3], None])
def test_classes_are_a_number_or_different_names(classes):
    with pytest.raises(BadOption, match=r"classes must be a number from 1 up, or a list of different names, got"):
        replace_classifier(small(), classes)
