import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.models.bayesian_segnet import bayesian_segnet, monte_carlo
from pixelwise.models.segnet import segnet

RELEASES = ("tutorial", "camvid", "pascal", "basic")


def order(network, images):
    """The names of convolutions, pools and dropouts in the order they run in."""
    seen = []
    for name, module in network.named_modules():
        leaf = name.rpartition(".")[2]
        if isinstance(module, nn.Conv2d):
            module.register_forward_pre_hook(lambda _m, _i, leaf=leaf: seen.append(leaf))
        if isinstance(module, nn.Dropout):
            module.register_forward_pre_hook(lambda m, _i: seen.append(f"drop {m.p}"))
    for index, pool in enumerate(network.pool, 1):
        pool.register_forward_pre_hook(lambda _m, _i, index=index: seen.append(f"pool{index}"))
    network(images)
    return seen


def decided(network):
    """In evaluation, after a batch, so that the running statistics fit and the softmax is far from even."""
    network.train()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 0.9
    network(torch.rand(2, 3, 40, 48) * 255)
    return network.eval()


def test_dropout_of_the_tutorial():
    """encdrop3 to 5 right after the pools, decdrop5 to 3 before the next unpooling."""
    with torch.device("meta"):
        found = order(bayesian_segnet(num_classes=11), torch.empty(1, 3, 360, 480))
    drop = "drop 0.5"
    assert found == [
        *("conv1_1", "conv1_2", "pool1", "conv2_1", "conv2_2", "pool2"),
        *("conv3_1", "conv3_2", "conv3_3", "pool3", drop),
        *("conv4_1", "conv4_2", "conv4_3", "pool4", drop),
        *("conv5_1", "conv5_2", "conv5_3", "pool5", drop),
        *("conv5_3_D", "conv5_2_D", "conv5_1_D", drop),
        *("conv4_3_D", "conv4_2_D", "conv4_1_D", drop),
        *("conv3_3_D", "conv3_2_D", "conv3_1_D", drop),
        *("conv2_2_D", "conv2_1_D", "conv1_2_D", "conv1_1_D"),
    ]


def test_dropout_of_pascal():
    """pool1_drop to pool5_drop before the pools, upsample5_drop to upsample1_drop before the unpoolings."""
    with torch.device("meta"):
        found = order(bayesian_segnet(num_classes=21, release="pascal"), torch.empty(1, 3, 224, 224))
    drop = "drop 0.5"
    assert found == [
        *("conv1_1", "conv1_2", drop, "pool1", "conv2_1", "conv2_2", drop, "pool2"),
        *("conv3_1", "conv3_2", "conv3_3", drop, "pool3"),
        *("conv4_1", "conv4_2", "conv4_3", drop, "pool4"),
        *("conv5_1", "conv5_2", "conv5_3", drop, "pool5", drop),
        *("conv5_3_D", "conv5_2_D", "conv5_1_D", drop),
        *("conv4_3_D", "conv4_2_D", "conv4_1_D", drop),
        *("conv3_3_D", "conv3_2_D", "conv3_1_D", drop),
        *("conv2_2_D", "conv2_1_D", drop, "conv1_2_D", "conv1_1_D"),
    ]


def test_dropout_of_basic():
    with torch.device("meta"):
        found = order(bayesian_segnet(num_classes=11, release="basic"), torch.empty(1, 3, 360, 480))
    drop = "drop 0.5"
    assert found == [
        *("conv1", "pool1", "conv2", "pool2", "conv3", "pool3", drop, "conv4", "pool4", drop),
        *("conv_decode4", drop, "conv_decode3", drop, "conv_decode2", "conv_decode1", "dense_softmax_inner_prod"),
    ]


def test_release_for_camvid_has_one_more_layer():
    with torch.device("meta"):
        network = bayesian_segnet(num_classes=11, release="camvid")
        found = order(network, torch.empty(1, 3, 360, 480))
    assert found[-3:] == ["conv1_2_D", "conv1_1_D", "camvid"]
    assert found.count("drop 0.5") == 6
    last = [type(module).__name__ for module in network.decoder[-1]]
    assert last == ["Conv2d", "BatchNorm2d", "ReLU", "Conv2d", "BatchNorm2d", "ReLU", "Conv2d"]
    assert network.decoder[-1].camvid.weight.shape == (11, 64, 3, 3)


