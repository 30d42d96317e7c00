"""The drawn heat map: what stands where, at any size."""

import numpy as np
import pytest
import torch
from PIL import Image, ImageFont

from pixelwise.errors import BadOption, DataError, UnknownName, WeightsError
from pixelwise.flow import heatmap as drawing
from pixelwise.flow.heatmap import draw_heatmap, figure, told
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.report.heat import OPACITY, bar_colors, blended, colored
from pixelwise.segmenter import Segmenter

NORMALIZATION = Normalization((120.0,) * 3, (60.0,) * 3)
OPTIONS = {"num_classes": 4, "width": 1 / 16, "depth": 3}


@pytest.fixture
def segmenter():
    torch.manual_seed(0)
    labels = LabelSet(("soil", "leaf", "Leaf", "früit / 葉"))
    network = build("unet", **OPTIONS).eval()
    return Segmenter(network, NORMALIZATION, labels, {"builder": "unet", "options": OPTIONS})


@pytest.fixture
def photo(tmp_path):
    Image.fromarray(noise(40, 56)).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def noise(height, width):
    return np.random.default_rng(0).integers(0, 255, (height, width, 3)).astype(np.uint8)


def lightness(color):
    """CIE L* of an RGB color 0–255, by its definition."""
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in np.asarray(color) / 255]
    y = float(np.dot(linear, (0.2126, 0.7152, 0.0722)))
    return 116 * y ** (1 / 3) - 16 if y > 0.008856 else 903.3 * y


def test_colors_grow_lighter_in_equal_steps():
    steps = np.diff([lightness(c) for c in colored(np.linspace(0, 1, 9))])
    assert (abs(steps - 10) < 0.6).all()
    assert colored(np.float32([0, 1])).tolist() == [[20, 31, 82], [255, 239, 155]]
    assert colored(np.float32([[1 / 16]])).tolist() == [[[43.5, 37, 98]]]


def test_blending_by_hand():
    picture = np.uint8([[[10, 20, 30], [255, 255, 255]]])
    shown = blended(picture, np.float32([[0, 1]]))
    dark, light = 128 + 0.35 * (20 - 128), 128 + 0.35 * (255 - 128)
    expected = [
        (1 - OPACITY) * dark + OPACITY * np.array([20, 31, 82]),
        (1 - OPACITY) * light + OPACITY * np.array([255, 239, 155]),
    ]
    assert (abs(shown[0] - np.array(expected)) <= 0.5).all()
    assert blended(np.uint8([[[7]]]), np.float32([[0.5]])).shape == (1, 1, 3)


@pytest.mark.parametrize("gray", [0, 60, 200, 255])
def test_the_color_bar_holds_on_dark_and_bright_pictures(gray):
    shown = blended(np.full((1, 9, 1), gray, np.uint8), np.linspace(0, 1, 9, dtype=np.float32)[None])[0].astype(int)
    bar = bar_colors(np.linspace(0, 1, 9)).astype(int)
    nearest = [int(((bar - color) ** 2).sum(1).argmin()) for color in shown]
    assert max(abs(found - true) for true, found in enumerate(nearest)) <= 1


def test_the_picture_stands_left_and_the_heat_map_right(monkeypatch):
    monkeypatch.setattr(drawing, "_ring", lambda *_: None)
    picture, probability = noise(300, 400), np.linspace(0, 1, 300 * 400, dtype=np.float32).reshape(300, 400)
    drawn = np.asarray(figure(picture, probability, (299, 399), "a.png", "probability of leaf", "below"))
    left, top = find(drawn, picture)
    right, same = find(drawn, blended(picture, probability))
    assert (same, right > left + 400) == (top, True)
    bar = drawn[top : top + 300, right + 400 :]
    column = next(c for c in range(bar.shape[1]) if (bar[:, c] < 255).any(1).all())
    expected = (1 - OPACITY) * 128 + OPACITY * colored(np.linspace(1, 0, 300))
    assert (abs(bar[:, column] - expected) <= 0.5).all()
    assert (bar[:, column:] < 100).all(2).sum() > 50  # its numbers
    for words in (drawn[:top, left : left + 400], drawn[:top, right:], drawn[top + 300 :, left:]):
        assert (words < 100).all(2).sum() > 50


