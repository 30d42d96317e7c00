"""The one table from file values to classes."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pixelwise.errors import LabelError
from pixelwise.labels import NEAR, LabelSet, pack_color, unpack_color, voc_color


def test_the_color_map_has_the_devkits_check_values():
    known = {1: (128, 0, 0), 2: (0, 128, 0), 3: (128, 128, 0), 4: (0, 0, 128), 8: (64, 0, 0), 20: (0, 64, 128)}
    assert {i: voc_color(i) for i in known} == known
    assert voc_color(255) == (224, 224, 192)
    assert len({voc_color(i) for i in range(256)}) == 256


@given(st.tuples(*[st.integers(0, 255)] * 3))
def test_packing_a_color_loses_nothing(color):
    assert unpack_color(pack_color(color)) == color


def test_without_a_table_files_hold_classes_and_void():
    labels = LabelSet(("a", "b"))
    assert labels.to_classes(np.array([[0, 1, 255]])).tolist() == [[0, 1, 255]]
    assert labels.void == 255
    assert labels.dtype is np.uint8


def test_a_table_maps_values_and_colors():
    binary = LabelSet(("background", "foreground"), table={0: 0, 255: 1})
    assert binary.to_classes(np.array([[0, 255]], np.uint8)).tolist() == [[0, 1]]
    red, blue = pack_color((255, 0, 0)), pack_color((0, 0, 255))
    colors = LabelSet(("a", "b"), table={red: 1, blue: 0, 0: 255}, colors=True)
    assert colors.to_classes(np.array([[red, blue, 0]], np.uint32)).tolist() == [[1, 0, 255]]
    negative = LabelSet(("a",), table={-1: 255, 0: 0})
    assert negative.to_classes(np.array([[-1, 0]], np.int32)).tolist() == [[255, 0]]
    signed = LabelSet(("a", "b"), table={-1: 255, 0: 0, 1: 1})
    assert signed.to_classes(np.array([[0, 1]], np.uint8)).tolist() == [[0, 1]]
    with pytest.raises(LabelError, match="holds the value 5"):
        signed.to_classes(np.array([[0, 5]], np.uint8))


def test_an_unknown_value_is_named_with_its_place():
    labels = LabelSet(tuple("abcdefghijk"))
    values = np.zeros((20, 100), np.uint8)
    values[12, 80] = 34
    with pytest.raises(LabelError, match=r"masks/0007.png holds the value 34 at row 12, column 80; known are 0, 1, 2"):
        labels.to_classes(values, name="masks/0007.png")
    colors = LabelSet(("a",), table={0: 0}, colors=True)
    with pytest.raises(LabelError, match=r"holds the color \(1, 2, 3\) at row 0, column 1; known are \(0, 0, 0\)"):
        colors.to_classes(np.array([[0, pack_color((1, 2, 3))]], np.uint32))


def test_more_than_255_classes_are_16_bit():
    labels = LabelSet(tuple(map(str, range(300))))
    assert labels.void == 65_535
    assert labels.to_classes(np.array([[299, 65_535]], np.uint16)).dtype == np.uint16


def test_a_record_gives_the_same_set_back():
    labels = LabelSet(("x", "y"), ((1, 2, 3), (4, 5, 6)), {7: 0, 9: 1, 3: 255}, True)
    assert LabelSet.from_record(labels.to_record()) == labels


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((),), "at least one class, got none"),
        ((("a", "b"), ((0, 0, 0),)), "2 classes need as many colors, got 1"),
        ((("a",), (), {5: 3}), "the table names class 3, but there are classes 0–0"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, message):
    with pytest.raises(LabelError, match=message):
        LabelSet(*arguments)


def test_void_is_colored_like_vocs():
    picture = LabelSet(("a", "b")).colored(np.array([[0, 1, 255]]))
    assert picture.tolist() == [[[0, 0, 0], [128, 0, 0], [224, 224, 192]]]


def point(labels, value):
    return unpack_color(value) if labels.colors else (value,)


def squared(labels, one, other):
    return sum((a - b) ** 2 for a, b in zip(point(labels, one), point(labels, other), strict=True))


def naively_snapped(labels, values):
    """The definition: the table's row; the one row within NEAR; the nearest within two pixels; the nearest of all."""
    height, width = values.shape
    rows = {}
    for y in range(height):
        for x in range(width):
            value = int(values[y, x])
            near = [
                row
                for row in labels.table
                if max(abs(a - b) for a, b in zip(point(labels, row), point(labels, value), strict=True)) <= NEAR
            ]
            if value in labels.table:
                rows[y, x] = value
            elif len(near) == 1:
                rows[y, x] = near[0]
    classes = np.zeros((height, width), int)
    for y in range(height):
        for x in range(width):
            value = int(values[y, x])
            around = [rows[i, j] for i, j in rows if abs(i - y) <= 2 and abs(j - x) <= 2]
            row = rows.get((y, x))
            if row is None:
                row = min(around or labels.table, key=lambda row: (squared(labels, row, value), row))
            classes[y, x] = labels.table[row]
    return classes


channel = st.sampled_from([0, 3, 20, 60, 64, 128, 200, 250, 255])


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans())
def test_snapping_is_that_of_the_naive_loop(data, colors):
    value = st.tuples(channel, channel, channel).map(pack_color) if colors else st.integers(-1, 255)
    rows = sorted(data.draw(st.sets(value, min_size=1, max_size=5)))
    labels = LabelSet(
        ("a", "b"), table={row: (0, 1, 255)[i % 3] for i, row in enumerate(rows)}, colors=colors, snap=True
    )
    shape = hnp.array_shapes(min_dims=2, max_dims=2, max_side=8)
    near = st.sampled_from(rows).map(lambda row: row ^ 3) if colors else st.sampled_from(rows)
    dtype = np.uint32 if colors else np.int32
    values = data.draw(
        hnp.arrays(
            dtype,
            shape,
            elements=st.one_of(value, st.sampled_from([max(r, 0) for r in rows]), near.map(lambda v: max(v, 0))),
        )
    )
    found = labels.to_classes(values)
    assert found.dtype == np.uint8
    np.testing.assert_array_equal(found, naively_snapped(labels, values))
    for row in {*values.ravel().tolist()}:
        nearest = min(labels.table, key=lambda known: (squared(labels, known, row), known))
        assert labels.nearest(np.array([row])).tolist() == [labels.table[nearest]]


def test_a_blend_does_not_become_a_third_class_that_is_not_there():
    labels = LabelSet(("a", "b", "c"), table={0: 0, 100: 1, 200: 2}, snap=True)
    assert labels.to_classes(np.array([[0, 0, 120, 200, 200]], np.uint8)).tolist() == [[0, 0, 2, 2, 2]]
    assert labels.to_classes(np.array([[120]], np.uint8)).tolist() == [[1]]


def test_without_snap_nothing_is_snapped():
    with pytest.raises(LabelError, match="holds the value 1"):
        LabelSet(("a", "b"), table={0: 0, 255: 1}).to_classes(np.array([[0, 1]]))


def test_snap_is_kept_in_the_record():
    labels = LabelSet(("a", "b"), table={0: 0, 255: 1}, snap=True)
    assert LabelSet.from_record(labels.to_record()) == labels
    record = labels.to_record()
    del record["snap"]  # models from before
    assert not LabelSet.from_record(record).snap
