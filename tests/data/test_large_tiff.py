"""TIFFs read window by window are the whole picture's pixels; what is written has the place of what was read."""

import numpy as np
import pytest
import tifffile

from pixelwise.data import large_tiff
from pixelwise.data.decode import decode_image
from pixelwise.data.large_tiff import LargeTiff, writing
from pixelwise.data.levels import grid_of, statistics_of
from pixelwise.errors import DataError

RNG = np.random.default_rng(0)
GEO = [
    (33550, 12, 3, (0.5, 0.5, 0.0), True),
    (33922, 12, 6, (0.0, 0.0, 0.0, 440_000.0, 5_400_000.0, 0.0), True),
    (34735, 3, 16, (1, 1, 0, 3, 1024, 0, 1, 1, 1025, 0, 1, 1, 3072, 0, 1, 32633), True),
]
SIZE = 150, 211


def values(*shape, dtype=np.uint8):
    if np.dtype(dtype).kind == "f":
        return RNG.random(shape).astype(dtype)
    return RNG.integers(0, 200, shape).astype(dtype)


FILES = {
    "tiles": (values(*SIZE, 3), {"tile": (64, 48), "compression": "zlib"}),
    "tiles with a predictor": (values(*SIZE, 3), {"tile": (64, 48), "compression": "zlib", "predictor": 2}),
    "plain tiles": (values(*SIZE, 3), {"tile": (64, 64)}),
    "strips": (values(*SIZE, 3), {"rowsperstrip": 7, "compression": "zlib"}),
    "one strip": (values(*SIZE, 3), {}),
    "gray": (values(*SIZE), {"tile": (64, 64)}),
    "16 bit": (values(*SIZE, 3, dtype=np.uint16), {"tile": (32, 32), "compression": "zlib"}),
    "float": (
        values(*SIZE, 2, dtype=np.float32),
        {"tile": (32, 32), "photometric": "minisblack", "planarconfig": "contig"},
    ),
    "double": (values(*SIZE, dtype=np.float64), {"tile": (32, 32)}),
    "signed": (values(*SIZE, dtype=np.int16) - 20, {"tile": (32, 32)}),
    "long": (values(*SIZE, dtype=np.uint32), {"tile": (32, 32)}),
    "very long": (values(*SIZE, dtype=np.int32) - 20, {"tile": (32, 32)}),
    "planes": (values(5, *SIZE), {"tile": (32, 32), "planarconfig": "separate", "photometric": "minisblack"}),
    "alpha": (values(*SIZE, 4), {"tile": (32, 32), "photometric": "rgb", "extrasamples": ["unassalpha"]}),
    "palette": (
        values(*SIZE),
        {"tile": (32, 32), "photometric": "palette", "colormap": values(3, 256, dtype=np.uint16) * 257},
    ),
    "white is zero": (values(*SIZE), {"tile": (32, 32), "photometric": "miniswhite"}),
    "bits": (values(*SIZE) > 99, {"rowsperstrip": 16, "photometric": "minisblack"}),
    "big-endian": (values(*SIZE, 3, dtype=np.uint16), {"rowsperstrip": 40, "byteorder": ">"}),
    "BigTIFF": (values(*SIZE, 3), {"tile": (64, 64), "bigtiff": True}),
}  # fmt: skip


def written(path, array, **options):
    opening = {key: options.pop(key) for key in ("bigtiff", "byteorder") if key in options}
    with tifffile.TiffWriter(path, **opening) as tiff:
        tiff.write(array, **options)
    return path


@pytest.mark.parametrize("segment", [large_tiff.SEGMENT, 3000])
@pytest.mark.parametrize("kind", FILES)
def test_windows_are_the_pixels_that_decode_image_gives(tmp_path, monkeypatch, kind, segment):
    array, options = FILES[kind]
    path = written(tmp_path / "a.tif", array, **options)
    whole = decode_image(path)
    if segment == 3000:
        if kind not in ("one strip", "big-endian"):
            return
        monkeypatch.setattr(large_tiff, "SEGMENT", segment)  # a strip is then read without decoding all of it
    monkeypatch.setattr(large_tiff, "CACHE", 20_000)
    with LargeTiff(path) as tiff:
        assert (*tiff.size, tiff.channels) == whole.shape
        assert tiff.dtype == whole.dtype
        for rows, columns in (((0, 150), (0, 211)), ((0, 1), (0, 1)), ((63, 129), (40, 97)), ((149, 150), (210, 211))):
            part = tiff.read(slice(*rows), slice(*columns))
            assert part.dtype == whole.dtype
            np.testing.assert_array_equal(part, whole[slice(*rows), slice(*columns)])
        np.testing.assert_array_equal(statistics_of(tiff.grid()), statistics_of(grid_of(whole)))


@pytest.mark.parametrize("compression", ["lzw", "jpeg", "zstd"])
def test_rasterio_reads_what_tifffile_cannot(tmp_path, compression):
    rasterio = pytest.importorskip("rasterio")
    path = tmp_path / "a.tif"
    ramp = np.mgrid[0:150, 0:211].astype(np.uint8)
    array = np.stack([ramp[0], ramp[1], ramp.max(0)])
    profile = {"driver": "GTiff", "height": 150, "width": 211, "count": 3, "dtype": "uint8"}
    jpeg = {"photometric": "ycbcr"} if compression == "jpeg" else {}
    with rasterio.open(
        path, "w", **profile, compress=compression, tiled=True, blockxsize=64, blockysize=64,
        crs="EPSG:32633", transform=rasterio.Affine(0.5, 0, 440_000, 0, -0.5, 5_400_000), **jpeg,
    ) as file:  # fmt: skip
        file.write(array)
    with rasterio.open(path) as file:
        whole = np.moveaxis(file.read(), 0, 2)
    with LargeTiff(path) as tiff:
        np.testing.assert_array_equal(tiff.read(slice(30, 100), slice(0, 211)), whole[30:100])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16])
