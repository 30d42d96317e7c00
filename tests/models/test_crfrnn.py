"""CRF-RNN: FCN-8s as its files change it, and training through the mean field."""

import inspect

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn import functional

import pixelwise as pw
from pixelwise.crf import MeanField
from pixelwise.errors import BadOption, CheckpointError, DataError, SurgeryError
from pixelwise.flow.plan import Plan
from pixelwise.flow.planner import Statistics, normalization_of
from pixelwise.flow.start import begin_from
from pixelwise.flow.tune_crf import tune_crf
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import CONVERTED, MODELS, build, takes_levels
from pixelwise.models.crfrnn import CRFRNN, crfrnn_fcn8s
from pixelwise.models.fcn import fcn8s_vgg16
from pixelwise.segmenter import Segmenter
from pixelwise.surgery import replace_classifier, transplant
from pixelwise.training.recipe import Recipe

from .contract import awake

NARROW = {"num_classes": 3, "width": 1 / 16}
AS_IN_FCN8S = {"score2": "upscore2", "score4": "upscore_pool4"}


def test_before_the_crf_it_is_fcn8s_with_learned_upsampling_and_a_bias():
    network = awake(crfrnn_fcn8s(**NARROW, steps=0)).eval()
    fcn = fcn8s_vgg16(**NARROW, learn_upsampling=True).eval()
    bias = network.score2.bias
    assert network.score4.bias is None
    state = {}
    for name, tensor in network.state_dict().items():
        first, _, rest = name.partition(".")
        if first != "mean_field" and name != "score2.bias":
            state[f"{AS_IN_FCN8S.get(first, first)}.{rest}"] = tensor
    fcn.load_state_dict(state)
    fcn.upscore2.register_forward_hook(lambda layer, given, out: out + bias[:, None, None])
    images = torch.randn(2, 3, 37, 50)
    torch.testing.assert_close(network(images), fcn(images), rtol=1e-5, atol=1e-5)


def test_a_new_one_upsamples_as_fcn8s_does():
    network, fcn = crfrnn_fcn8s(**NARROW, steps=0).eval(), fcn8s_vgg16(**NARROW).eval()
    with torch.no_grad():
        for layer in (fcn.score_fr, fcn.score_pool4, fcn.score_pool3):
            layer.weight.normal_(std=0.1)
    missing, unexpected = network.load_state_dict(fcn.state_dict(), strict=False)
    assert {name.partition(".")[0] for name in missing} == {"score2", "score4", "mean_field"}
    assert not unexpected
    images = torch.randn(1, 3, 40, 31)
    torch.testing.assert_close(network(images), fcn(images), rtol=1e-5, atol=1e-5)


def test_the_crf_refines_the_scores_by_the_pictures_that_the_network_gets():
    network, plain = awake(crfrnn_fcn8s(**NARROW)).eval(), crfrnn_fcn8s(**NARROW, steps=0).eval()
    plain.load_state_dict(network.state_dict())
    images = 50 * torch.randn(2, 3, 30, 33)
    assert torch.equal(network(images), network.mean_field(plain(images), images))


