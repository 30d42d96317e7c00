"""Files of weights as tensors by name: blobs under torch's names, no pickle executed."""

import pickle
import re

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pixelwise.caffe.caffemodel import CaffeLayer, CaffeWeights, write_caffemodel
from pixelwise.errors import DataError, WeightsError
from pixelwise.weights.files import caffe_tensors, digest_of, kind_of, read_tensors


def of(*layers):
    return caffe_tensors(CaffeWeights("", tuple(layers)))


def blob(*shape, start=1.0):
    count = int(np.prod(shape))
    return np.arange(start, start + count, dtype=np.float32).reshape(shape)


def layer(kind, *blobs, name="x"):
    return CaffeLayer(name, kind, blobs)


def shapes(tensors):
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


@pytest.mark.parametrize("kind", ["Convolution", "Deconvolution", "V1:41", ""])
def test_a_convolution_has_a_weight_and_a_bias_whatever_the_fork_calls_its_type(kind):
    weight = blob(4, 3, 2, 5)
    tensors = of(layer(kind, weight, blob(4)))
    assert shapes(tensors) == {"x.weight": (4, 3, 2, 5), "x.bias": (4,)}
    assert np.array_equal(tensors["x.weight"].numpy(), weight)


def test_four_axes_of_old_files_become_those_of_today():
    assert shapes(of(layer("Convolution", blob(4, 1, 1, 1), blob(1, 1, 1, 4)))) == {
        "x.weight": (4, 1, 1, 1),
        "x.bias": (4,),
    }
    fully_connected = of(layer("InnerProduct", blob(1, 1, 5, 7), blob(1, 1, 1, 5)))
    assert shapes(fully_connected) == {"x.weight": (5, 7), "x.bias": (5,)}
    assert fully_connected["x.weight"][2, 3] == 1 + 2 * 7 + 3


def test_a_weight_of_one_filter_stays_a_convolutions():
    assert shapes(of(layer("Convolution", blob(1, 1, 3, 3), blob(1))))["x.weight"] == (1, 1, 3, 3)


@pytest.mark.parametrize("kind", ["BatchNorm", ""])
def test_batch_norm_is_divided_by_its_factor(kind):
    tensors = of(layer(kind, blob(3), blob(3, start=10), np.array([4], np.float32)))
    assert tensors["x.running_mean"].tolist() == [0.25, 0.5, 0.75]
    assert tensors["x.running_var"].tolist() == [2.5, 2.75, 3.0]


def test_a_factor_of_zero_makes_zeros():
    tensors = of(layer("BatchNorm", blob(3), blob(3), np.zeros(1, np.float32)))
    assert tensors["x.running_mean"].tolist() == tensors["x.running_var"].tolist() == [0, 0, 0]


def test_batch_norm_without_its_factor_is_refused():
    with pytest.raises(
        WeightsError, match=r"BatchNorm x has blobs of \(3,\), \(3,\); expected means, variances and one"
    ):
        of(layer("BatchNorm", blob(3), blob(3)))


def test_vectors_of_scale_prelu_and_of_the_forks_bn_have_one_axis():
    assert shapes(of(layer("Scale", blob(3)))) == {"x.weight": (3,)}
    assert shapes(of(layer("Scale", blob(3), blob(3)))) == {"x.weight": (3,), "x.bias": (3,)}
    assert shapes(of(layer("PReLU", blob(3)))) == {"x.weight": (3,)}
    assert shapes(of(layer("BN", blob(1, 3, 1, 1), blob(1, 3, 1, 1)))) == {"x.weight": (3,), "x.bias": (3,)}
    pspnet = of(layer("BN", *(blob(1, 3, 1, 1, start=s) for s in (10, 20, 30, 40))))
    assert {name: tensor[0].item() for name, tensor in pspnet.items()} == {
        "x.weight": 10,
        "x.bias": 20,
        "x.running_mean": 30,
        "x.running_var": 40,
    }


def test_blobs_of_an_unknown_layer_are_numbered():
    mean_field = of(layer("MultiStageMeanfield", blob(1, 1, 2, 2), blob(1, 1, 2, 2), blob(1, 1, 2, 2)))
    assert shapes(mean_field) == {f"x.blob{i}": (1, 1, 2, 2) for i in range(3)}


