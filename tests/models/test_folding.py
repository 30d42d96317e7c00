"""Folding: the same scores without the batch norms, on all networks, and on pairs that must be left alone."""

import copy
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
import torch
from torch import nn

from pixelwise.inference.folding import folded, pairs
from pixelwise.layers.head import Head
from pixelwise.layers.resample import Resampling
from pixelwise.models import MODELS, build

from .contract import NARROW, awake, pictures


def heads_of(network, images):
    with torch.inference_mode():
        return network.heads(images)


def norms(network):
    return [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]


def lively(network):
    """Running statistics and affine weights that are not the initial ones."""
    generator = torch.Generator().manual_seed(3)
    for norm in norms(network):
        norm.running_mean.normal_(0, 0.3, generator=generator)
        norm.running_var.uniform_(0.5, 2, generator=generator)
        with torch.no_grad():
            norm.weight.uniform_(0.5, 1.5, generator=generator)
            norm.bias.normal_(0, 0.3, generator=generator)
    return network.eval()


@contextmanager
def taken_from_convolutions(network):
    """The batch norms that get what a convolution has just given, while the network runs."""
    given, taken = [], []
    hooks = [
        module.register_forward_hook(lambda _, inputs, output: given.append(output))
        for module in network.modules()
        if isinstance(module, nn.Conv2d | nn.ConvTranspose2d)
    ]
    hooks += [
        norm.register_forward_pre_hook(lambda norm, inputs: taken.extend([norm] * any(inputs[0] is g for g in given)))
        for norm in norms(network)
    ]
    yield taken
    for hook in hooks:
        hook.remove()


@pytest.mark.parametrize("name", list(MODELS))
def test_every_network_has_the_same_scores_without_its_batch_norms_behind_convolutions(name):
    torch.manual_seed(0)
    network = lively(awake(build(name, **NARROW)))
    before = copy.deepcopy(network.state_dict())
    images = pictures(name, 1, 33, 41)
    expected = heads_of(network, images)
    engine = folded(network)
    with taken_from_convolutions(engine.network) as taken:
        found = engine.heads(images)
    assert found.keys() == expected.keys() and not taken
    for head, wanted in zip(found.values(), expected.values(), strict=True):
        torch.testing.assert_close(head.scores, wanted.scores, rtol=0, atol=1e-4 * wanted.scores.abs().max().item())
    assert all(torch.equal(value, before[key]) for key, value in network.state_dict().items())


class Odd(nn.Module):
    """Pairs of all kinds: (1) a transposed one in groups, (2) taken twice, (3) shared, (4) norm of two, (5) scores."""

    def __init__(self):
        super().__init__()
        self.own, self.own_norm = nn.Conv2d(3, 4, 3, padding=1, bias=False), nn.BatchNorm2d(4, affine=False)
        self.up, self.up_norm = nn.ConvTranspose2d(4, 6, 2, 2, groups=2), nn.BatchNorm2d(6)
        self.twice, self.twice_norm = nn.Conv2d(6, 6, 3, padding=1), nn.BatchNorm2d(6)
        self.left, self.right, self.both_norm = nn.Conv2d(6, 6, 1), nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.tied, self.tied_norm = nn.Conv2d(6, 6, 1), nn.BatchNorm2d(6)
        self.tied.weight = self.left.weight
        self.score, self.score_norm = nn.Conv2d(6, 3, 1), nn.BatchNorm2d(3)
        self.line, self.line_norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

    def heads(self, images):
        maps = self.up_norm(self.up(self.own_norm(self.own(images)))).relu()
        once = self.twice(maps)
        maps = self.twice_norm(once) + once
        maps = self.both_norm(self.left(maps)) + self.both_norm(self.right(maps)) + self.tied_norm(self.tied(maps))
        maps = maps + self.line_norm(self.line(maps.mean((2, 3))))[..., None, None]
        scores = self.score(maps)
        size = tuple(images.shape[-2:])
        coarse = tuple(scores.shape[-2:])
        return {
            "labels": Head(scores, Resampling.half_pixel(coarse, size)),
            "other": Head(self.score_norm(scores), Resampling.half_pixel(coarse, size)),
        }


def test_only_a_norm_that_alone_takes_a_layer_of_its_own_is_folded():
    torch.manual_seed(1)
    network = lively_too(Odd())
    assert sorted(pairs(network)) == [("line", "line_norm"), ("own", "own_norm"), ("up", "up_norm")]
    images = torch.randn(2, 3, 9, 11)
    for head, wanted in zip(folded(network).heads(images).values(), heads_of(network, images).values(), strict=True):
        torch.testing.assert_close(head.scores, wanted.scores, rtol=1e-4, atol=1e-5)


def lively_too(network):
    for module in network.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
    return network.eval()


def test_a_network_that_cannot_be_followed_is_left_as_it_is():
    class Deciding(Odd):
        def heads(self, images):
            return super().heads(images if images.sum().item() > 0 else -images)

    network = lively_too(Deciding())
    assert pairs(network) == []
    images = torch.randn(1, 3, 9, 11)
    found, wanted = folded(network).heads(images)["labels"], heads_of(network, images)["labels"]
    torch.testing.assert_close(found.scores, wanted.scores, rtol=1e-4, atol=1e-5)
    assert isinstance(folded(network).network.own_norm, nn.BatchNorm2d)


def test_weights_that_do_not_change_are_shared():
    network = build("fcn8s_vgg16", **NARROW).to(memory_format=torch.channels_last).eval()
    shared = {tensor.data_ptr() for tensor in network.parameters()}
    assert {tensor.data_ptr() for tensor in folded(network).network.parameters()} == shared


def test_bfloat16_is_in_the_convolutions_alone():
    network = lively(build("unet", **NARROW))
    engine = folded(network, "bf16")
    assert {p.dtype for p in engine.network.parameters()} == {torch.bfloat16}
    images = pictures("unet", 1, 40, 52)
    (head,), (wanted,) = engine.heads(images).values(), heads_of(network, images).values()
    assert (head.scores.float() - wanted.scores).abs().max() < 0.05 * wanted.scores.abs().max()


@pytest.mark.parametrize("name", list(MODELS))
def test_several_pictures_at_once_have_each_its_own_scores(name):
    """As `predict` segments small ones: nothing of a forward stays in the network."""
    torch.manual_seed(0)
    network = folded(lively(awake(build(name, **NARROW))))
    given = [pictures(name, 1, *size) for size in ((17, 33), (33, 17), (25, 25)) * 3]
    alone = [network.heads(images) for images in given]
    with ThreadPoolExecutor(3, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        together = list(pool.map(network.heads, given))
    for one, other in zip(alone, together, strict=True):
        assert all(torch.equal(one[head].scores, other[head].scores) for head in one)
