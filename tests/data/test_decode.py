"""Every kind of file gives the array that its rule says, and a bad one an error that names it."""

import struct
import zlib

import cv2
import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelwise.data import decode
from pixelwise.data.decode import decode_image, decode_mask, image_info, mask_palette
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

    def test_other_number_types_are_narrowed(self, tmp_path):
        for stored, expected in ((np.int16, np.uint16), (np.int32, np.uint16), (np.float64, np.float32)):
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

    def test_the_extension_does_not_matter(self, tmp_path):
        Image.fromarray(COLOR).save(tmp_path / "a.jpg", format="PNG")
        np.testing.assert_array_equal(decode_image(tmp_path / "a.jpg"), COLOR)


class TestOrientation:
    @pytest.mark.parametrize("orientation", range(1, 9))
    @pytest.mark.parametrize("kind", ["jpg", "png", "tif", "lzw"])
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

    def test_an_alpha_that_varies_is_refused(self, tmp_path):
        plane = np.full((5, 7, 1), 255, np.uint8)
        plane[2, 3] = 7
        Image.fromarray(np.concatenate([COLOR, plane], axis=2)).save(tmp_path / "a.png")
        with pytest.raises(DataError, match=r"a\.png .*transparency varies \(255 at row 0, .* 7 at row 2, column 3\)"):
            decode_mask(tmp_path / "a.png")

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
        monkeypatch.setattr(decode, "MAX_PIXELS", 34)
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