def stripes(count):
    """Pictures of dark, middle and bright fields in levels around 0, whose borders no cell of stride 8 can follow."""
    generator = torch.Generator().manual_seed(1)
    rows, columns = torch.meshgrid(torch.arange(40), torch.arange(48), indexing="ij")
    targets = torch.stack([((columns + (2 * k - 5) * rows // 4) // 13 + k) % 3 for k in range(count)])
    levels = 40.0 * (targets[:, None] - 1) + 4 * torch.randn(count, 3, 40, 48, generator=generator)
    return levels, targets


def test_trained_end_to_end_the_crf_learns_too():
    network = crfrnn_fcn8s(**NARROW, padding="same")
    start = [p.detach().clone() for p in network.mean_field.parameters()]
    images, targets = stripes(4)
    optimizer = torch.optim.Adam(
        [
            {"params": [p for name, p in network.named_parameters() if not name.startswith("mean_field")]},
            {"params": list(network.mean_field.parameters()), "lr": 2e-2},
        ],
        lr=2e-3,
    )
    losses = []
    for _ in range(40):
        optimizer.zero_grad()
        loss = functional.cross_entropy(network(images), targets)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[0] == pytest.approx(np.log(3), abs=1e-3)  # score layers start at zero
    assert losses[-1] < 0.3 * losses[0]
    assert all((p - old).abs().max() > 0.05 for p, old in zip(network.mean_field.parameters(), start, strict=True))
    network.eval()
    with torch.inference_mode():
        trained = functional.cross_entropy(network(images), targets)
        accuracy = (network(images).argmax(1) == targets).float().mean()
        network.mean_field = MeanField(3).eval()
        assert trained < functional.cross_entropy(network(images), targets)
        network.mean_field.steps = 0
        assert accuracy > (network(images).argmax(1) == targets).float().mean()


def test_levels_are_asked_for():
    for name, builder in (MODELS | CONVERTED).items():
        network = inspect.signature(builder).return_annotation
        assert takes_levels(name) == (network is CRFRNN), name


@pytest.mark.parametrize(
    ("normalization", "message"),
    [
        (Normalization((0.0,) * 3, (1.0, 1.0, 2.0)), r"got deviation \(1.0, 1.0, 2.0\)$"),
        (Normalization((0.0,) * 3, (1.0,) * 3, per_picture=True), r"got deviation \(1.0, 1.0, 1.0\), per picture$"),
    ],
)
def test_a_normalization_that_divides_is_refused(normalization, message, tmp_path):
    labels, architecture = LabelSet(("a", "b", "c")), {"builder": "crfrnn_fcn8s", "options": NARROW}
    fitting = Segmenter(crfrnn_fcn8s(**NARROW), Normalization((100.0,) * 3, (1.0,) * 3), labels, architecture)
    with pytest.raises(
        BadOption, match=r"CRFRNN compares colors in levels of 0–255: .* must have deviation 1.*" + message
    ):
        Segmenter(crfrnn_fcn8s(**NARROW), normalization, labels, architecture)
    fitting.normalization = normalization  # and a file that came to hold it
    with pytest.raises(CheckpointError, match="compares colors in levels"):
        Segmenter.load(fitting.save(tmp_path / "model.safetensors"))


def test_no_second_crf_is_put_behind_it(tmp_path):
    architecture = {"builder": "crfrnn_fcn8s", "options": NARROW}
    labels = LabelSet(tuple("abc"))
    segmenter = Segmenter(crfrnn_fcn8s(**NARROW), Normalization((100.0,) * 3, (1.0,) * 3), labels, architecture)
    assert segmenter.refinement_for(None) is None
    with pytest.raises(BadOption, match="crfrnn_fcn8s ends in a CRF of its own"):
        segmenter.predict(np.zeros((8, 8, 3), np.uint8), crf=True)
    with pytest.raises(DataError, match="ends in a CRF of its own"):
        tune_crf(segmenter.save(tmp_path / "model.safetensors"), tmp_path)


def test_the_planner_takes_the_mean_alone():
    statistics = Statistics(np.ones((1, 2), int), (90.0, 100.0), (40.0, 50.0), (8, 8), False)
    assert normalization_of(statistics, "crfrnn_fcn8s", by_folder=False) == Normalization((90.0, 100.0), (1.0, 1.0))
    for by_folder in (False, True):
        other = normalization_of(statistics, "unet", by_folder=by_folder)
        assert other == Normalization((90.0, 100.0), (40.0, 50.0), per_picture=not by_folder)


TINY = {"crop_size": [32, 32], "batch_size": 2, "threads": 1}


def write_stripes(folder):
    images, targets = stripes(5)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    for k, (image, target) in enumerate(zip(images, targets, strict=True)):
        pixels = (image + 120).clamp(0, 255).byte().permute(1, 2, 0).numpy()
        Image.fromarray(pixels).save(folder / "images" / f"{k}.png")
        Image.fromarray(target.byte().numpy()).save(folder / "masks" / f"{k}.png")


def test_a_folder_is_fitted(tmp_path):
    write_stripes(tmp_path / "data")
    settings = TINY | {"model_options": {"width": 1 / 32}}
    made = pw.fit(tmp_path / "data", out=tmp_path / "run", steps=2, model="crfrnn_fcn8s", settings=settings)
    assert set(made.segmenter.normalization.deviation) == {1.0}
    assert not made.segmenter.normalization.per_picture
    assert "levels" in Plan.load(tmp_path / "run" / "plan.yaml").reasons["normalization"]
    found = pw.load(tmp_path / "run" / "model.safetensors").predict(tmp_path / "data" / "images" / "0.png")
    assert found.labels.shape == (40, 48)


def test_its_weights_come_from_fcn8s():
    """As in the paper, FCN-8s is trained first; what is new starts as it does."""
    fcn, network = awake(fcn8s_vgg16(**NARROW)), crfrnn_fcn8s(**NARROW)
    done = transplant(fcn, network, quiet=True)
    assert sorted(entry.target for entry in done.left) == ["mean_field", "score2", "score4"]
    network.mean_field.steps = 0
    images = torch.randn(1, 3, 40, 31)
    torch.testing.assert_close(network.eval()(images), fcn.eval()(images), rtol=1e-5, atol=1e-5)


def test_a_start_from_fcn8s_sees_what_it_saw():
    """The fitted FCN-8s divides by a deviation, and its first convolution's weights take that over."""
    labels, deviation = LabelSet(("a", "b", "c")), (40.0, 50.0, 60.0)
    fcn = Segmenter(
        awake(fcn8s_vgg16(**NARROW)).eval(),
        Normalization((90.0, 100.0, 110.0), deviation),
        labels,
        {"builder": "fcn8s_vgg16", "options": NARROW},
    )
    recipe = Recipe(model="crfrnn_fcn8s", crop_size=(8, 8), batch_size=1, steps=1, rate=1e-3, validate_every=1)
    plan = Plan(recipe, {}, {}, labels, Normalization(fcn.normalization.mean, (1.0,) * 3), 1, 1)
    network = crfrnn_fcn8s(**NARROW, steps=0).eval()
    begin_from(network, fcn, plan, "fcn8s.safetensors")
    pixels = np.random.default_rng(0).integers(0, 256, (1, 30, 41, 3), dtype=np.uint8)
    found, expected = network(plan.normalization(pixels)), fcn.network(fcn.normalization(pixels))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_other_classes_by_name_leave_the_crf_at_its_start():
    source, network = awake(build("crfrnn_fcn8s", num_classes=2, width=1 / 16)), crfrnn_fcn8s(**NARROW)
    with torch.no_grad():
        source.mean_field.compatibility.normal_()
    done = transplant(
        source,
        network,
        source_classes=["sky", "tree"],
        target_classes=["tree", "road", "sky"],
        score_layers=["score_fr", "score2", "score_pool4", "score4", "score_pool3", "mean_field"],
        quiet=True,
    )
    assert [entry.target for entry in done.left] == ["mean_field"]
    assert torch.equal(network.score_fr.weight[[2, 0]], source.score_fr.weight)
    with pytest.raises(SurgeryError, match="the tensor mean_field"):
        replace_classifier(network, 7)
