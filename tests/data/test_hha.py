"""HHA: the reference's files, a plane fitted point by point, and rooms whose heights and angles are known."""

import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pixelwise.data import hha as module
from pixelwise.data.hha import Camera, encode_folder, gravity, hha, normals
from pixelwise.data.sets.nyud_pictures import COLOR_CAMERA
from pixelwise.errors import DataError, ShapeError

CAMERA = Camera(60.0, 55.0, 41.0, 31.5)
SIZE = (70, 80)


def rays(size=SIZE, camera=CAMERA):
    """(H, W, 3) the point at depth 1 that each pixel sees."""
    v, u = np.mgrid[1 : size[0] + 1, 1 : size[1] + 1]
    return np.stack([(u - camera.center_x) / camera.focal_x, (v - camera.center_y) / camera.focal_y, np.ones(size)], 2)


def room(down=(0.0, 1.0, 0.0), *, above_floor=1.3, wall=4.0):
    """(depth in meters, where the floor is seen) of a floor under the camera and a wall that stands on it, ahead."""
    down = np.asarray(down) / np.linalg.norm(down)
    ahead = np.array([0.0, 0.0, 1.0]) - down[2] * down
    ahead /= np.linalg.norm(ahead)
    seen = rays()
    with np.errstate(divide="ignore"):
        floor, front = above_floor / (seen @ down), wall / (seen @ ahead)
    floor[floor < 0] = np.inf
    return np.minimum(floor, front), floor < front


def inner(where, radius):
    """Where all of the window of this radius is so, and within the picture."""
    padded = np.pad(where, radius)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * radius + 1,) * 2)
    return windows.all((2, 3))


def corner(floor, radius=10):
    """Where floor and wall are both in the window."""
    windows = np.lib.stride_tricks.sliding_window_view(np.pad(floor, radius, mode="edge"), (2 * radius + 1,) * 2)
    return windows.any((2, 3)) & ~windows.all((2, 3))


class TestHHA:
    @pytest.mark.parametrize(("meters", "disparity"), [(0.5, 255), (1, 255), (2, 155), (4, 78), (4.96, 63)])
    def test_disparity_is_31000_over_centimeters_halves_up(self, meters, disparity):
        assert (hha(np.full((4, 5), float(meters)), CAMERA)[..., 0] == disparity).all()

    def test_a_level_camera_over_a_floor_before_a_wall(self):
        depth, floor = room()
        missing = corner(floor)
        encoded = hha(depth, CAMERA, missing=missing)
        assert encoded.dtype == np.uint8 and encoded.shape == (*SIZE, 3)
        assert (encoded[floor][:, 1] == 0).all()
        assert (encoded[floor & ~missing][:, 2] == 38).all() and (encoded[~floor & ~missing][:, 2] == 128).all()
        horizon = encoded[31, :, 1]  # row 32, counted from 1: half a pixel under the principal point, 4 m away
        assert (horizon == round(130 - 400 * 0.5 / 55)).all()

    @pytest.mark.parametrize("down", [(0.2, 1, 0.1), (-0.15, 1, 0.2), (0, 1, 0.001)])
    def test_a_tilted_camera_finds_down_and_says_the_same(self, down):
        depth, floor = room(down)
        missing = corner(floor)
        found = gravity(np.where(missing, np.nan, normals(depth * 100, CAMERA, missing, 10)))
        assert found == pytest.approx(np.asarray(down) / np.linalg.norm(down), abs=1e-6)
        encoded = hha(depth, CAMERA, missing=missing).astype(int)
        # along the corner single rows of points are left, whose normals are noise
        assert encoded[floor][:, 1].max() <= 2
        assert np.abs(encoded[floor & ~missing][:, 2] - 38).max() <= 1
        assert np.abs(encoded[~floor & ~missing][:, 2] - 128).max() <= 1

    def test_a_ceiling_alone_is_218_and_hangs_130_above_nothing(self):
        seen = rays()
        depth = np.where(seen[..., 1] < -0.1, 1.0 / np.minimum(seen[..., 1], -0.1) * -1, 10.0)
        encoded = hha(depth, CAMERA, missing=seen[..., 1] >= -0.1)
        ceiling = inner(seen[..., 1] < -0.1, 3)
        assert (encoded[ceiling][:, 2] == 218).all()

    def test_without_depth_nothing_is_estimated(self):
        encoded = hha(np.zeros((6, 7)), CAMERA)
        assert (encoded == [255, 130, 218]).all()
        depth = np.full((30, 30), 2.0)
        depth[10:25, 10:25] = [[np.nan, np.inf, 0] * 5] * 15
        assert (hha(depth, CAMERA)[15:20, 15:20, 2] == 218).all()  # no point within three pixels

    def test_refused(self):
        with pytest.raises(ShapeError, match=r"depth is \(H, W\) in meters, and missing as large, got \(2, 3, 1\)"):
            hha(np.zeros((2, 3, 1)), CAMERA)
        with pytest.raises(ShapeError, match=r"got \(2, 3\) and missing \(3, 2\); pass one picture's"):
            hha(np.zeros((2, 3)), CAMERA, missing=np.zeros((3, 2), bool))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 10_000), radius=st.sampled_from([1, 3]), share=st.sampled_from([0.0, 0.3, 0.9]))
