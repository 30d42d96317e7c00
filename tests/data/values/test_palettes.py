"""Masks in the colors of known data sets."""

import pytest

from pixelwise.data.answers import PALETTES as WORDS_OF_ANSWERS
from pixelwise.data.values.palettes import PALETTES, WORDS, fitting_palettes, nearly
from pixelwise.labels import VOID, pack_color


@pytest.mark.parametrize("name, classes", [("PASCAL VOC", 21), ("Cityscapes", 19), ("CamVid", 11), ("ADE20K", 150)])
def test_a_palette_is_recognized_by_its_colors(name, classes):
    labels = PALETTES[name]
    assert labels.num_classes == classes and labels.colors
    assert fitting_palettes(labels.table) == [name]
    for color, cls in labels.table.items():
        assert cls == VOID or pack_color(labels.palette[cls]) == color


def test_ade20ks_check_values():
    labels = PALETTES["ADE20K"]
    assert len(set(labels.names)) == 150 and len(labels.table) == 150  # 149 colors and black
    assert labels.names[:3] == ("wall", "building", "sky") and labels.names[149] == "flag"
    assert labels.palette[0] == (0x78, 0x78, 0x78) and labels.palette[149] == (0x5C, 0x00, 0xFF)
    shared = [i for i, color in enumerate(labels.palette) if color == (0x8C, 0x8C, 0x8C)]
    assert [labels.names[i] for i in shared] == ["road", "skyscraper"]
    assert labels.names[labels.table[pack_color((0x8C, 0x8C, 0x8C))]] == "road"


def test_cityscapes_shared_colors_are_classes():
    labels = PALETTES["Cityscapes"]
    assert labels.names[labels.table[pack_color((153, 153, 153))]] == "pole"
    assert labels.names[labels.table[pack_color((0, 0, 142))]] == "car"
    assert labels.table[0] == VOID


def test_black_and_two_classes_are_too_few_and_a_strange_color_too_many():
    road, sky, car = (pack_color(c) for c in ((128, 64, 128), (70, 130, 180), (0, 0, 142)))
    assert fitting_palettes([0, road, sky]) == []
    assert fitting_palettes([0, road, sky, car]) == ["Cityscapes"]
    assert fitting_palettes([road, sky, car, pack_color((1, 2, 3))]) == []
    assert fitting_palettes([]) == []


def test_the_answers_words_name_all_palettes():
    assert {*WORDS_OF_ANSWERS} == {*WORDS, "none"} and {*WORDS.values()} == {*PALETTES}


def test_near_colors_are_told_where_only_one_is_near():
    labels = PALETTES["PASCAL VOC"]
    red, near = pack_color((128, 0, 0)), pack_color((121, 8, 3))
    assert nearly([near, pack_color((100, 0, 0))], labels, 8) == {near: red}
    assert nearly([pack_color((96, 0, 0))], labels, 40) == {}
