"""JPEG and PNG by OpenCV in one read: the same as Pillow's, or nothing."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from pixelwise.data.quick import color_jpeg, jpeg_size, png_numbers, png_size

RANDOM = np.random.default_rng(0)
PICTURE = Image.fromarray(RANDOM.integers(0, 256, (37, 53, 3), np.uint8))
NUMBERS = RANDOM.integers(0, 256, (37, 53), np.uint8)


def written(image, kind, **options):
    file = io.BytesIO()
    image.save(file, kind, **options)
    return file.getvalue()


def with_palette(numbers):
    image = Image.fromarray(numbers)
    image.putpalette(RANDOM.integers(0, 256, 768, np.uint8).tobytes())
    return image


def inserted(png, kind, content):
    """A PNG with another chunk behind its header."""
    body = kind + content
    chunk = struct.pack(">I", len(content)) + body + struct.pack(">I", zlib.crc32(body))
    return png[:33] + chunk + png[33:]


def of_rows(rows, *, color=3, interlaced=0):
    """A PNG of 53 × 37 whose deflated bytes are these."""
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", 53, 37, 8, color, 0, 0, interlaced)),
        (b"PLTE", bytes(768)),
        (b"IDAT", zlib.compress(rows)),
        (b"IEND", b""),
    ]
    packed = (struct.pack(">I", len(c)) + kind + c + struct.pack(">I", zlib.crc32(kind + c)) for kind, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


class TestJPEG:
    @pytest.mark.parametrize("options", [{}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 1}])
    @pytest.mark.parametrize("quality", [30, 95])
    def test_has_pillows_pixels(self, options, quality):
        data = written(PICTURE, "JPEG", quality=quality, **options)
        assert jpeg_size(data) == (37, 53)
        assert np.array_equal(color_jpeg(data), np.asarray(Image.open(io.BytesIO(data))))

    def test_a_comment_and_a_color_profile_change_nothing(self):
        data = written(PICTURE, "JPEG", comment=b"hello", icc_profile=b"profile" * 20000)
        assert jpeg_size(data) == (37, 53)

    @pytest.mark.parametrize("mode", ["L", "CMYK"])
    def test_gray_and_cmyk_are_left_to_pillow(self, mode):
        assert jpeg_size(written(PICTURE.convert(mode), "JPEG")) is None

    def test_exif_and_xmp_are_left_to_pillow(self):
        exif = Image.Exif()
        exif[274] = 6
        assert jpeg_size(written(PICTURE, "JPEG", exif=exif)) is None
        assert jpeg_size(written(PICTURE, "JPEG", xmp=b"<x/>")) is None

    def test_several_pictures_are_left_to_pillow(self):
        assert jpeg_size(written(PICTURE, "MPO", save_all=True, append_images=[PICTURE])) is None

    def test_every_beginning_of_a_file_is_left_to_pillow_or_has_no_pixels(self):
        data = written(PICTURE, "JPEG", quality=30)
        for stop in range(0, len(data), 7):
            jpeg_size(data[:stop])
            assert color_jpeg(data[:stop]) is None

    def test_noise_behind_the_start_is_no_error(self):
        for _ in range(200):
            jpeg_size(b"\xff\xd8\xff" + RANDOM.bytes(60))


class TestPNG:
    @pytest.mark.parametrize("make", [Image.fromarray, with_palette])
    def test_gives_the_numbers_of_palettes_and_grays(self, make):
        data = written(make(NUMBERS), "PNG")
        assert png_size(data) == (37, 53)
        assert np.array_equal(png_numbers(data), NUMBERS)

    @pytest.mark.parametrize("transparency", [3, b"\0\1\2"])
    def test_a_palettes_transparency_and_gamma_do_not_count(self, transparency):
        data = written(with_palette(NUMBERS), "PNG", transparency=transparency)
        assert np.array_equal(png_numbers(inserted(data, b"gAMA", struct.pack(">I", 100000))), NUMBERS)

    @pytest.mark.parametrize("mode", ["RGB", "RGBA", "LA", "1"])
    def test_colors_and_bits_are_left_to_pillow(self, mode):
        assert png_numbers(written(PICTURE.convert(mode), "PNG")) is None

    def test_a_rotation_and_an_animation_are_left_to_pillow(self):
        data = written(Image.fromarray(NUMBERS), "PNG")
        for kind in (b"eXIf", b"acTL"):
            assert png_numbers(inserted(data, kind, bytes(8))) is None
        text = PngImagePlugin.PngInfo()
        text.add_text("Raw profile type exif", "x", zip=True)
        assert png_numbers(written(Image.fromarray(NUMBERS), "PNG", pnginfo=text)) is None

    def test_a_wrong_bit_or_an_early_end_gives_nothing(self):
        data = written(with_palette(NUMBERS), "PNG")
        for place in range(16, len(data) - 8, 11):
            if not 33 <= place < 33 + 780:  # the palette is not looked at but for its checksum
                broken = bytearray(data)
                broken[place] ^= 16
                assert png_numbers(bytes(broken)) is None, place
        assert all(png_numbers(data[:stop]) is None for stop in range(0, len(data) - 12, 7))

    def test_pixels_that_are_missing_in_a_whole_file_give_nothing(self):
        data = written(Image.fromarray(NUMBERS), "PNG")
        taller = data[:16] + struct.pack(">II", 53, 60) + data[24:29]
        taller += struct.pack(">I", zlib.crc32(taller[12:29])) + data[33:]
        found = png_numbers(taller)
        assert found is None

    @pytest.mark.parametrize("first", [0, 1])
    def test_filtered_rows_of_a_palette_are_read_too(self, first):
        filters = np.array([first, *RANDOM.integers(0, 5, 36)])
        rows = b""
        for i, kind in enumerate(filters):
            here, above = (NUMBERS[j].astype(int) if j >= 0 else np.zeros(53, int) for j in (i, i - 1))
            left, corner = np.r_[0, here[:-1]], np.r_[0, above[:-1]]
            guess = left + above - corner
            distances = np.abs(np.stack([guess - left, guess - above, guess - corner]))
            paeth = np.choose(distances.argmin(0), [left, above, corner])
            expected = [0, left, above, (left + above) // 2, paeth][kind]
            rows += bytes([kind]) + ((here - expected) % 256).astype(np.uint8).tobytes()
        assert np.array_equal(png_numbers(of_rows(rows)), NUMBERS)

    def test_an_interlaced_palette_is_read_too(self):
        passes = [(0, 0, 8, 8), (0, 4, 8, 8), (4, 0, 8, 4), (0, 2, 4, 4), (2, 0, 4, 2), (0, 1, 2, 2), (1, 0, 2, 1)]
        rows = b"".join(
            b"\0" + row.tobytes() for top, left, down, across in passes for row in NUMBERS[top::down, left::across]
        )
        assert np.array_equal(png_numbers(of_rows(rows, interlaced=1)), NUMBERS)

    def test_a_palettes_rows_that_are_too_few_give_nothing_and_further_ones_do_not_count(self):
        rows = b"".join(b"\0" + row.tobytes() for row in NUMBERS)
        assert np.array_equal(png_numbers(of_rows(rows)), NUMBERS)
        assert png_numbers(of_rows(rows[:-1])) is None
        assert png_numbers(of_rows(b"\7" + rows[1:])) is None  # there is no filter 7
        assert np.array_equal(png_numbers(of_rows(rows + bytes(1 << 20))), NUMBERS)