def test_what_is_written_is_read_again_and_lies_where_the_picture_does(tmp_path, dtype):
    rasterio = pytest.importorskip("rasterio")
    picture = written(
        tmp_path / "a.tif", values(700, 530, 3), tile=(64, 64), extratags=[*GEO, (42113, 2, 0, "0", True)],
        resolution=(300, 300), resolutionunit="INCH",
    )  # fmt: skip
    labels = values(700, 530, dtype=dtype)
    palette = RNG.integers(0, 255, (256, 3)).astype(np.uint8)
    with LargeTiff(picture) as like:
        assert like.nodata == 0
        with writing(tmp_path / "b.tif", (700, 530), dtype, rows=300, palette=palette, like=like, nodata=255) as writer:
            for top in range(0, 700, 100):  # blocks of rows, the right half first
                for columns in (slice(265, 530), slice(0, 265)):
                    writer[top : top + 100, columns] = labels[top : top + 100, columns]
                writer.done(top + 100)
    with rasterio.open(picture) as before, rasterio.open(tmp_path / "b.tif") as after:
        assert after.crs == before.crs
        assert after.crs.to_epsg() == 32633
        assert after.transform == before.transform
        assert after.nodata == 255
        assert after.block_shapes == [(256, 256)]
        assert after.profile["compress"] == "deflate"
        np.testing.assert_array_equal(after.read(1), labels)
        if dtype == np.uint8:
            assert [after.colormap(1)[i][:3] for i in range(256)] == [tuple(color) for color in palette.tolist()]


def test_no_data_is_the_declared_value_in_every_channel_or_no_number(tmp_path):
    array = values(40, 50, 2, dtype=np.float32)
    array[3:9, 4:8] = -9999
    array[20, 30, 1] = -9999
    array[30, 5, 0] = np.nan
    path = written(
        tmp_path / "a.tif", array, tile=(32, 32), photometric="minisblack", planarconfig="contig",
        extratags=[(42113, 2, 0, "-9999", True)],
    )  # fmt: skip
    with LargeTiff(path) as tiff:
        _, void = tiff.read_with_void(slice(0, 40), slice(0, 50))
        expected = (array == -9999).all(2) | np.isnan(array).any(2)
        np.testing.assert_array_equal(void, expected)
        assert tiff.read_with_void(slice(10, 20), slice(0, 50))[1] is None
        np.testing.assert_allclose(tiff.grid(), array[~expected] * 255)


def test_further_pages_are_said_and_overviews_are_not(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as tiff:
        for seed in range(3):
            tiff.write(values(64, 64, 3) + seed, tile=(32, 32), metadata=None)
        tiff.write(values(32, 32, 3), tile=(32, 32), subfiletype=1, metadata=None)
    with LargeTiff(tmp_path / "a.tif") as tiff:
        assert tiff.notes == (f"{tmp_path / 'a.tif'} has 3 pages; the first is read",)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda p: p.write_bytes(b"II*\0" + b"\x08" * 40), "truncated or damaged"),
        (lambda p: p.write_bytes(b"no picture"), "is no TIFF"),
        (lambda p: written(p, values(64, 64, 3), extratags=[(274, 3, 1, 6, True)]), r"stored turned \(orientation 6\)"),
        (lambda p: written(p, values(64, 64, 4), photometric="separated"), "holds SEPARATED"),
        (
            lambda p: written(p, values(300, 300, 3), compression="zlib", rowsperstrip=300),
            "pieces of 300 × 300 .* gdal_translate",
        ),
        (lambda p: None, "there is no file"),
    ],
)
def test_what_cannot_be_read_in_windows_is_named(tmp_path, monkeypatch, make, message):
    monkeypatch.setattr(large_tiff, "SEGMENT", 200_000)
    make(tmp_path / "a.tif")
    with pytest.raises(DataError, match=message) as error:
        LargeTiff(tmp_path / "a.tif")
    assert "a.tif" in str(error.value)


def test_a_truncated_file_is_named_where_it_ends(tmp_path):
    path = written(tmp_path / "a.tif", values(400, 400, 3), tile=(64, 64), compression="zlib", metadata=None)
    with tifffile.TiffFile(path) as tiff:
        last = max(tiff.pages[0].dataoffsets)
    data = bytearray(path.read_bytes())
    data[last + 50 : last + 90] = b"\0" * 40
    path.write_bytes(bytes(data))
    with LargeTiff(path) as tiff:
        tiff.read(slice(0, 64), slice(0, 64))
        with pytest.raises(DataError, match=r"a\.tif is truncated or damaged"):
            tiff.read(slice(0, 400), slice(0, 400))


def test_what_fails_leaves_no_file_and_a_full_disk_is_told(tmp_path, monkeypatch):
    with (
        pytest.raises(RuntimeError, match="stop"),
        writing(tmp_path / "b.tif", (2000, 3000), np.uint8, rows=1000) as writer,
    ):
        writer[0:900, 0:3000] = values(900, 3000)
        writer.done(900)
        raise RuntimeError("stop")
    assert list(tmp_path.iterdir()) == []

    def full(*args, **options):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(tifffile.TiffWriter, "write", full)
    with (
        pytest.raises(DataError, match=r"b\.tif cannot be written \(No space left on device\)"),
        writing(tmp_path / "b.tif", (2000, 3000), np.uint8, rows=1000) as writer,
    ):
        writer.done(2000)
    assert list(tmp_path.iterdir()) == []
