import pytest
import torch

from pixelwise.errors import ShapeError
from pixelwise.layers.fully_connected import FlattenMap, fully_connected


def test_flattening_goes_channel_by_channel():
    flatten = FlattenMap((2, 3), pictures=(5, 6, 6))
    values = torch.randn(2, 4, 2, 3)
    flat = flatten(values)
    for channel in range(4):
        for row in range(2):
            for column in range(3):
                assert torch.equal(flat[:, channel * 6 + row * 3 + column], values[:, channel, row, column])
    assert repr(flatten) == "FlattenMap(2 × 3)"
    with pytest.raises(ShapeError, match=r"a map of 2 × 3, got 3 × 2; .* 6 × 6 \(sides of 5 to 6 do\)"):
        flatten(torch.randn(1, 4, 3, 2))


def test_fc6_to_fc8():
    network = fully_connected(4, 8, 5, FlattenMap((2, 3), pictures=(5, 6, 6)))
    assert list(network._modules) == ["flatten", "fc6", "relu6", "drop6", "fc7", "relu7", "drop7", "fc8"]
    values = torch.randn(2, 4, 2, 3)
    fc7 = network.fc7(network.fc6(values.reshape(2, 24)).relu()).relu()
    torch.testing.assert_close(network.eval()(values), network.fc8(fc7))
    assert network.drop6.p == network.drop7.p == 0.5