def find(drawn, panel):
    """(left, top) of a panel in a figure."""
    height, width = panel.shape[:2]
    for top in range(drawn.shape[0] - height + 1):
        for left in range(drawn.shape[1] - width + 1):
            if (drawn[top, left] == panel[0, 0]).all() and (drawn[top:, left:][:height, :width] == panel).all():
                return left, top
    raise AssertionError("the panel is not there")


def test_the_ring_marks_the_place():
    picture, probability = np.full((400, 400, 3), 128, np.uint8), np.zeros((400, 400), np.float32)
    plain, marked = (
        np.asarray(figure(picture, probability, place, "a", "b", "c")).astype(int) for place in ((0, 0), (300, 100))
    )
    left, top = find(marked.astype(np.uint8), picture)
    changed = np.argwhere((plain != marked).any(2)) - (top, left)
    near = changed[(changed > 50).all(1)]  # but for the ring at (0, 0)
    right = near[:, 1].mean() - 100  # from panel to panel
    np.testing.assert_allclose(near.mean(0), (300.5, right + 100), atol=1)
    assert np.ptp(near, axis=0).min() >= 15
    assert (right > 400) and (right < 460)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        ((1, 1), (320, 320)),
        ((12, 16), (240, 320)),
        ((3000, 1500), (1000, 500)),
        ((2, 2000), (48, 1000)),
        ((2000, 2), (1000, 48)),
        ((500, 400), (500, 400)),
    ],
)
def test_panels_are_readable_at_any_size(size, shown, monkeypatch):
    sizes = []
    monkeypatch.setattr(drawing, "_ring", lambda panel, place: sizes.append(panel.size))
    picture = figure(noise(*size), np.zeros(size, np.float32), (0, 0), "a", "b", "c")
    assert sizes == [shown[::-1]]
    wide = shown[1] > 2.5 * shown[0]
    assert (picture.width > 2 * shown[1]) == (not wide)
    assert (picture.height > 2 * shown[0]) == (wide or shown[0] < 100)
    assert picture.width >= 320 and picture.height >= 100


def test_long_names_and_other_letters_are_drawn(monkeypatch):
    picture, probability = noise(50, 50), np.zeros((50, 50), np.float32)
    for name in ("x" * 120, "ü\u202e\n\x07\u8449" * 20, "", " "):
        assert figure(picture, probability, (0, 0), name, name, name).width < 1000
    assert drawing._font("plain (1…)", 12)[0] == "plain (1…)"
    monkeypatch.setattr(drawing, "SYSTEM_FONTS", ("no such font.ttf",))
    words, font = drawing._font("früit 葉", 12)
    assert words == "fruit ?"
    assert font.getname() == ImageFont.load_default(12).getname()


def test_what_is_told_is_what_the_segmenter_says(segmenter, photo, tmp_path):
    drawn = draw_heatmap(segmenter, photo, "leaf", out=tmp_path / "new" / "map.png")
    probability = segmenter.heatmap(photo, "leaf")
    assert probability.shape == (40, 56)
    assert drawn.probability == pytest.approx(float(probability.max()))
    assert drawn.probability == pytest.approx(float(probability[drawn.row, drawn.column]), abs=2e-6)
    highest = {name: float(segmenter.heatmap(photo, name).max()) for name in segmenter.labels.names}
    assert [name for name, _ in drawn.top] == sorted(highest, key=highest.get, reverse=True)
    assert dict(drawn.top) == pytest.approx(highest, abs=1e-5)
    with Image.open(drawn.out) as picture:
        assert (picture.format, picture.mode) == ("PNG", "RGB")
    assert [p.name for p in (tmp_path / "new").iterdir()] == ["map.png"]


def test_the_five_likeliest_classes_are_named(photo, tmp_path):
    options = OPTIONS | {"num_classes": 7}
    many = Segmenter(build("unet", **options).eval(), NORMALIZATION, LabelSet(tuple("abcdefg")), {})
    highest = [float(many.heatmap(photo, name).max()) for name in "abcdefg"]
    drawn = draw_heatmap(many, photo, "c", out=tmp_path / "map.png")
    assert [probability for _, probability in drawn.top] == pytest.approx(sorted(highest)[:-6:-1], abs=1e-5)


