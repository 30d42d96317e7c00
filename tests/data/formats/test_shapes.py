"""Shapes are drawn by their definition: a pixel belongs where its center does."""

import base64
import io
import pickle

import numpy as np
import pytest
import skimage.draw
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data.formats.shapes import (
    Drawing,
    area,
    bitmap,
    circle,
    decompressed,
    discs,
    flaw,
    line,
    pixels,
    polygon,
    rectangle,
    runs,
)
from pixelwise.errors import DataError
from pixelwise.inference.pictures import polygons
from pixelwise.labels import LabelSet


def drawn(tmp_path, size, *shapes, **options):
    return Drawing(tmp_path / "a.json", (tmp_path / "a.json",), "a", size, shapes, **options).draw()


def whole(shape, size):
    """The pixels of a shape on the whole picture."""
    row, column, inside = pixels(shape, size)
    out = np.zeros(size, bool)
    out[row : row + inside.shape[0], column : column + inside.shape[1]] = inside
    return out


def naive(rings, size):
    """The even-odd rule, pixel by pixel: crossings to the left of the center, or on it."""
    out = np.zeros(size, bool)
    for row in range(size[0]):
        for column in range(size[1]):
            crossings = 0
            for ring in rings:
                for (x0, y0), (x1, y1) in zip(ring, [*ring[1:], ring[0]], strict=True):
                    if y0 > y1:
                        x0, y0, x1, y1 = x1, y1, x0, y0
                    if y0 <= row + 0.5 < y1:
                        crossings += x0 + (row + 0.5 - y0) * (x1 - x0) / (y1 - y0) <= column + 0.5
            out[row, column] = crossings % 2
    return out


def encoded(mask):
    """COCO's string of a mask, written anew from its description."""
    flat = mask.T.ravel().astype(int)
    counts, value, length = [], 0, 0
    for bit in flat:
        if bit != value:
            counts.append(length)
            value, length = bit, 0
        length += 1
    counts.append(length)
    text = ""
    for i, count in enumerate(counts):
        number = count - counts[i - 2] if i > 2 else count
        while True:
            low, number = number & 31, number >> 5
            more = number != (-1 if low & 16 else 0)
            text += chr(48 + (low | 32 * more))
            if not more:
                break
    return counts, text


halves = st.integers(-8, 40).map(lambda n: n / 2)  # so that many corners lie on pixels' centers
points = st.tuples(halves, halves) | st.tuples(st.floats(-9, 25, width=32), st.floats(-9, 25, width=32))