@pytest.mark.parametrize(
    ("release", "expected"),
    [
        ("tutorial", 29_449_355),
        ("camvid", 29_449_355 + 9 * 64 * 64 + 64 + 128),
        ("pascal", 29_449_355),
        ("basic", 1_416_587),
    ],
)
def test_parameters(release, expected):
    with torch.device("meta"):
        network = bayesian_segnet(num_classes=11, release=release)
    assert sum(p.numel() for p in network.parameters()) == expected


def test_shifts_of_the_release():
    for release in RELEASES:
        network = bayesian_segnet(num_classes=2, width=1 / 16, release=release)
        norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
        assert {value for norm in norms for value in norm.bias.tolist()} == (
            {torch.tensor(0.001).item()} if release == "basic" else {0.0}
        )


@pytest.mark.parametrize("release", ["tutorial", "basic"])
def test_samples_are_the_networks_with_dropout(release):
    """Mean and variance of five samples drawn by hand from the same seed."""
    network = decided(bayesian_segnet(num_classes=4, width=1 / 8, release=release))
    images = torch.rand(2, 3, 33, 40) * 255
    found = monte_carlo(network, images, samples=5, seed=3)
    for module in network.modules():
        if isinstance(module, nn.Dropout):
            module.train()
    torch.manual_seed(3)
    with torch.no_grad():
        samples = torch.stack([network(images).softmax(1) for _ in range(5)]).double()
    assert samples.std(0).max() > 0.01
    torch.testing.assert_close(found.probabilities.double(), samples.mean(0), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(found.uncertainty.double(), samples.var(0, correction=0).mean(1), rtol=1e-4, atol=1e-7)
    assert found.probabilities.shape == (2, 4, 33, 40)
    assert found.uncertainty.shape == (2, 33, 40)


def test_samples_depend_on_the_seed_alone():
    network = decided(bayesian_segnet(num_classes=3, width=1 / 16))
    images = torch.rand(1, 3, 17, 20) * 255
    first = monte_carlo(network, images, samples=3, seed=1)
    state = torch.get_rng_state()
    again = monte_carlo(network, images, samples=3, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.probabilities, again.probabilities)
    assert torch.equal(first.uncertainty, again.uncertainty)
    assert not torch.equal(first.probabilities, monte_carlo(network, images, samples=3, seed=2).probabilities)


def test_nothing_is_uncertain_without_dropout_or_with_one_sample():
    images = torch.rand(1, 3, 17, 20) * 255
    without = decided(segnet(num_classes=3, width=1 / 16))
    assert not monte_carlo(without, images, samples=4).uncertainty.any()
    torch.testing.assert_close(
        monte_carlo(without, images, samples=4).probabilities, without(images).softmax(1).detach()
    )
    one = decided(bayesian_segnet(num_classes=3, width=1 / 16))
    assert not monte_carlo(one, images, samples=1).uncertainty.any()


@pytest.mark.parametrize("training", [True, False])
def test_mode_and_statistics_stay(training):
    network = bayesian_segnet(num_classes=3, width=1 / 16).train(training)
    network.encoder[1].eval()  # frozen by its owner
    modes = [module.training for module in network.modules()]
    before = {key: value.clone() for key, value in network.state_dict().items()}
    images = torch.rand(1, 3, 17, 20)
    monte_carlo(network, images, samples=2)
    assert [module.training for module in network.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())
    with pytest.raises(RuntimeError):
        monte_carlo(network, images[:, :2], samples=2)
    assert [module.training for module in network.modules()] == modes


@pytest.mark.parametrize("release", RELEASES)
def test_evaluation_averages_the_weights(release):
    network = decided(bayesian_segnet(num_classes=3, width=1 / 16, release=release))
    images = torch.rand(1, 3, 17, 20) * 255
    assert torch.equal(network(images), network(images))
    assert not torch.equal(network.train()(images), network(images))


def test_impossible_options():
    with pytest.raises(BadOption, match="release must be 'tutorial', 'camvid', 'pascal' or 'basic', got 'sun'"):
        bayesian_segnet(num_classes=2, release="sun")
    with pytest.raises(BadOption, match="samples must be a whole number from 1 up, got 0"):
        monte_carlo(segnet(num_classes=2, width=1 / 64), torch.zeros(1, 3, 2, 2), samples=0)