def test_jpeg_and_the_name_of_the_file(segmenter, photo, tmp_path, monkeypatch):
    drawn = draw_heatmap(segmenter, photo, "leaf", out=tmp_path / "map.JPG")
    with Image.open(drawn.out) as picture:
        assert picture.format == "JPEG"
    monkeypatch.chdir(tmp_path)
    assert draw_heatmap(segmenter, photo, "früit / 葉").out.name == "photo-früit_葉.png"


def test_nothing_is_overwritten_unasked(segmenter, photo, tmp_path):
    out = tmp_path / "map.png"
    out.write_bytes(b"mine")
    with pytest.raises(DataError, match=r"map\.png exists already; choose another --out, or --overwrite"):
        draw_heatmap(segmenter, photo, "leaf", out=out)
    assert out.read_bytes() == b"mine"
    before = photo.read_bytes()
    with pytest.raises(BadOption, match=r"photo\.png is the picture itself; choose another --out"):
        draw_heatmap(segmenter, photo, "leaf", out=photo, overwrite=True)
    assert photo.read_bytes() == before
    draw_heatmap(segmenter, photo, "leaf", out=out, overwrite=True)
    assert out.read_bytes() != b"mine"


def test_what_is_refused(segmenter, photo, tmp_path):
    with pytest.raises(BadOption, match=r"a heat map is written as \.png, \.jpg, \.jpeg, got .*map\.tif"):
        draw_heatmap(segmenter, photo, "leaf", out=tmp_path / "map.tif")
    with pytest.raises(DataError, match=r"nowhere\.png"):
        draw_heatmap(segmenter, tmp_path / "nowhere.png", "leaf")
    with pytest.raises(DataError, match=f"{tmp_path} is a folder; heatmap takes one picture: name one in it"):
        draw_heatmap(segmenter, tmp_path, "leaf")
    with pytest.raises(UnknownName, match="no class is called 'sojl'; did you mean 'soil'"):
        draw_heatmap(segmenter, photo, "sojl")


def test_broken_weights_give_an_error_and_no_picture(segmenter, photo, tmp_path):
    with torch.no_grad():
        next(segmenter.network.parameters())[:] = float("nan")
    with pytest.raises(
        WeightsError, match=r"probabilities of .*photo\.png that are no numbers: its weights are broken"
    ):
        draw_heatmap(segmenter, photo, "leaf", out=tmp_path / "map.png")
    assert not (tmp_path / "map.png").exists()


def test_a_segmenter_gives_heat_maps_in_evaluation_and_in_its_precision(segmenter, monkeypatch):
    picture = noise(24, 31)
    with torch.no_grad():
        expected = segmenter.network(NORMALIZATION(picture[None])).softmax(1)[0, 1].numpy()
    segmenter.network.train()
    np.testing.assert_allclose(segmenter.heatmap(picture, "leaf"), expected, atol=1e-5)
    assert segmenter.heatmap(picture[..., 0], "leaf").shape == (24, 31)
    rough = segmenter.heatmap(picture, "leaf", precision="bf16")
    assert 1e-6 < abs(rough - expected).max() < 0.05
    monkeypatch.setattr("pixelwise.segmenter.fast_bfloat16", lambda device: True)
    segmenter.precision, segmenter.same_labels = "bf16", 1.0
    assert (segmenter.heatmap(picture, "leaf") == rough).all()


def test_names_of_classes(segmenter):
    assert [segmenter.class_index(name) for name in ("leaf", "Leaf", "SOIL", "FRÜIT / 葉")] == [1, 2, 0, 3]
    with pytest.raises(UnknownName, match="no class is called 'LEAF'; did you mean 'leaf'"):
        segmenter.class_index("LEAF")
    with pytest.raises(UnknownName, match=r"no class is called 'zzz'\. The model knows: soil, leaf, Leaf, früit"):
        segmenter.class_index("zzz")
    many = Segmenter(segmenter.network, segmenter.normalization, LabelSet(tuple(f"c{i}" for i in range(50))), {})
    with pytest.raises(UnknownName, match="c28, c29 and 20 more$"):
        many.class_index("zzz")


def test_probabilities_are_told_without_false_certainty():
    assert [told(p) for p in (0.0, 1e-9, 0.0015, 0.5, 0.998, 0.9994, 1.0)] == [
        *("0", "<0.001", "0.002", "0.500"),
        *("0.998", ">0.999", "1"),
    ]