class TestPolygons:
    @settings(max_examples=60, deadline=None)
    @given(st.lists(st.lists(points, min_size=3, max_size=9), min_size=1, max_size=3), st.integers(1, 17))
    def test_the_even_odd_rule_of_pixel_centers(self, rings, width):
        rings = [[*map(tuple, ring)] for ring in rings]
        if any(ring[0] == ring[-1] for ring in rings):
            return  # a closing point is taken away
        size = (15, width)
        np.testing.assert_array_equal(whole(polygon(1, rings), size), naive(rings, size))

    @settings(max_examples=40, deadline=None)
    @given(st.lists(st.tuples(halves, halves), min_size=3, max_size=8), points)
    def test_parts_of_a_polygon_neither_overlap_nor_leave_a_gap(self, ring, middle):
        """The triangles from one point to all edges, by the even-odd rule, are the polygon."""
        size = (18, 18)
        if ring[0] == ring[-1]:
            return
        parts = np.zeros(size, bool)
        for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
            if len({one, other, middle}) == 3:
                parts ^= whole(polygon(1, [[one, other, middle]]), size)
        np.testing.assert_array_equal(parts, whole(polygon(1, [ring]), size))

    def test_our_own_polygons_give_the_mask_back(self, tmp_path):
        generator = np.random.default_rng(0)
        mask = generator.integers(0, 3, (40, 30)).repeat(2, 0).repeat(3, 1).astype(np.uint8)
        mask[10:30, 10:50] = 2
        mask[15:20, 20:30] = 1  # a hole
        found = polygons(mask, LabelSet(("background", "cat", "dog")))
        shapes = [
            polygon(feature["properties"]["class_index"], feature["geometry"]["coordinates"])
            for feature in found["features"]
        ]
        values, shared = drawn(tmp_path, mask.shape, *shapes)
        np.testing.assert_array_equal(values, mask)
        assert values.dtype == np.uint8 and shared == 0

    def test_as_scikit_image_draws(self):
        """It asks whether a pixel's corner is inside; half a pixel further, that is its center."""
        generator = np.random.default_rng(1)
        for _ in range(20):
            ring = generator.uniform(-5, 40, (7, 2))
            theirs = np.zeros((36, 30), bool)
            theirs[skimage.draw.polygon(ring[:, 1] - 0.5, ring[:, 0] - 0.5, (36, 30))] = True
            ours = whole(polygon(1, [ring]), (36, 30))
            assert (ours != theirs).mean() < 0.002  # points on borders apart

    def test_many_large_ones(self, tmp_path):
        angle = np.linspace(0, 2 * np.pi, 400, endpoint=False)
        generator = np.random.default_rng(2)
        shapes = [
            polygon(i % 20 + 1, [np.column_stack([x + 120 * np.cos(angle), y + 90 * np.sin(angle)])])
            for i, (x, y) in enumerate(generator.uniform(0, 1500, (300, 2)))
        ]
        values, shared = drawn(tmp_path, (1500, 2000), *shapes)
        assert 0 < shared < values.size and values.max() == 20

    def test_a_closing_point_does_not_matter(self):
        open_ring = [(1, 1), (5, 1), (5, 4)]
        assert (whole(polygon(1, [open_ring]), (6, 6)) == whole(polygon(1, [[*open_ring, (1, 1)]]), (6, 6))).all()

    def test_far_away_corners_cost_nothing(self):
        assert whole(polygon(1, [[(-9e6, -9e6), (9e6, -9e6), (9e6, 9e6), (-9e6, 9e6)]]), (4, 5)).all()


class TestOtherShapes:
    def test_rectangle_in_any_order(self):
        expected = np.zeros((8, 9), bool)
        expected[2:6, 1:4] = True
        for ends in ([(1, 2), (4, 6)], [(4, 6), (1, 2)], [(1, 6), (4, 2)]):
            np.testing.assert_array_equal(whole(rectangle(1, ends), (8, 9)), expected)

    def test_circle_discs_and_lines_by_distance(self):
        size = (40, 50)
        y, x = np.mgrid[:40, :50] + 0.5
        expected = (x - 20.3) ** 2 + (y - 11) ** 2 <= 7.5**2
        np.testing.assert_array_equal(whole(circle(1, [(20.3, 11), (20.3, 18.5)]), size), expected)
        expected = ((x - 3) ** 2 + (y - 4) ** 2 <= 25) | ((x - 48) ** 2 + (y - 38) ** 2 <= 25)
        np.testing.assert_array_equal(whole(discs(1, [(3, 4), (48, 38)]), size), expected)
        expected = (np.abs(y - 20) <= 5) & (x >= 10) & (x <= 30)
        expected |= (np.hypot(x - 10, y - 20) <= 5) | (np.hypot(x - 30, y - 20) <= 5)
        expected |= (np.abs(x - 30) <= 5) & (y >= 20)
        np.testing.assert_array_equal(whole(line(1, [(10, 20), (30, 20), (30, 60)]), size), expected)

    def test_a_patch_lies_between_its_corners(self):
        patch = np.array([[1, 0, 1], [0, 1, 1]], np.uint8)
        expected = np.zeros((4, 5), bool)
        expected[1:3, 2:5] = patch
        np.testing.assert_array_equal(whole(bitmap(1, [(2, 1), (4, 2)], png(patch)), (4, 5)), expected)
        cut = whole(bitmap(1, [(-1, -1), (1, 0)], png(patch)), (4, 5))
        np.testing.assert_array_equal(np.argwhere(cut), [[0, 0], [0, 1]])
        assert not whole(bitmap(1, [(20, 1), (22, 2)], png(patch)), (4, 5)).any()


