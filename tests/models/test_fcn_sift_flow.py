import pytest
import torch
from torch import nn

from pixelwise.errors import BadOption
from pixelwise.models.fcn import fcn8s_vgg16, fcn16s_vgg16, fcn32s_vgg16
from pixelwise.models.fcn_sift_flow import fcn8s_two_headed, fcn16s_two_headed, fcn32s_two_headed
from pixelwise.models.fcn_streams import ALIGNMENTS, BilinearUpsampling

RELEASED = ALIGNMENTS["released"]
# two-headed, with one head, the last upsampling, parameters and fixed values (spec, networks-2014-2016 §2.2)
NETWORKS = {
    "32s": (fcn32s_two_headed, fcn32s_vgg16, RELEASED.upscore, 134_408_036, 4_497_408),
    "16s": (fcn16s_two_headed, fcn16s_vgg16, RELEASED.upscore16, 134_426_504, 1_141_920),
    "8s": (fcn8s_two_headed, fcn8s_vgg16, RELEASED.upscore8, 134_435_756, 316_224),
}
every_stride = pytest.mark.parametrize("stride", NETWORKS)


def narrow(builder, **options):
    """In eval mode, with score layers that say something."""
    network = builder(width=1 / 16, **options)
    for name, module in network.named_children():
        if name.startswith("score"):
            nn.init.normal_(module.weight, std=0.2)
            nn.init.normal_(module.bias)
    return network.eval()


@every_stride
def test_each_head_is_a_network_of_one_head(stride):
    two_headed, single, *_ = NETWORKS[stride]
    network = narrow(two_headed, num_classes=5)
    images = torch.randn(2, 3, 20, 33)
    heads = network.heads(images)
    assert list(heads) == ["logits", "geometric"]
    state = network.state_dict()
    for suffix, head, classes in (("_sem", heads["logits"], 5), ("_geo", heads["geometric"], 3)):
        alone = narrow(single, num_classes=classes)
        own = {k.replace(suffix, ""): v for k, v in state.items() if k.startswith("backbone.") or suffix in k}
        alone.load_state_dict(own)
        assert torch.equal(head.full_size(), alone(images))
    assert torch.equal(network(images), heads["logits"].full_size())


@every_stride
def test_a_new_network_says_nothing(stride):
    heads = NETWORKS[stride][0](num_classes=4, width=1 / 16, geometric_classes=2).heads(torch.randn(1, 3, 9, 9))
    assert [tuple(head.full_size().shape) for head in heads.values()] == [(1, 4, 9, 9), (1, 2, 9, 9)]
    assert not any(head.full_size().any() for head in heads.values())


@every_stride
def test_counts_are_the_released_files(stride):
    builder, _, last, trained, fixed = NETWORKS[stride]
    with torch.device("meta"):
        network = builder(num_classes=33)
    assert sum(p.numel() for p in network.parameters()) == trained
    doubled = sum(isinstance(m, BilinearUpsampling) for m in network.modules()) // 2  # in each head
    assert (33**2 + 3**2) * ((2 * last.factor) ** 2 + doubled * 4**2) == fixed


def test_each_stage_starts_as_the_one_before():
    coarse = narrow(fcn32s_two_headed, num_classes=4)
    images = torch.randn(1, 3, 25, 30)
    for builder, upscore in ((fcn16s_two_headed, "upscore2"), (fcn8s_two_headed, "upscore_pool4")):
        fine = builder(num_classes=4, width=1 / 16).eval()
        fine.load_state_dict(coarse.state_dict(), strict=False)
        for suffix, name in (("sem", "logits"), ("geo", "geometric")):
            expected = getattr(fine, f"{upscore}_{suffix}")(coarse.heads(images)[name].scores)
            assert torch.equal(fine.heads(images)[name].scores, expected)
        coarse = fine


@every_stride
def test_geometric_classes_are_counted(stride):
    with pytest.raises(BadOption, match="geometric_classes must be a whole number from 1 up, got 0"):
        NETWORKS[stride][0](num_classes=4, geometric_classes=0)
