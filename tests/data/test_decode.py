"""Every kind of file gives the array that its rule says, and a bad one an error that names it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelwise.data.decode import (
    IMAGE_EXTENSIONS,
    decode_image,
    decode_mask,
    image_info,
    is_lossy,
    mask_palette,
    read_image,
    read_info,
)
from pixelwise.data.sample import Channels
from pixelwise.errors import DataError
from pixelwise.labels import pack_color, voc_color

RNG = np.random.default_rng(0)
GRAY = RNG.integers(0, 256, (5, 7), np.uint8)
COLOR = RNG.integers(0, 256, (5, 7, 3), np.uint8)
IDS = RNG.integers(0, 4, (5, 7), np.uint8)
PACKED = (COLOR.astype(np.uint32) * [1 << 16, 1 << 8, 1]).sum(2)


def smooth(height=32, width=48):
    """A color picture that JPEG hardly changes."""
    y, x = np.mgrid[:height, :width]
    return np.stack([y * 5, x * 4, np.full_like(x, 200)], axis=2).astype(np.uint8)


def png(path, depth, kind, rows):
    """A PNG of any depth, row by row in bytes, without Pillow."""

    def chunk(name, data):
        return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))

    height, width = len(rows), len(rows[0]) * 8 // (depth * {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[kind])
    header = struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0)
    data = zlib.compress(b"".join(b"\0" + bytes(row) for row in rows))
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", data) + chunk(b"IEND", b""))
    return path


def palette_image(values, colors=None):
    image = Image.fromarray(values).convert("P") if values.dtype != np.uint8 else Image.fromarray(values)
    image = Image.frombytes("P", image.size, np.ascontiguousarray(values).tobytes())
    image.putpalette([c for i in range(256) for c in (colors or voc_color)(i)])
    return image


class TestImages:
    @pytest.mark.parametrize("extension", ["png", "bmp", "tif", "webp"])
    def test_color_is_rgb(self, tmp_path, extension):
        path = tmp_path / f"a.{extension}"
        Image.fromarray(COLOR).save(path, **({"lossless": True} if extension == "webp" else {}))
        np.testing.assert_array_equal(decode_image(path), COLOR)
        assert image_info(path).size == (5, 7)

    def test_jpeg_is_rgb(self, tmp_path):
        Image.fromarray(smooth()).save(tmp_path / "a.jpg", quality=95)
        assert np.abs(decode_image(tmp_path / "a.jpg").astype(int) - smooth()).mean() < 3

    def test_gray_has_one_channel(self, tmp_path):
        Image.fromarray(GRAY).save(tmp_path / "a.png")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), GRAY[:, :, None])
        assert image_info(tmp_path / "a.png").channels == 1

    @pytest.mark.parametrize("mode", ["RGBA", "LA"])
    def test_alpha_is_dropped_not_blended(self, tmp_path, mode):
        values = COLOR if mode == "RGBA" else GRAY[:, :, None]
        alpha = RNG.integers(0, 256, (5, 7, 1), np.uint8)
        Image.fromarray(np.concatenate([values, alpha], axis=2)).save(tmp_path / "a.png")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), values)
        info = image_info(tmp_path / "a.png")
        assert info.alpha and info.channels == values.shape[2]

    @pytest.mark.parametrize("transparency", [None, 2, b"\0\1\2"])
    def test_palette_photos_become_rgb(self, tmp_path, transparency):
        options = {} if transparency is None else {"transparency": transparency}
        palette_image(IDS).save(tmp_path / "a.png", **options)
        expected = np.array([voc_color(i) for i in range(256)], np.uint8)[IDS]
        np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), expected)
        assert image_info(tmp_path / "a.png").channels == 3

    def test_gif_becomes_rgb(self, tmp_path):
        palette_image(IDS).save(tmp_path / "a.gif")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.gif"), np.array([voc_color(i) for i in range(4)])[IDS])

    def test_cmyk_becomes_rgb(self, tmp_path):
        Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
        assert np.abs(decode_image(tmp_path / "a.jpg").astype(int) - smooth()).mean() < 5
        assert image_info(tmp_path / "a.jpg").channels == 3

    def test_one_bit_is_black_and_white(self, tmp_path):
        Image.fromarray(GRAY > 100).save(tmp_path / "a.png")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.png")[:, :, 0], (GRAY > 100) * 255)

    @pytest.mark.parametrize("extension", ["png", "tif"])
    def test_sixteen_bit_gray_stays(self, tmp_path, extension):
        deep = GRAY.astype(np.uint16) * 200
        Image.fromarray(deep).save(tmp_path / f"a.{extension}")
        image = decode_image(tmp_path / f"a.{extension}")
        assert image.dtype == np.uint16 and image_info(tmp_path / f"a.{extension}").dtype == "uint16"
        np.testing.assert_array_equal(image[:, :, 0], deep)

    @pytest.mark.parametrize("channels", [3, 4])
    def test_sixteen_bit_color_png_keeps_its_bits(self, tmp_path, channels):
        deep = RNG.integers(0, 65_536, (5, 7, channels), np.uint16)
        rows = [row.astype(">u2").tobytes() for row in deep.reshape(5, -1)]
        png(tmp_path / "a.png", 16, 2 if channels == 3 else 6, rows)
        np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), deep[:, :, :3])
        assert image_info(tmp_path / "a.png").dtype == "uint16"

    def test_sixteen_bit_gray_with_alpha(self, tmp_path):
        deep = RNG.integers(0, 65_536, (5, 7, 2), np.uint16)
        png(tmp_path / "a.png", 16, 4, [row.astype(">u2").tobytes() for row in deep.reshape(5, -1)])
        np.testing.assert_array_equal(decode_image(tmp_path / "a.png"), deep[:, :, :1])

    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    @pytest.mark.parametrize("layout", ["pages", "contiguous", "rows as pages"])
    def test_many_channels_come_last(self, tmp_path, dtype, layout):
        bands = (RNG.random((90, 70, 6)) * 200).astype(dtype)
        if layout == "pages":
            tifffile.imwrite(tmp_path / "a.tif", np.moveaxis(bands, 2, 0), photometric="minisblack")
        elif layout == "contiguous":
            tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack", planarconfig="contig")
        else:
            tifffile.imwrite(tmp_path / "a.tif", bands, photometric="minisblack")
        image = decode_image(tmp_path / "a.tif")
        assert image.dtype == dtype
        np.testing.assert_array_equal(image, bands)
        info = image_info(tmp_path / "a.tif")
        assert (info.size, info.channels, info.dtype) == ((90, 70), 6, np.dtype(dtype).name)

    @pytest.mark.parametrize("low", [-5, 0])
    def test_signed_integers_are_told_as_what_they_become(self, tmp_path, low):
        values = np.arange(low, low + 35, dtype=np.int16).reshape(5, 7)
        values[0, 1] = 32_767
        tifffile.imwrite(tmp_path / "a.tif", values)
        image = decode_image(tmp_path / "a.tif")
        assert image.dtype == image_info(tmp_path / "a.tif").dtype == "float32"
        np.testing.assert_array_equal(image[:, :, 0], values)

    def test_other_number_types_are_narrowed(self, tmp_path):
        for stored, expected in ((np.int16, np.float32), (np.int32, np.uint16), (np.float64, np.float32)):
            tifffile.imwrite(tmp_path / "a.tif", GRAY.astype(stored) * 3)
            image = decode_image(tmp_path / "a.tif")
            assert image.dtype == expected
            np.testing.assert_array_equal(image[:, :, 0], GRAY.astype(stored) * 3)
        tifffile.imwrite(tmp_path / "a.tif", -GRAY.astype(np.int32))
        assert decode_image(tmp_path / "a.tif").dtype == np.float32

    def test_alpha_of_a_tiff_is_dropped_but_infrared_kept(self, tmp_path):
        four = np.concatenate([COLOR, GRAY[:, :, None]], axis=2)
        tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unassalpha"])
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), COLOR)
        assert image_info(tmp_path / "a.tif").alpha
        tifffile.imwrite(tmp_path / "a.tif", four, photometric="rgb", extrasamples=["unspecified"])
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), four)

    @pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
    def test_compressed_tiffs(self, tmp_path, compression):
        Image.fromarray(COLOR).save(tmp_path / "a.tif", compression=compression)
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), COLOR)
        Image.fromarray(IDS).save(tmp_path / "b.tif", compression=compression)
        np.testing.assert_array_equal(decode_mask(tmp_path / "b.tif"), IDS)

    def test_deep_color_tiff_with_lzw(self, tmp_path):
        deep = RNG.integers(0, 65_536, (5, 7, 3), np.uint16)
        cv2.imwrite(str(tmp_path / "a.tif"), deep[:, :, ::-1], [cv2.IMWRITE_TIFF_COMPRESSION, 5])
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), deep)

    def test_zero_is_black_also_where_white_is_zero(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", GRAY, photometric="miniswhite")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif")[:, :, 0], 255 - GRAY)

    def test_palette_tiff_becomes_rgb(self, tmp_path):
        palette_image(IDS).save(tmp_path / "a.tif")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), np.array([voc_color(i) for i in range(4)])[IDS])
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.tif"), IDS)
        assert tuple(mask_palette(tmp_path / "a.tif")[3]) == voc_color(3)

    @pytest.mark.parametrize("extension", ["ppm", "tga", "jp2", "jfif", "pnm"])
    def test_rarer_kinds(self, tmp_path, extension):
        picture = smooth(64, 64)
        options = {"jfif": {"format": "JPEG", "quality": 95}, "jp2": {"irreversible": False}}.get(extension, {})
        Image.fromarray(picture).save(tmp_path / f"a.{extension}", **options)
        assert np.abs(decode_image(tmp_path / f"a.{extension}").astype(int) - picture).mean() < 3
        info = image_info(tmp_path / f"a.{extension}")
        assert (info.size, info.channels, info.dtype) == ((64, 64), 3, "uint8")
        assert f".{extension}" in IMAGE_EXTENSIONS

    def test_twelve_bits_in_sixteen_stay_what_they_are(self, tmp_path):
        values = RNG.integers(0, 4096, (5, 7), np.uint16)
        for extension in ("png", "tif"):
            Image.fromarray(values).save(tmp_path / f"a.{extension}")
            image = decode_image(tmp_path / f"a.{extension}")
            assert image.dtype == np.uint16
            np.testing.assert_array_equal(image[:, :, 0], values)

    def test_a_progressive_jpeg_is_the_same_picture(self, tmp_path):
        for name, progressive in (("a.jpg", False), ("b.jpg", True)):
            Image.fromarray(smooth()).save(tmp_path / name, quality=95, progressive=progressive)
        np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), decode_image(tmp_path / "b.jpg"))

    def test_cmyk_with_and_without_adobes_mark(self, tmp_path):
        Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "a.jpg", quality=95)
        data = (tmp_path / "a.jpg").read_bytes()
        mark = data.index(b"Adobe")
        assert np.abs(decode_image(tmp_path / "a.jpg").astype(int) - smooth()).mean() < 5
        (tmp_path / "b.jpg").write_bytes(data[: mark - 4] + data[mark + 12 :])  # as browsers do, read the same
        np.testing.assert_array_equal(decode_image(tmp_path / "b.jpg"), decode_image(tmp_path / "a.jpg"))
        Image.fromarray(smooth()).convert("CMYK").save(tmp_path / "c.tif")
        np.testing.assert_array_equal(decode_image(tmp_path / "c.tif"), smooth())
        assert image_info(tmp_path / "c.tif").channels == 3

    @pytest.mark.parametrize("extension", sorted({*IMAGE_EXTENSIONS} - {".jp2"}))
    def test_one_pixel(self, tmp_path, extension):
        Image.fromarray(np.full((1, 1), 200, np.uint8)).save(tmp_path / f"a{extension}")
        image = decode_image(tmp_path / f"a{extension}")
        assert image.shape[:2] == (1, 1) == image_info(tmp_path / f"a{extension}").size
        assert abs(int(image[0, 0, 0]) - 200) < 3

    @pytest.mark.parametrize("order", ["contig", "separate"])
    @pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
    def test_bands_apart_or_together(self, tmp_path, order, dtype):
        bands = (RNG.random((9, 8, 5)) * 200).astype(dtype)
        array = bands if order == "contig" else np.moveaxis(bands, 2, 0)
        tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig=order)
        np.testing.assert_array_equal(decode_image(tmp_path / "a.tif"), bands)
        assert image_info(tmp_path / "a.tif").channels == 5

    def test_channels_of_several_files(self, tmp_path):
        for i in range(3):
            Image.fromarray(GRAY + i).save(tmp_path / f"{i}.png")
        source = Channels(tuple(tmp_path / f"{i}.png" for i in range(3)))
        np.testing.assert_array_equal(read_image(source), np.stack([GRAY, GRAY + 1, GRAY + 2], axis=2))
        assert read_info(source).channels == 3
        Image.fromarray(GRAY[:4]).save(tmp_path / "1.png")
        with pytest.raises(
            DataError, match=r"1\.png is 4 × 7 uint8, .*0\.png is 5 × 7 uint8; the channels of one picture"
        ):
            read_image(source)

    def test_the_extension_does_not_matter(self, tmp_path):
        Image.fromarray(COLOR).save(tmp_path / "a.jpg", format="PNG")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), COLOR)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["jpg", "png", "tif", "lzw", "webp"])
    def test_it_is_applied(self, tmp_path, orientation, kind):
        from PIL import ImageOps

        exif = Image.Exif()
        exif[274] = orientation
        picture = Image.fromarray(smooth())
        path = tmp_path / f"a.{'tif' if kind == 'lzw' else kind}"
        if kind == "tif":
            tifffile.imwrite(path, smooth(), photometric="rgb", extratags=[(274, "H", 1, orientation, True)])
        else:
            picture.save(path, exif=exif, **({"compression": "tiff_lzw"} if kind == "lzw" else {}))
        picture.getexif()[274] = orientation
        upright = np.asarray(ImageOps.exif_transpose(picture))
        image = decode_image(path)
        assert image.shape == upright.shape
        assert np.abs(image.astype(int) - upright).mean() < 3
        info = image_info(path)
        assert (info.size, info.orientation) == (upright.shape[:2], orientation)

    @pytest.mark.parametrize("orientation", range(1, 9))
    def test_it_is_applied_to_masks(self, tmp_path, orientation):
        exif = Image.Exif()
        exif[274] = orientation
        Image.fromarray(IDS).save(tmp_path / "a.png", exif=exif)
        Image.fromarray(COLOR).save(tmp_path / "b.png", exif=exif)
        expected = {
            1: IDS,
            2: IDS[:, ::-1],
            3: IDS[::-1, ::-1],
            4: IDS[::-1],
            5: IDS.T,
            6: np.rot90(IDS, -1),
            7: IDS[::-1, ::-1].T,
            8: np.rot90(IDS),
        }[orientation]
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), expected)
        assert decode_mask(tmp_path / "b.png").shape == expected.shape

    def test_a_png_may_tell_it_after_its_pixels(self, tmp_path):
        exif = Image.Exif()
        exif[274] = 6
        Image.fromarray(IDS).save(tmp_path / "a.png")
        data = (tmp_path / "a.png").read_bytes()
        body = b"eXIf" + exif.tobytes().removeprefix(b"Exif\0\0")
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        (tmp_path / "a.png").write_bytes(data[:-12] + chunk + data[-12:])
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), np.rot90(IDS, -1))
        assert image_info(tmp_path / "a.png").size == (7, 5)


class TestMasks:
    @pytest.mark.parametrize("extension", ["png", "tif", "bmp", "gif"])
    def test_gray_gives_its_numbers(self, tmp_path, extension):
        Image.fromarray(IDS).save(tmp_path / f"a.{extension}")
        np.testing.assert_array_equal(decode_mask(tmp_path / f"a.{extension}"), IDS)

    @pytest.mark.parametrize("extension", ["png", "gif", "bmp"])
    def test_a_palette_gives_its_indices_not_luminance(self, tmp_path, extension):
        palette_image(IDS).save(tmp_path / f"a.{extension}")
        np.testing.assert_array_equal(decode_mask(tmp_path / f"a.{extension}"), IDS)
        np.testing.assert_array_equal(mask_palette(tmp_path / f"a.{extension}")[:4], [voc_color(i) for i in range(4)])

    @pytest.mark.parametrize("extension", ["png", "tif", "bmp"])
    def test_one_bit_gives_zero_and_one(self, tmp_path, extension):
        Image.fromarray(GRAY > 100).save(tmp_path / f"a.{extension}")
        values = decode_mask(tmp_path / f"a.{extension}")
        if extension == "bmp":  # Pillow reads 1-bit BMP as 1-bit or as a palette, and both have 0 and 1
            values = values > 0
        np.testing.assert_array_equal(values, GRAY > 100)

    def test_one_bit_fax_gives_zero_for_black(self, tmp_path):
        Image.fromarray(GRAY > 100).save(tmp_path / "a.tif", compression="group4")
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.tif"), GRAY > 100)

    @pytest.mark.parametrize("depth", [2, 4])
    def test_few_bits_are_not_stretched(self, tmp_path, depth):
        rows = [[0b00011011]] * 3 if depth == 2 else [[0x01, 0x23]] * 3
        np.testing.assert_array_equal(decode_mask(png(tmp_path / "a.png", depth, 0, rows)), [[0, 1, 2, 3]] * 3)

    @pytest.mark.parametrize("extension", ["png", "tif"])
    def test_sixteen_bits(self, tmp_path, extension):
        deep = IDS.astype(np.uint16) * 300
        Image.fromarray(deep).save(tmp_path / f"a.{extension}")
        np.testing.assert_array_equal(decode_mask(tmp_path / f"a.{extension}"), deep)

    @pytest.mark.parametrize("extension", ["png", "tif", "bmp"])
    def test_colors_are_packed_in_uint32(self, tmp_path, extension):
        Image.fromarray(COLOR).save(tmp_path / f"a.{extension}")
        values = decode_mask(tmp_path / f"a.{extension}")
        assert values.dtype == np.uint32
        np.testing.assert_array_equal(values, PACKED)

    def test_gray_colors_are_still_colors(self, tmp_path):
        Image.fromarray(IDS).convert("RGB").save(tmp_path / "a.png")
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), IDS.astype(np.uint32) * pack_color((1, 1, 1)))

    def test_a_constant_alpha_is_ignored(self, tmp_path):
        for alpha in (0, 255):
            plane = np.full((5, 7, 1), alpha, np.uint8)
            Image.fromarray(np.concatenate([COLOR, plane], axis=2)).save(tmp_path / "a.png")
            np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), PACKED)
            Image.fromarray(np.concatenate([IDS[:, :, None], plane], axis=2)).save(tmp_path / "a.png")
            np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), IDS)

    @pytest.mark.parametrize("extension", ["png", "tif"])
    def test_transparent_pixels_are_black(self, tmp_path, extension):
        plane = np.full((5, 7, 1), 255, np.uint8)
        plane[2, 3:] = 0
        color = np.maximum(COLOR, 1)
        Image.fromarray(np.concatenate([color, plane], axis=2)).save(tmp_path / f"a.{extension}")
        expected = (color.astype(np.uint32) * [1 << 16, 1 << 8, 1]).sum(2)
        expected[2, 3:] = 0
        np.testing.assert_array_equal(decode_mask(tmp_path / f"a.{extension}"), expected)
        Image.fromarray(np.concatenate([IDS[:, :, None] + 1, plane], axis=2)).save(tmp_path / "b.png")
        np.testing.assert_array_equal(decode_mask(tmp_path / "b.png"), (IDS + 1) * (plane[:, :, 0] > 0))

    @pytest.mark.parametrize("values", [COLOR, IDS[:, :, None]])
    def test_transparent_beside_opaque_black_is_refused(self, tmp_path, values):
        values = np.maximum(values, 1)
        plane = np.full((5, 7, 1), 255, np.uint8)
        values[4, 6], plane[2, 3] = 0, 0
        Image.fromarray(np.concatenate([values, plane], axis=2)).save(tmp_path / "a.png")
        message = (
            r"a\.png is a mask with transparent pixels \(row 2, column 3\) and black ones \(row 4, column 6\); expected"
        )
        with pytest.raises(DataError, match=message):
            decode_mask(tmp_path / "a.png")

    def test_half_transparent_pixels_are_laid_on_black(self, tmp_path):
        plane = np.full((5, 7, 1), 255, np.uint8)
        plane[2, 3], plane[0, 0] = 128, 1
        Image.fromarray(np.concatenate([COLOR, plane], axis=2)).save(tmp_path / "a.png")
        laid = np.rint(COLOR * (plane / 255)).astype(np.uint32)
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), (laid * [1 << 16, 1 << 8, 1]).sum(2))

    @pytest.mark.parametrize("transparency", [0, b"\0\1\2"])
    def test_a_palettes_transparency_never_counts(self, tmp_path, transparency):
        palette_image(IDS).save(tmp_path / "a.png", transparency=transparency)
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.png"), IDS)

    @pytest.mark.parametrize("kind", ["P5", "P2"])
    @pytest.mark.parametrize("maximum", [3, 20, 255, 1000, 65_535])
    def test_netpbm_numbers_are_not_stretched(self, tmp_path, kind, maximum):
        values = (IDS.astype(np.uint16) * maximum // 3).astype(">u2" if maximum > 255 else np.uint8)
        body = values.tobytes() if kind == "P5" else " ".join(str(v) for v in values.ravel()).encode()
        header = f"{kind}\n# a comment that is longer than what is read of other files\n7 5\n{maximum}\n"
        (tmp_path / "a.pgm").write_bytes(header.encode() + body)
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.pgm"), values)
        info = image_info(tmp_path / "a.pgm")
        assert (info.size, info.dtype) == ((5, 7), str(decode_image(tmp_path / "a.pgm").dtype))

    def test_float_masks_must_be_whole(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", IDS.astype(np.float32))
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.tif"), IDS)
        values = IDS.astype(np.float32)
        values[1, 2] = 0.5
        tifffile.imwrite(tmp_path / "a.tif", values)
        with pytest.raises(DataError, match=r"a\.tif holds 0\.5 at row 1, column 2; expected whole numbers"):
            decode_mask(tmp_path / "a.tif")

    def test_negative_numbers_are_kept(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", IDS.astype(np.int16) - 1)
        np.testing.assert_array_equal(decode_mask(tmp_path / "a.tif"), IDS.astype(int) - 1)

    def test_uint32_numbers_do_not_pass_for_colors(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", IDS.astype(np.uint32))
        assert decode_mask(tmp_path / "a.tif").dtype == np.int32

    @pytest.mark.parametrize("extension", ["jpg", "webp"])
    def test_lossy_masks_are_refused(self, tmp_path, extension):
        Image.fromarray(IDS * 80).save(tmp_path / f"a.{extension}")
        with pytest.raises(DataError, match=rf"a\.{extension} is a lossy (JPEG|WebP), .*; export the masks as PNG"):
            decode_mask(tmp_path / f"a.{extension}")
        assert is_lossy(tmp_path / f"a.{extension}")
        values = decode_mask(tmp_path / f"a.{extension}", lossy=True)
        assert values.shape == IDS.shape and values.dtype == (np.uint8 if extension == "jpg" else np.uint32)

    def test_the_way_out_is_told(self, tmp_path):
        Image.fromarray(IDS).save(tmp_path / "a.jpg")
        with pytest.raises(DataError, match=r"where that cannot be done again, --as snap takes the nearest class$"):
            decode_mask(tmp_path / "a.jpg")

    @pytest.mark.parametrize("lossless", [True, False])
    def test_jpeg_2000(self, tmp_path, lossless):
        options = {"irreversible": not lossless, "quality_mode": "dB", "quality_layers": [] if lossless else [60]}
        Image.fromarray(COLOR.repeat(8, 0).repeat(8, 1)).save(tmp_path / "a.jp2", **options)
        if lossless:
            np.testing.assert_array_equal(decode_mask(tmp_path / "a.jp2"), PACKED.repeat(8, 0).repeat(8, 1))
        else:
            with pytest.raises(DataError, match="is a lossy JPEG 2000"):
                decode_mask(tmp_path / "a.jp2")
        assert is_lossy(tmp_path / "a.jp2") is not lossless
        assert image_info(tmp_path / "a.jp2").size == (40, 56)

    def test_lossy_webp_with_metadata_is_refused_and_lossless_read(self, tmp_path):
        exif = Image.Exif()
        exif[274] = 1
        Image.fromarray(COLOR).save(tmp_path / "a.webp", exif=exif)
        with pytest.raises(DataError, match="lossy WebP"):
            decode_mask(tmp_path / "a.webp")
        Image.fromarray(COLOR).save(tmp_path / "b.webp", exif=exif, lossless=True)
        np.testing.assert_array_equal(decode_mask(tmp_path / "b.webp"), PACKED)

    def test_a_tiff_with_jpeg_inside_is_refused(self, tmp_path):
        Image.fromarray(IDS).save(tmp_path / "a.tif", compression="jpeg")
        with pytest.raises(DataError, match="lossy JPEG inside"):
            decode_mask(tmp_path / "a.tif")
        assert is_lossy(tmp_path / "a.tif")
        assert np.abs(decode_mask(tmp_path / "a.tif", lossy=True).astype(int) - IDS).max() < 4

    def test_deep_colors_and_other_modes_are_refused(self, tmp_path):
        png(tmp_path / "a.png", 16, 2, [bytes(12)] * 2)
        with pytest.raises(DataError, match=r"a\.png is a color mask of 16 bits a channel; expected 8"):
            decode_mask(tmp_path / "a.png")
        tifffile.imwrite(tmp_path / "b.tif", COLOR.astype(np.uint16), photometric="rgb")
        with pytest.raises(DataError, match=r"b\.tif is a color mask of uint16; expected 8 bits"):
            decode_mask(tmp_path / "b.tif")
        tifffile.imwrite(tmp_path / "c.tif", np.zeros((5, 8, 9), np.uint8), photometric="minisblack")
        with pytest.raises(DataError, match=r"c\.tif is a mask of 5 channels or pages; expected one"):
            decode_mask(tmp_path / "c.tif")


class TestBadFiles:
    @pytest.mark.parametrize("read", [decode_image, decode_mask, image_info])
    def test_missing_empty_foreign(self, tmp_path, read):
        with pytest.raises(DataError, match=r"there is no file .*a\.png; check the path"):
            read(tmp_path / "a.png")
        (tmp_path / "b.png").write_bytes(b"")
        with pytest.raises(DataError, match=r"b\.png is empty \(0 bytes\); copy or export it again"):
            read(tmp_path / "b.png")
        (tmp_path / "c.png").write_text("no picture at all, but text that is long enough")
        with pytest.raises(DataError, match=r"c\.png is no picture of a known kind; expected JPEG, PNG"):
            read(tmp_path / "c.png")
        with pytest.raises(DataError, match=r"cannot be opened .*; expected a picture"):
            read(tmp_path)

    @pytest.mark.parametrize("extension", ["jpg", "png", "bmp", "webp", "gif", "tif"])
    def test_truncated(self, tmp_path, extension):
        path = tmp_path / f"a.{extension}"
        Image.fromarray(RNG.integers(0, 256, (40, 50, 3), np.uint8)).save(path)
        path.write_bytes(path.read_bytes()[:-700])
        with pytest.raises(DataError, match=rf"a\.{extension}.*(truncated or damaged|no picture)"):
            decode_image(path)

    @pytest.mark.parametrize("read", [decode_image, decode_mask])
    @pytest.mark.parametrize("mode", ["L", "P", "RGB", "I;16"])
    def test_any_byte_turned_within_a_pngs_pixels_is_noticed(self, tmp_path, read, mode):
        values = RNG.integers(0, 256, (20, 30), np.uint8)
        image = palette_image(values) if mode == "P" else Image.fromarray(values)
        image = Image.fromarray(values.astype(np.uint16) * 9) if mode == "I;16" else image.convert(mode)
        image.save(tmp_path / "a.png")
        whole = bytearray((tmp_path / "a.png").read_bytes())
        start = whole.index(b"IDAT") + 4
        for place in range(start, len(whole) - 16, 7):
            data = bytearray(whole)
            data[place] ^= 1 << (place % 8)
            (tmp_path / "a.png").write_bytes(data)
            with pytest.raises(
                DataError, match=r"a\.png is truncated or damaged \(the checksum of its IDAT is wrong\)"
            ):
                read(tmp_path / "a.png")

    @pytest.mark.parametrize("read", [decode_image, decode_mask, image_info])
    def test_a_damaged_header_is_no_foreign_file(self, tmp_path, read):
        palette_image(IDS).save(tmp_path / "a.png")
        data = bytearray((tmp_path / "a.png").read_bytes())
        data[data.index(b"PLTE") + 9] ^= 4
        (tmp_path / "a.png").write_bytes(data)
        with pytest.raises(
            DataError, match=r"a\.png is truncated or damaged \(in its header\); copy or export it again"
        ):
            read(tmp_path / "a.png")

    @pytest.mark.parametrize("extension", ["jpg", "png", "tif"])
    @pytest.mark.parametrize("kept", [0.3, 0.6, 0.9])
    def test_cut_off(self, tmp_path, extension, kept):
        path = tmp_path / f"a.{extension}"
        Image.fromarray(RNG.integers(0, 256, (60, 70, 3), np.uint8)).save(path)
        data = path.read_bytes()
        path.write_bytes(data[: int(len(data) * kept)])
        for read in (decode_image, decode_mask):
            with pytest.raises(DataError, match=rf"a\.{extension} "):
                read(path, **({"lossy": True} if read is decode_mask else {}))

    def test_a_header_that_says_less_than_there_is(self, tmp_path):
        path = png(tmp_path / "a.png", 8, 0, [bytes(5000)] * 4000)  # 20 megabytes of zeros
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", 1, 1)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
        assert decode_image(path).shape == (1, 1, 1)  # the rest is not unpacked

    def test_a_header_that_says_more_than_there_is(self, tmp_path):
        path = png(tmp_path / "a.png", 8, 0, [bytes(50)] * 40)
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", 500, 400)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"a\.png is truncated or damaged"):
            decode_image(path)

    @pytest.mark.parametrize("read", [decode_image, decode_mask, image_info])
    def test_a_tiff_that_announces_too_much(self, tmp_path, read):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 7), np.uint8), compression="zlib")
        with tifffile.TiffFile(tmp_path / "a.tif", mode="r+") as tiff:
            tiff.pages[0].tags["ImageWidth"].overwrite(60_000)
            tiff.pages[0].tags["ImageLength"].overwrite(60_000)
        with pytest.raises(DataError, match=r"a\.tif announces 3,600,000,000 pixels; at most"):
            read(tmp_path / "a.tif")

    def test_bytes_turned_at_random_never_raise_anything_else(self, tmp_path):
        for extension in ("png", "tif", "gif", "bmp"):
            path = tmp_path / f"a.{extension}"
            Image.fromarray(IDS).save(path)
            whole = bytearray(path.read_bytes())
            for _ in range(60):
                data = bytearray(whole)
                for place in RNG.integers(0, len(data), 3):
                    data[place] = RNG.integers(0, 256)
                path.write_bytes(data)
                for read in (decode_image, decode_mask, image_info):
                    try:
                        read(path)
                    except DataError as error:
                        assert str(path) in str(error)

    @pytest.mark.parametrize("read", [decode_image, decode_mask, image_info])
    @pytest.mark.parametrize("extension", ["png", "tif"])
    def test_a_bomb_is_refused_before_it_is_decoded(self, tmp_path, read, extension, monkeypatch):
        monkeypatch.setattr("pixelwise.data.decoding.files.MAX_PIXELS", 34)
        Image.fromarray(IDS).save(tmp_path / f"a.{extension}")
        with pytest.raises(DataError, match=rf"a\.{extension} announces 35 pixels; at most 34 are read, .*bomb"):
            read(tmp_path / f"a.{extension}")

    def test_a_real_bomb(self, tmp_path):
        path = png(tmp_path / "a.png", 8, 0, [b"\0"])
        data = bytearray(path.read_bytes())
        data[16:24] = struct.pack(">II", 100_000, 100_000)
        data[29:33] = struct.pack(">I", zlib.crc32(data[12:29]))
        path.write_bytes(data)
        with pytest.raises(DataError, match=r"announces 10,000,000,000 pixels; at most 178,956,970"):
            decode_image(path)

    def test_a_stack_is_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((90, 80, 70), np.uint8), photometric="minisblack")
        with pytest.raises(DataError, match=r"a\.tif is a stack of pictures, 90 × 80 × 70 \(axes .*; expected one"):
            decode_image(tmp_path / "a.tif")

    def test_complex_numbers_are_refused(self, tmp_path):
        tifffile.imwrite(tmp_path / "a.tif", np.zeros((5, 7), np.complex64))
        with pytest.raises(DataError, match=r"a\.tif: expected real numbers, found complex64; save the magnitude"):
            decode_image(tmp_path / "a.tif")
        with pytest.raises(DataError, match=r"a\.tif holds complex64; expected whole numbers"):
            decode_mask(tmp_path / "a.tif")