def png(patch):
    file = io.BytesIO()
    Image.fromarray(patch * 255).save(file, "PNG")
    return base64.b64encode(file.getvalue()).decode()


class TestRuns:
    @settings(max_examples=40, deadline=None)
    @given(st.integers(0, 2**32 - 1), st.integers(1, 40), st.integers(1, 40), st.sampled_from([0, 0.02, 0.5, 1]))
    def test_list_and_string_give_the_mask_back(self, seed, height, width, share):
        mask = np.random.default_rng(seed).random((height, width)) < share
        counts, text = encoded(mask)
        assert decompressed(text).tolist() == counts
        for written in (counts, text, text.encode()):
            np.testing.assert_array_equal(whole(runs(1, written, mask.shape), mask.shape), mask)

    def test_long_runs(self):
        mask = np.zeros((700, 900), bool)
        mask[100:600, 100:800] = True
        counts, text = encoded(mask)
        assert decompressed(text).tolist() == counts and max(counts) > 60_000

    def test_refused(self):
        with pytest.raises(DataError, match=r"has runs of 5 pixels; expected 2 × 3 = 6"):
            runs(1, [2, 3], (2, 3))
        with pytest.raises(DataError, match=r"has runs of 6 pixels"):
            runs(1, [8, -2], (2, 3))
        with pytest.raises(DataError, match="not in COCO's code"):
            runs(1, "ab~", (2, 3))
        with pytest.raises(DataError, match="not in COCO's code"):
            runs(1, "o", (2, 3))  # ends within a number
        with pytest.raises(DataError, match="has run lengths that are no numbers"):
            runs(1, {"a": 1}, (2, 3))


class TestDrawing:
    def test_later_shapes_lie_on_top_and_shared_pixels_are_counted(self, tmp_path):
        shapes = [rectangle(1, [(0, 0), (4, 4)]), rectangle(1, [(2, 2), (6, 6)]), rectangle(2, [(3, 0), (5, 4)])]
        values, shared = drawn(tmp_path, (6, 6), *shapes)
        expected = np.zeros((6, 6), int)
        expected[:4, :4] = expected[2:, 2:] = 1
        covered = expected.copy()
        expected[:4, 3:5] = 2
        np.testing.assert_array_equal(values, expected)
        assert shared == (covered[:4, 3:5] == 1).sum()

    def test_background_and_void_are_no_objects(self, tmp_path):
        shapes = [rectangle(v, [(0, 0), (2, 2)]) for v in (1, 255, 1, 0, 2)]
        values, shared = drawn(tmp_path, (3, 3), *shapes, void=255)
        assert shared == 0 and values[0, 0] == 2 and values.dtype == np.uint8

    def test_many_classes_are_16_bit(self, tmp_path):
        values, _ = drawn(tmp_path, (3, 3), rectangle(300, [(0, 0), (2, 2)]), background=7)
        assert values.dtype == np.uint16 and values.tolist() == [[300, 300, 7], [300, 300, 7], [7, 7, 7]]

    def test_too_large(self, tmp_path):
        with pytest.raises(DataError, match=r"a\.json says of a that it has 10,000,000,000 pixels; at most"):
            drawn(tmp_path, (100_000, 100_000))

    def test_pickled_and_told_apart(self, tmp_path):
        def drawing(value):
            return Drawing(tmp_path / "a", (), "a", (3, 3), (rectangle(value, [(0, 0), (2, 2)]),))

        one = drawing(1)
        assert one.key == drawing(1).key != drawing(2).key
        again = pickle.loads(pickle.dumps(one))
        assert again.key == one.key and (again.draw()[0] == one.draw()[0]).all()
        assert hash(one) is not None and str(one) == str(tmp_path / "a")


