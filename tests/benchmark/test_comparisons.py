"""Each comparison of `pixelwise benchmark`, in small: both sides give the same answer, and a wrong answer is told."""

import numpy as np
import pytest

from pixelwise.benchmark import argmax, comparisons, confusion, crf, data_path, imports, predict
from pixelwise.benchmark.turns import Missing, Ratio
from pixelwise.errors import UnknownName


def measured(found):
    """The only ratio of a comparison that has one peer."""
    (ratio,) = found
    assert isinstance(ratio, Ratio)
    assert ratio.lowest <= ratio.ratio <= ratio.highest and ratio.seconds > 0
    return ratio


def test_upsampling_gives_the_labels_of_interpolate_and_argmax(monkeypatch):
    monkeypatch.setattr(argmax, "QUICK", ((5, (64, 96)),))
    ratio = measured(argmax.measure(quick=True))
    assert (ratio.equal, ratio.case, ratio.turns) == (True, "5 classes, 64 × 96", 3)
    monkeypatch.setattr(argmax, "interpolated", lambda scores, size: scores.new_zeros((1, *size)).long())
    assert not measured(argmax.measure(quick=True)).equal


def test_the_masked_recipe_counts_what_a_loop_counts():
    rng = np.random.default_rng(0)
    prediction, target = rng.integers(0, 3, (2, 50)).astype(np.uint8)
    target[::7] = confusion.VOID
    counts = np.zeros((3, 3), int)
    for guess, truth in zip(prediction, target, strict=True):
        if truth != confusion.VOID:
            counts[truth, guess] += 1
    assert (confusion.masked(prediction, target, 3) == counts).all()


def test_the_confusion_matrices_are_equal_and_a_wrong_one_is_told(monkeypatch):
    ratio = measured(confusion.measure(quick=True))
    assert (ratio.equal, ratio.answers) == (True, "equal counts")
    monkeypatch.setattr(confusion, "masked", lambda prediction, target, classes: np.zeros((classes, classes)))
    ratio = measured(confusion.measure(quick=True))
    assert (ratio.equal, ratio.answers) == (False, "the counts differ")


def test_without_pydensecrf_the_crf_is_left_out_with_the_command_that_installs_it(monkeypatch):
    monkeypatch.setattr(crf, "installed", lambda: False)
    (missing,) = crf.measure()
    assert isinstance(missing, Missing)
    assert missing.told == f"pydensecrf is not installed: {crf.HOW_TO_INSTALL}"


@pytest.mark.parametrize("right", [True, False])
def test_the_crf_is_compared_with_one_thread_and_with_all(monkeypatch, right):
    """The peer is stood in for by our own answer, or by the energies' labels."""
    monkeypatch.setattr(crf, "installed", lambda: True)
    monkeypatch.setattr(crf, "available_threads", lambda: 2)
    monkeypatch.setattr(crf, "QUICK_SIZE", (24, 32))
    monkeypatch.setattr(crf, "LABELS", 3)
    monkeypatch.setattr(
        crf, "pydensecrf", lambda unary, image, name: crf.ours(unary, image, name, 1) if right else np.exp(unary)
    )
    one, all_ = crf.measure(quick=True)
    assert [one.way, all_.way] == ["1 thread", "2 threads"]
    assert one.equal == all_.equal == right
    assert one.case == "3 labels, 24 × 32, σα 80, σβ 13"


def test_predictions_are_compared_for_each_engine_that_is_installed(monkeypatch):
    monkeypatch.setattr(predict, "QUICK_SIZE", (40, 56))
    monkeypatch.setattr(predict, "QUICK_WIDTH", 1 / 16)
    monkeypatch.setattr(predict, "MODEL", "unet")
    monkeypatch.setattr(predict, "find_spec", lambda package: None if package != "onnx" else object())
    openvino, onnxruntime, ratio = predict.measure(quick=True)
    assert openvino == Missing("predict", "openvino", "pip install openvino onnxscript")
    assert onnxruntime.install == "pip install onnxruntime onnxscript"
    assert ratio.equal and ratio.way.startswith("engine torch ") and "file to PNG" in ratio.case


def test_the_data_path_gives_what_pillow_gives(monkeypatch):
    monkeypatch.setattr(data_path, "find_spec", lambda package: None)
    missing, ratio = data_path.measure(quick=True)
    assert missing.told == "albumentations is not installed: pip install albumentations"
    assert (ratio.equal, ratio.answers) == (True, "masks equal, images alike")


def test_a_picture_or_a_mask_that_is_a_pixel_aside_is_found(monkeypatch, tmp_path):
    data_path.draw(tmp_path, 1)
    data = data_path.open_dataset("folder", tmp_path)
    files = {"00000": (tmp_path / "images" / "00000.jpg", tmp_path / "masks" / "00000.png")}
    right = data_path.by_pillow

    def aside(of_image, of_mask):
        def crop(*arguments):
            image, mask = right(*arguments)
            return image.roll(of_image, -1), mask.roll(of_mask, -1)

        return crop

    monkeypatch.setattr(data_path, "by_pillow", aside(0, 1))
    assert data_path.difference(data, files, peer=False) == "00000, factor 1: the mask differs from that of Pillow"
    monkeypatch.setattr(data_path, "by_pillow", aside(1, 0))
    assert "the picture differs from Pillow's by" in data_path.difference(data, files, peer=False)


def test_imports_are_compared_and_one_that_fails_is_told(monkeypatch):
    monkeypatch.setattr(imports, "run", lambda arguments: 0)
    found = list(imports.measure(quick=True))
    assert [one.case for one in found] == list(imports.COMMANDS)
    assert all(one.equal for one in found)
    monkeypatch.setattr(imports, "run", lambda arguments: 1)
    assert not any(one.equal for one in imports.measure(quick=True))
    assert found[0].answers == "both ran"


def test_a_fresh_interpreter_gives_its_exit_code():
    assert imports.run(("-c", "raise SystemExit(3)")) == 3


def test_some_comparisons_run_in_the_table_s_order_and_an_unknown_one_is_refused(monkeypatch):
    ran = []
    for name in comparisons.COMPARISONS:

        def measure(*, quick, name=name):
            ran.append((name, quick))
            yield Missing(name, "it", "pip install it")

        monkeypatch.setitem(comparisons.COMPARISONS, name, measure)
    moves = []
    found = comparisons.compare(
        ("data", "argmax"), quick=True, progress=lambda done, total: moves.append((done, total))
    )
    assert ran == [("argmax", True), ("data", True)]
    assert [one.name for one in found] == ["argmax", "data"] and moves == [(0, 2), (1, 2), (2, 2)]
    with pytest.raises(UnknownName, match=r"no comparison is called 'argmx'; did you mean 'argmax'\?"):
        comparisons.compare(("argmx",))