def test_normals_are_the_least_squares_planes_of_their_windows(seed, radius, share):
    random = np.random.default_rng(seed)
    size = (9, 11)
    z = random.uniform(100, 400, size)
    missing = random.random(size) < share
    found = normals(z, CAMERA, missing, radius)
    seen = rays(size)
    for row, column in np.ndindex(*size):
        window = np.s_[max(row - radius, 0) : row + radius + 1, max(column - radius, 0) : column + radius + 1]
        known = ~missing[window]
        a, b = seen[window][known], 1 / z[window][known]
        if len(a) == 0:
            assert np.isnan(found[:, row, column]).all()
        elif len(a) >= 3 and np.linalg.svd(a - a.mean(0))[1][1] > 1e-3:
            n = np.linalg.lstsq(a, b, rcond=None)[0]
            n /= np.linalg.norm(n)
            n *= 1 if n @ seen[row, column] > 0 else -1
            assert found[:, row, column] == pytest.approx(n, abs=1e-6)


def test_a_cropped_camera_sees_what_the_whole_one_saw():
    depth, _ = room()
    whole = normals(depth * 100, CAMERA, np.zeros(SIZE, bool), 3)
    part = normals(depth[5:, 9:] * 100, CAMERA.cropped(5, 9), np.zeros((65, 71), bool), 3)
    assert part[:, 3:, 3:] == pytest.approx(whole[:, 8:, 12:], abs=1e-9)


class TestAFolder:
    @pytest.fixture
    def folders(self, tmp_path):
        depth, _ = room()
        for folder in ("depth", "raw"):
            (tmp_path / folder).mkdir()
        for i in range(3):
            values = np.rint(depth * (1000 + 100 * i)).astype(np.uint16)
            Image.fromarray(values).save(tmp_path / "depth" / f"p{i}.png")
            values[: 20 * i] = 0
            Image.fromarray(values).save(tmp_path / "raw" / f"p{i}.png")
        return tmp_path

    def test_each_file_is_the_hha_of_its_depth(self, folders):
        seen = []
        options = {"raw": folders / "raw", "progress": lambda done, total: seen.append((done, total))}
        assert encode_folder(folders / "depth", folders / "hha", CAMERA, **options) == 3
        assert seen == [(1, 3), (2, 3), (3, 3)]
        for i in range(3):
            values = np.array(Image.open(folders / "depth" / f"p{i}.png"))
            raw = np.array(Image.open(folders / "raw" / f"p{i}.png"))
            written = np.array(Image.open(folders / "hha" / f"p{i}.png"))
            assert (written == hha(values / 1000, CAMERA, missing=raw == 0)).all()

    def test_it_goes_on_where_it_was_ended_and_leaves_no_half_file(self, folders, monkeypatch):
        calls = []

        def end(meters, camera, **options):
            calls.append(meters.shape)
            if len(calls) == 2:
                raise KeyboardInterrupt
            return hha(meters, camera, **options)

        monkeypatch.setattr(module, "hha", end)
        with pytest.raises(KeyboardInterrupt):
            encode_folder(folders / "depth", folders / "hha", CAMERA)
        assert [p.name for p in (folders / "hha").iterdir()] == ["p0.png"]
        monkeypatch.setattr(module, "hha", hha)
        before = (folders / "hha/p0.png").stat().st_mtime_ns
        assert encode_folder(folders / "depth", folders / "hha", CAMERA) == 2
        assert (folders / "hha/p0.png").stat().st_mtime_ns == before

    def test_refused(self, folders):
        (folders / "empty").mkdir()
        with pytest.raises(DataError, match=r"there is no folder .*nowhere; expected depth pictures there"):
            encode_folder(folders / "nowhere", folders / "hha", CAMERA)
        with pytest.raises(DataError, match=r"empty holds no depth pictures; expected PNG or TIFF of one channel"):
            encode_folder(folders / "empty", folders / "hha", CAMERA)
        with pytest.raises(DataError, match=re.escape(str(folders / "empty/p0.png"))):
            encode_folder(folders / "depth", folders / "hha", CAMERA, raw=folders / "empty")
        Image.new("RGB", (80, 70)).save(folders / "empty/p0.png")
        with pytest.raises(DataError, match=r"p0\.png has 3 channels; expected depth in one: export it so"):
            encode_folder(folders / "depth", folders / "hha", CAMERA, raw=folders / "empty")
        Image.fromarray(np.ones((3, 2), np.uint16)).save(folders / "empty/p0.png")
        with pytest.raises(
            DataError, match=r"empty/p0\.png is 3 × 2 but .*depth/p0\.png is 70 × 80.*export both again"
        ):
            encode_folder(folders / "depth", folders / "hha", CAMERA, raw=folders / "empty")


@pytest.mark.real
class TestTheReference:
    """Written by charlesCXK/Depth2HHA-python, whose own check is MATLAB's file."""

    @pytest.fixture
    def depths(self, real_data):
        def read(name):
            return np.array(Image.open(real_data / "hha/charlesCXK" / name))

        return read

    def test_a_complete_picture_is_equal_in_every_pixel(self, depths):
        encoded = hha(depths("0.png") / 10_000, COLOR_CAMERA)
        assert (encoded == depths("hha_complete.png")).all()
        assert (encoded == depths("matlab_hha.png")).all()

    def test_with_holes_it_is_within_one(self, depths):
        encoded = hha(depths("0.png") / 10_000, COLOR_CAMERA, missing=depths("0_raw.png") == 0)
        assert np.abs(encoded.astype(int) - depths("hha.png")).max() <= 1

    def test_a_cropped_picture(self, real_data):
        folder = real_data / "nyud-mini/nyud/data"
        depth = np.array(Image.open(folder / "depth/img_5034.png")) / 1000
        encoded = hha(depth, COLOR_CAMERA.cropped(45, 40))
        assert (encoded == np.array(Image.open(folder / "hha/img_5034.png"))).all()