class TestFlaws:
    @pytest.mark.parametrize(
        "make, message",
        [
            (lambda: polygon(1, [[(0, 0), (1, 1)]]), r"has 2 points; expected at least 3"),
            (lambda: polygon(1, [[(0, 0), (1, 1), (0, 0)]]), r"has 2 points; expected at least 3"),
            (lambda: polygon(1, [[(0, 0), (1, float("nan")), (2, 2)]]), r"has the coordinate nan; expected pixels"),
            (lambda: polygon(1, [[(0, 0), (1, 1e300), (2, 2)]]), r"has the coordinate inf; expected pixels"),
            (lambda: polygon(1, [["ab", "cd", "ef"]]), r"has points that are no numbers"),
            (lambda: polygon(1, [[1, 2, 3, 4, 5, 6]]), r"has points that are no pairs"),
            (lambda: rectangle(1, [(0, 0)]), r"has 1 points; expected 2 corners"),
            (lambda: circle(1, [(0, 0)]), r"has 1 points; expected a circle's center"),
            (lambda: line(1, [(0, 0)]), r"has 1 points; expected at least 2"),
            (lambda: discs(1, []), r"has no points"),
            (lambda: bitmap(1, [(0, 0), (1, 1)], "!!"), r"has a patch that cannot be read"),
            (lambda: bitmap(1, [(0, 0), (1, 1)], None), r"has a patch that cannot be read"),
            (lambda: bitmap(1, [(0, 0), (1, 1)], png(np.ones((3, 2), np.uint8))), r"3 × 2 pixels; expected 2 × 2"),
        ],
    )
    def test_cannot_be_made(self, make, message):
        with pytest.raises(DataError, match=message):
            make()

    @pytest.mark.parametrize(
        "shape, reason",
        [
            (polygon(1, [[(0, 0), (4, 0), (4, 4)]]), None),
            (polygon(1, [[(-9, -9), (4, 0), (4, 4)]]), None),
            (polygon(1, [[(0, 0), (2, 2), (4, 4)]]), "has no area"),
            (polygon(1, [[(2, 2), (3, 3), (2, 2), (3, 3)]]), "has no area"),
            (polygon(1, [[(0.1, 0.2), (3.3, 6.6), (2.1, 4.2)]]), "has no area"),
            (polygon(1, [[(0, 0), (4, 4), (4, 0), (0, 4)]]), None),  # a bow tie has no signed area
            (polygon(1, [[(20, 0), (24, 0), (24, 4)]]), "lies outside the picture"),
            (polygon(1, [[(0, -4), (4, -4), (4, 0)]]), "lies outside the picture"),
            (polygon(1, [[(1.6, 1.6), (2.4, 1.6), (2.4, 2.4)]]), "is too small to hold a pixel's center"),
            (circle(1, [(3, 3), (3, 3)]), "has no area"),
            (discs(1, [(-4, 3)]), None),
            (discs(1, [(-5, 3)]), "lies outside the picture"),
            (line(1, [(3, 3), (3, 3)]), None),
            (bitmap(1, [(0, 0), (1, 0)], png(np.zeros((1, 2), np.uint8))), "is empty"),
            (runs(1, [100], (10, 10)), "is empty"),
            (runs(1, [99, 1], (10, 10)), None),
        ],
    )
    def test_would_not_be_seen(self, shape, reason):
        assert flaw(shape, (10, 10)) == reason
        assert reason is not None or whole(shape, (10, 10)).any()

    def test_areas(self):
        size = (20, 20)
        assert area(rectangle(1, [(0, 0), (4, 5)]), size) == 20
        assert area(runs(1, [10, 30, 360], size), size) == 30
        assert abs(area(circle(1, [(10, 10), (10, 15)]), size) - 25 * np.pi) < 8
