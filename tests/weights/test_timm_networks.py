"""timm's classifiers under surgery, where timm can be imported; what is said where it cannot."""

import re
import sys
from pathlib import Path

import pytest
import torch

from pixelwise.errors import BadOption, ShapeError, SurgeryError, UnknownName, WeightsError
from pixelwise.surgery import convolutionalize, set_output_stride
from pixelwise.weights import TimmTrunk, timm_classifier

HOW_TO = Path(__file__).parents[2] / "docs/how-to/use-a-timm-classifier.md"


@pytest.fixture(scope="module")
def timm(torchvision):
    """timm, which imports torchvision."""
    return pytest.importorskip("timm", reason="timm is not installed", exc_type=ImportError)


@pytest.mark.parametrize("name", ["resnet18", "convnext_atto", "mobilenetv2_050", "regnetx_002"])
def test_a_slid_classifier_gives_in_each_cell_what_the_classifier_gives_for_its_window(timm, name):
    network, normalization, (height, width) = timm_classifier(name, pretrained=False, num_classes=5)
    assert (height, width) == (224, 224) and normalization.mean == pytest.approx((123.675, 116.28, 103.53))
    slid = convolutionalize(network, (height, width)).eval()
    images = torch.randn(1, 3, height, width)
    with torch.no_grad():
        torch.testing.assert_close(slid(images)[:, :, 0, 0], network(images), rtol=1e-4, atol=1e-5)
        assert slid(torch.randn(1, 3, height + 64, width + 96)).shape == (1, 5, 3, 4)


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv2_050", "regnetx_002"])
def test_a_denser_trunk_keeps_its_values(timm, name):
    trunk = TimmTrunk(timm_classifier(name, pretrained=False).network).eval()
    images = torch.randn(1, 3, 96, 128)
    with torch.no_grad():
        coarse = trunk(images)
        dense = set_output_stride(trunk, 8)(images)
    assert coarse.shape == (1, trunk.channels, 3, 4) and dense.shape == (1, trunk.channels, 12, 16)
    torch.testing.assert_close(dense[..., ::4, ::4], coarse, rtol=1e-4, atol=1e-5 * float(coarse.abs().max()))


def test_what_cannot_be_slid_is_refused_by_its_layer(timm):
    network, _, size = timm_classifier("mobilenetv3_small_050", pretrained=False)
    with pytest.raises(SurgeryError, match=r"blocks\.0\.0\.se .*squeeze-and-excitation"):
        convolutionalize(network, size)
    tokens = TimmTrunk(timm_classifier("vit_tiny_patch16_224", pretrained=False).network)
    with pytest.raises(ShapeError, match=r"gives features \(1, 197, 192\); expected a map \(N, 192, h, w\)"):
        tokens(torch.randn(1, 3, 224, 224))


def test_wrong_names_and_missing_weights_are_told(timm, monkeypatch):
    with pytest.raises(UnknownName, match="no timm model is called 'resnet81'; did you mean 'resnet"):
        timm_classifier("resnet81")
    with pytest.raises(BadOption, match="resnet18: .*no_such_option"):
        timm_classifier("resnet18", pretrained=False, no_such_option=1)

    def offline(*arguments, **options):
        raise OSError("no\nnetwork")

    monkeypatch.setattr(timm, "create_model", offline)
    with pytest.raises(
        WeightsError, match=r"the weights of timm's resnet18 cannot be had \(no network\); give pretrained=F"
    ):
        timm_classifier("resnet18")


def test_the_how_to_runs(timm):
    blocks = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        names: dict = {}
        code = re.sub(r"timm_classifier\(([^)]+)\)", r"timm_classifier(\1, pretrained=False)", block)
        assert code != block
        exec(code, names)
        if "scores" in names:
            assert names["scores"].shape == (1, 2, 8, 16)
        else:
            assert names["network"].eval()(torch.randn(1, 3, 65, 97)).shape == (1, 21, 65, 97)


def test_without_timm_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(BadOption, match=r'timm is not installed; install it with: pip install "pixelwise\[timm\]"'):
        timm_classifier("resnet18")


def test_a_network_that_is_not_timms_has_no_trunk():
    with pytest.raises(BadOption, match="Linear has no forward_features; pass a classifier of timm"):
        TimmTrunk(torch.nn.Linear(1, 1))