def test_a_caffemodel_is_read_by_its_suffix(tmp_path):
    write_caffemodel(tmp_path / "a.caffemodel", [layer("Convolution", blob(2, 3, 1, 1), name="conv/1")])
    assert shapes(read_tensors(tmp_path / "a.caffemodel")) == {"conv/1.weight": (2, 3, 1, 1)}


TENSORS = {"conv.weight": torch.arange(6.0).reshape(2, 3, 1, 1), "conv.bias": torch.ones(2)}


@pytest.mark.parametrize(
    "content",
    [
        TENSORS,
        {f"module.{name}": tensor for name, tensor in TENSORS.items()},
        {"epoch": 3, "state_dict": TENSORS},
        {"model": {f"module.{name}": tensor for name, tensor in TENSORS.items()}, "optimizer": {"state": {}}},
        {"model_state": TENSORS, "best_score": 0.7},
    ],
)
@pytest.mark.parametrize("new", [True, False])
def test_the_tensors_of_a_pth_are_found_where_training_programs_put_them(content, new, tmp_path):
    torch.save(content, tmp_path / "a.pth", _use_new_zipfile_serialization=new)
    tensors = read_tensors(tmp_path / "a.pth")
    assert tensors.keys() == TENSORS.keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in TENSORS.items())


class Bomb:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


@pytest.mark.parametrize("new", [True, False])
def test_a_pickle_is_not_executed(new, tmp_path):
    torch.save(
        {"state_dict": TENSORS, "args": Bomb(tmp_path / "executed")},
        tmp_path / "a.pth",
        _use_new_zipfile_serialization=new,
    )
    with pytest.raises(WeightsError, match=r"a\.pth holds more than tensors by name, and is not opened"):
        read_tensors(tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Bomb(tmp_path / "executed")))
    with pytest.raises(WeightsError, match=r"b\.pth holds more|b\.pth is no readable"):
        read_tensors(tmp_path / "b.pth")
    assert not (tmp_path / "executed").exists()


def test_a_damaged_file_is_refused_with_one_line(tmp_path):
    torch.save(TENSORS, tmp_path / "a.pth")
    whole = (tmp_path / "a.pth").read_bytes()
    for length in (0, 1, 10, 200, len(whole) - 30):
        (tmp_path / "cut.pth").write_bytes(whole[:length])
        with pytest.raises(WeightsError, match=r"cut\.pth (is no readable|holds)") as refused:
            read_tensors(tmp_path / "cut.pth")
        assert "\n" not in str(refused.value)
    (tmp_path / "a.safetensors").write_bytes(b"\xff" * 100)
    with pytest.raises(WeightsError, match=r"a\.safetensors is no readable \.safetensors file"):
        read_tensors(tmp_path / "a.safetensors")


def test_a_file_of_something_else_says_what_it_holds(tmp_path):
    torch.save({"epoch": 3, "loss": 0.5}, tmp_path / "a.pt")
    with pytest.raises(WeightsError, match=r"holds a mapping of epoch, loss; expected tensors by name, or these under"):
        read_tensors(tmp_path / "a.pt")
    torch.save(torch.zeros(3), tmp_path / "b.pt")
    with pytest.raises(WeightsError, match=r"holds Tensor; expected tensors by name"):
        read_tensors(tmp_path / "b.pt")


def test_safetensors_are_read_without_a_wrapper(tmp_path):
    save_file({f"_orig_mod.module.{name}": tensor for name, tensor in TENSORS.items()}, tmp_path / "a.safetensors")
    assert read_tensors(tmp_path / "a.safetensors").keys() == TENSORS.keys()


def test_a_file_that_is_not_there_or_of_no_known_kind_is_named(tmp_path):
    with pytest.raises(DataError, match=r"no file of weights at .*a\.pth"):
        read_tensors(tmp_path / "a.pth")
    with pytest.raises(DataError, match="no file of weights at"):
        digest_of(tmp_path / "a.pth")
    expected = re.escape("a.h5 is no file of weights that is read: expected .caffemodel, .pth, .pt, .safetensors")
    with pytest.raises(WeightsError, match=expected):
        kind_of(tmp_path / "a.h5")


def test_the_digest_is_sha_256(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert digest_of(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
