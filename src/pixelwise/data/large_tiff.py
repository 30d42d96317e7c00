"""TIFFs too large to hold: read window by window, written tile by tile, with their georeference kept.

A TIFF stores its pixels in tiles or strips, each compressed for itself, so a part of a picture can be read without the
rest. What is read is what `data.decode.decode_image` would give of the whole: the same channels, types and values.

tifffile reads what is not compressed, or by deflate, LZMA or PackBits; rasterio (the extra `geo`) reads all else that
GDAL does: LZW, JPEG, ZSTD, WebP, LERC. Written are tiles of 256 × 256 compressed by deflate, with the tags of GeoTIFF
and of GDAL that say where the pixels lie: the same coordinate system and transform. What only stands in files beside
the picture (.tfw, .prj, .aux.xml) is not carried over.

Of a file of several pages the first is read. Overviews and masks inside are left out.
"""

import math
import queue
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from xml.etree import ElementTree

import numpy as np
import tifffile
from numpy.typing import NDArray

from pixelwise.data.decoding.files import TIFF_STARTS, naming
from pixelwise.data.levels import GRID, to_levels
from pixelwise.data.sample import Image
from pixelwise.errors import DataError
from pixelwise.files import replacing

SEGMENT = 64 * 2**20  # bytes of the largest tile or strip that a picture is streamed from
CACHE = 192 * 2**20  # bytes of decoded tiles or strips that are kept, as windows overlap
GDAL_CACHE = 128  # the same of GDAL, in MB
SIDE = 256  # of the tiles that are written
CLASSIC = 4_000_000_000  # bytes; a file that might be larger is a BigTIFF

GEOREFERENCE = (33550, 33922, 34264, 34735, 34736, 34737, 50844)
"""Pixel scale, tie points, transformation; keys, their numbers and texts; rational polynomials."""
_METADATA, _NODATA = 42112, 42113  # GDAL's
_REDUCED_OR_MASK = 1 | 4  # bits of NewSubfileType
_FOREIGN = ("SEPARATED", "CIELAB", "ICCLAB", "LOGLUV", "CFA", "LINEAR_RAW")

Tag = tuple[int, int, int, Any, bool]
"""(code, type, count, value, written once) as tifffile takes it."""


class LargeTiff:
    """A picture in a TIFF, read window by window.

    Attributes:
        size: (height, width).
        channels: C of what `read` gives.
        dtype: of what `read` gives: uint8, uint16 or float32.
        georeference: the tags that say where the pixels lie; empty without.
        nodata: the value that the file declares for pixels of no data; None without.
        notes: sentences for people about what was left out.

    Raises:
        DataError: the file is missing or damaged, no TIFF, or cannot be read window by window; says why.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._open = ExitStack()
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, NDArray[Any]] = OrderedDict()
        self._kept_bytes = 0
        self._gdal: Any = None
        try:
            with naming(path):
                with path.open("rb") as file:
                    if not file.read(4).startswith(TIFF_STARTS):
                        raise DataError(f"{path} is no TIFF; only TIFFs are read window by window")
                self._tiff = self._open.enter_context(tifffile.TiffFile(path))
                self._read_header()
        except BaseException:
            self._open.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._open.close()

    def _read_header(self) -> None:
        page: Any = self._tiff.pages[0]
        self._page = page
        self.size = int(page.imagelength), int(page.imagewidth)
        height, width = self.size
        if page.imagedepth > 1 or not height or not width:
            raise DataError(f"{self.path} is a volume of depth {page.imagedepth}; expected a picture")
        if page.tags.valueof(274, 1) not in (0, 1):
            raise DataError(f"{self.path} is stored turned (orientation {page.tags.valueof(274)}); save it upright")
        if page.photometric.name in _FOREIGN or np.dtype(page.dtype).kind not in "uifb":
            raise DataError(f"{self.path} holds {page.photometric.name} of {page.dtype}; expected gray, RGB or bands")
        samples = int(page.samplesperpixel)
        extra = tuple(int(kind) for kind in page.extrasamples)
        alphas = (
            {samples - len(extra) + i for i, kind in enumerate(extra) if kind in (1, 2)}
            if len(extra) < samples
            else set()
        )
        self._bands = [band for band in range(samples) if band not in alphas]
        self._separate = samples > 1 and int(page.planarconfig) == 2
        self._side = (
            (int(page.tilelength), int(page.tilewidth))
            if page.is_tiled
            else (min(int(page.rowsperstrip), height), width)
        )
        self._across = math.ceil(width / self._side[1])
        self._down = math.ceil(height / self._side[0])
        self._palette = self._colors(page)
        self.channels = len(self._bands) if self._palette is None else 3
        self.georeference = tuple(_copied(page.tags[code]) for code in GEOREFERENCE if code in page.tags)
        self.metadata = _dataset_metadata(page.tags.valueof(_METADATA))
        self.resolution: tuple[Any, Any, int] | None = None
        if 282 in page.tags and 283 in page.tags:
            self.resolution = page.tags.valueof(282), page.tags.valueof(283), int(page.tags.valueof(296, 2))
        self.nodata = _number(page.tags.valueof(_NODATA))
        pages: Any = self._tiff.pages
        further = sum(not int(other.subfiletype) & _REDUCED_OR_MASK for other in pages[1:])
        self.notes = (f"{self.path} has {further + 1} pages; the first is read",) if further else ()
        self._choose_reader(page, samples)
        self.dtype = self._type(np.dtype(page.dtype))

    def _choose_reader(self, page: Any, samples: int) -> None:
        """Use tifffile where it can read the file, else GDAL; a first tile is decoded to see it."""
        itemsize = np.dtype(page.dtype).itemsize
        bytes_ = math.prod(self._side) * itemsize * (1 if self._separate else samples)
        self._raw_rows = (
            bytes_ > SEGMENT
            and int(page.compression) == 1
            and not page.is_tiled
            and not self._separate
            and int(page.bitspersample) == 8 * itemsize
        )
        if bytes_ > SEGMENT and not self._raw_rows:
            raise DataError(
                f"{self.path} is stored in pieces of {self._side[0]} × {self._side[1]} pixels, {bytes_ >> 20} MiB "
                f"each; at most {SEGMENT >> 20} MiB can be read piece by piece: rewrite it in tiles, with "
                "gdal_translate -co TILED=YES"
            )
        if self._raw_rows:
            return
        if page.photometric.name != "YCBCR":
            try:
                stored = next(i for i, count in enumerate(page.databytecounts) if count)
                self._segment(stored)
                return
            except StopIteration:  # nothing is stored; all of it is no data
                return
            except (ValueError, ImportError) as error:
                if isinstance(error, ValueError) and "imagecodecs" not in str(error):
                    raise
        try:
            import rasterio
        except ImportError as error:
            raise DataError(
                f"{self.path} is compressed by {page.compression.name}, which is read window by window with rasterio "
                "alone: pip install 'pixelwise[geo]', or rewrite it with deflate"
            ) from error
        self._open.enter_context(rasterio.Env(GDAL_CACHEMAX=GDAL_CACHE))
        self._gdal = self._open.enter_context(_quietly(rasterio, self.path))
        if (self._gdal.height, self._gdal.width, self._gdal.count) != (*self.size, samples):
            raise DataError(f"{self.path} is read in two ways by tifffile and GDAL; save it as RGB or gray")

    def _colors(self, page: Any) -> NDArray[np.uint8] | None:
        if page.photometric.name != "PALETTE" or page.colormap is None:
            return None
        colors = page.colormap.T if page.colormap.max() < 256 else page.colormap.T >> 8
        palette = np.zeros((max(256, len(colors)), 3), np.uint8)
        palette[: len(colors)] = colors
        return palette

    def _type(self, stored: np.dtype[Any]) -> np.dtype[Any]:
        """The type that the pixels are given in, as `decode_image` has it.

        Integers of 32 bits and more are looked at, since they are uint16 where every one fits.
        """
        if self._palette is not None or stored.kind == "b" or stored == np.uint8:
            return np.dtype(np.uint8)
        if stored.kind == "u" and stored.itemsize == 2:
            return np.dtype(np.uint16)
        if stored.kind in "ui" and stored.itemsize > 2:
            bands = (
                self._raw(slice(top, min(top + SIDE, self.size[0])), slice(0, self.size[1]))
                for top in range(0, self.size[0], SIDE)
            )
            if all(band.min() >= 0 and band.max() <= 65_535 for band in bands):
                return np.dtype(np.uint16)
        return np.dtype(np.float32)

    def read(self, rows: slice, columns: slice) -> Image:
        """The pixels of a window, (h, w, C).

        Raises:
            DataError: they are damaged.
        """
        with naming(self.path):
            return self._pixels(self._raw(rows, columns))

    def read_with_void(self, rows: slice, columns: slice) -> tuple[Image, NDArray[np.bool_] | None]:
        """The same, and where there is no data, (h, w), or None where there is no such pixel.

        No data is where every channel has the file's declared value, or is no number.
        """
        with naming(self.path):
            raw = self._raw(rows, columns)
        return self._pixels(raw), self._void(raw)

    def grid(self) -> NDArray[np.float32]:
        """As `data.levels.grid_of` the whole picture, the same pixels, (n, C) levels; but without those of no data."""
        steps = [max(-(-length // GRID), 1) for length in self.size]
        lines = []
        for row in range(steps[0] // 2, self.size[0], steps[0]):
            pixels, void = self.read_with_void(slice(row, row + 1), slice(0, self.size[1]))
            every = slice(steps[1] // 2, None, steps[1])
            line = pixels[0, every]
            lines.append(line if void is None else line[~void[0, every]])
        found = np.concatenate(lines)
        return to_levels(found if len(found) else np.zeros((1, self.channels), self.dtype))

    def _void(self, raw: NDArray[Any]) -> NDArray[np.bool_] | None:
        void: NDArray[np.bool_] | None = None
        kept = raw[:, :, self._bands]
        if self.nodata is not None and not math.isnan(self.nodata):
            void = (kept == self.nodata).all(2)
        if kept.dtype.kind == "f":
            unknown = np.isnan(kept).any(2)
            void = unknown if void is None else void | unknown
        return void if void is not None and void.any() else None

    def _pixels(self, raw: NDArray[Any]) -> Image:
        if self._palette is not None:
            colors: NDArray[np.uint8] = self._palette[np.minimum(raw[:, :, 0], len(self._palette) - 1)]
            return colors
        if self._page.photometric.name == "MINISWHITE" and raw.dtype.kind in "ub":
            raw = 1 - raw.astype(np.uint8) if self._page.bitspersample == 1 else np.iinfo(raw.dtype).max - raw
        if self._page.bitspersample == 1:
            raw = raw.astype(np.uint8) * 255
        kept = raw if len(self._bands) == raw.shape[2] else raw[:, :, self._bands]
        return np.ascontiguousarray(kept, dtype=self.dtype)

    def _raw(self, rows: slice, columns: slice) -> NDArray[Any]:
        """The samples of a window as they are stored, (h, w, samples)."""
        if self._gdal is not None:
            window = ((rows.start, rows.stop), (columns.start, columns.stop))
            with self._lock:
                read: NDArray[Any] = self._gdal.read(window=window)
            return np.moveaxis(read, 0, 2)
        shape = rows.stop - rows.start, columns.stop - columns.start, int(self._page.samplesperpixel)
        out = np.empty(shape, np.dtype(self._page.dtype))
        if self._raw_rows:
            self._read_rows(rows, columns, out)
            return out
        height, width = self._side
        planes = shape[2] if self._separate else 1
        for plane in range(planes):
            target = out[:, :, plane : plane + 1] if self._separate else out
            for down in range(rows.start // height, -(-rows.stop // height)):
                for across in range(columns.start // width, -(-columns.stop // width)):
                    segment = self._segment((plane * self._down + down) * self._across + across)
                    top, left = down * height, across * width
                    low, high = max(rows.start, top), min(rows.stop, top + height)
                    first, last = max(columns.start, left), min(columns.stop, left + width)
                    target[low - rows.start : high - rows.start, first - columns.start : last - columns.start] = (
                        segment[low - top : high - top, first - left : last - left]
                    )
        return out

    def _read_rows(self, rows: slice, columns: slice, out: NDArray[Any]) -> None:
        """Of strips that are not compressed, the pixels themselves."""
        page, stored = self._page, np.dtype(self._page.dtype).newbyteorder(self._tiff.byteorder)
        pixel = stored.itemsize * out.shape[2]
        with self._lock:
            for row in range(rows.start, rows.stop):
                strip, inside = divmod(row, self._side[0])
                self._tiff.filehandle.seek(page.dataoffsets[strip] + (inside * self.size[1] + columns.start) * pixel)
                data = self._tiff.filehandle.read((columns.stop - columns.start) * pixel)
                out[row - rows.start] = np.frombuffer(data, stored).reshape(out.shape[1:])

    def _segment(self, index: int) -> NDArray[Any]:
        """A decoded tile or strip, (h, w, samples), the last ones kept."""
        with self._lock:
            if index in self._kept:
                self._kept.move_to_end(index)
                return self._kept[index]
            page = self._page
            count = page.databytecounts[index]
            data = None
            if count:
                self._tiff.filehandle.seek(page.dataoffsets[index])
                data = self._tiff.filehandle.read(count)
                if len(data) < count:
                    raise DataError(f"{self.path} is truncated: its piece {index} ends early; copy or export it again")
        decoded, _, shape = page.decode(data, index, jpegtables=page.jpegtables, jpegheader=page.jpegheader)
        if decoded is None:  # a sparse file: nothing is stored where there is no data
            samples = 1 if self._separate else int(page.samplesperpixel)
            fill = 0 if self.nodata is None or np.dtype(page.dtype).kind == "b" else self.nodata
            segment = np.full((*self._side, samples), fill, page.dtype)
        else:
            segment = decoded[0, : shape[1], : shape[2]]
        with self._lock:
            self._kept[index] = segment
            self._kept_bytes += segment.nbytes
            while self._kept_bytes > CACHE and len(self._kept) > 1:
                self._kept_bytes -= self._kept.popitem(last=False)[1].nbytes
        return segment


def _quietly(rasterio: Any, path: Path) -> Any:
    """A file opened by rasterio, which warns where there is no georeference."""
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", rasterio.errors.NotGeoreferencedWarning)
        return rasterio.open(path)


def _copied(tag: Any) -> Tag:
    value = tag.value
    count = 0 if isinstance(value, str | bytes) else int(tag.count)
    return int(tag.code), int(tag.dtype), count, value, True


def _number(text: Any) -> float | None:
    try:
        return None if text is None else float(str(text).strip().rstrip("\0"))
    except ValueError:
        return None


def _dataset_metadata(text: Any) -> str | None:
    """GDAL's items about the picture as a whole; those of a band (its statistics, its unit) are not the classes'."""
    try:
        root = ElementTree.fromstring(str(text)) if text else None
    except ElementTree.ParseError:
        return None
    if root is None:
        return None
    for item in list(root):
        if "sample" in item.attrib or "role" in item.attrib:
            root.remove(item)
    return ElementTree.tostring(root, encoding="unicode") if len(root) else None


class TiledWriter:
    """Writes a picture of one channel as tiles while it is made, from top to bottom; see `writing`.

    Args:
        rows: how far below what is done values are put.
        finished: takes (first row, values (h, W)) of each band that is done.
    """

    def __init__(
        self,
        size: tuple[int, int],
        dtype: np.dtype[Any],
        rows: int,
        finished: Callable[[int, NDArray[Any]], None] | None = None,
    ) -> None:
        self._size, self._dtype, self._finished = size, dtype, finished
        depth = -(-rows // SIDE) * SIDE + 2 * SIDE
        width = -(-size[1] // SIDE) * SIDE
        self._buffer = np.zeros((depth, width), dtype)
        self._top = 0
        self._ready: queue.Queue[list[NDArray[Any]] | None] = queue.Queue(2)
        self._fault: BaseException | None = None
        self._stopped = False
        self._thread: threading.Thread | None = None

    def __setitem__(self, place: tuple[slice, slice], values: NDArray[Any]) -> None:
        """Put values (h, w) at a place that is not done yet."""
        rows, columns = place
        self._buffer[rows.start - self._top : rows.stop - self._top, columns] = values

    def done(self, row: int) -> None:
        """Everything above a row has been put."""
        while self._top < self._size[0] and (row >= self._size[0] or row - self._top >= SIDE):
            band = self._buffer[:SIDE].copy()
            if self._finished is not None:
                self._finished(self._top, band[: self._size[0] - self._top, : self._size[1]])
            self._hand([band[:, left : left + SIDE] for left in range(0, band.shape[1], SIDE)])
            self._buffer[:-SIDE] = self._buffer[SIDE:].copy()
            self._buffer[-SIDE:] = 0
            self._top += SIDE

    def _hand(self, tiles: list[NDArray[Any]] | None) -> None:
        while self._thread is not None and self._thread.is_alive():
            try:
                self._ready.put(tiles, timeout=0.5)
                return
            except queue.Full:
                pass
        if self._fault is not None:
            raise self._fault

    def _tiles(self) -> Iterator[NDArray[Any]]:
        while True:
            tiles = self._ready.get()
            if self._stopped or tiles is None:
                return
            yield from tiles

    def _write(self, file: Path, options: dict[str, Any]) -> None:
        try:
            raw = math.prod(self._size) * self._dtype.itemsize
            with tifffile.TiffWriter(file, bigtiff=raw > CLASSIC) as tiff:
                tiff.write(self._tiles(), shape=self._size, dtype=self._dtype, **options)
        except BaseException as error:  # handed to the thread that puts
            self._fault = error

    def _start(self, file: Path, options: dict[str, Any]) -> None:
        self._thread = threading.Thread(target=self._write, args=(file, options), daemon=True)
        self._thread.start()

    def _finish(self, whole: bool) -> None:
        assert self._thread is not None
        self._stopped = not whole
        while self._thread.is_alive():
            try:
                self._ready.put(None, timeout=0.5)
                break
            except queue.Full:
                if self._stopped:
                    while not self._ready.empty():
                        self._ready.get_nowait()
        self._thread.join()
        if whole and self._fault is not None:
            raise self._fault


@contextmanager
def writing(
    path: Path,
    size: tuple[int, int],
    dtype: type[np.generic],
    *,
    rows: int,
    palette: NDArray[np.uint8] | None = None,
    like: LargeTiff | None = None,
    nodata: int | None = None,
    description: str = "",
    finished: Callable[[int, NDArray[Any]], None] | None = None,
) -> Iterator[TiledWriter]:
    """A writer of a tiled TIFF compressed by deflate, a BigTIFF where 4 GB might not do; whole or not at all.

    Args:
        rows, finished: see `TiledWriter`; what `finished` changes in a band is written.
        palette: (256, 3) colors 0–255 of values of 8 bits.
        like: a file whose georeference, resolution and metadata are carried over.
        nodata: the value that stands for no data.
        description: of the file, for people.

    Raises:
        DataError: it cannot be written.
    """
    options: dict[str, Any] = {
        "tile": (SIDE, SIDE),
        "compression": "zlib",
        "photometric": "minisblack",
        "metadata": None,
        "software": "pixelwise",
        "maxworkers": 1,
    }
    if palette is not None and np.dtype(dtype) == np.uint8:
        options |= {"photometric": "palette", "colormap": palette.T.astype(np.uint16) * 257}
    if description:
        options["description"] = description.encode()
    tags: list[Tag] = []
    if like is not None:
        tags += like.georeference
        if like.metadata is not None:
            tags.append((_METADATA, 2, 0, like.metadata, True))
        if like.resolution is not None:
            options |= {"resolution": like.resolution[:2], "resolutionunit": like.resolution[2]}
    if nodata is not None:
        tags.append((_NODATA, 2, 0, str(nodata), True))
    writer = TiledWriter(size, np.dtype(dtype), rows, finished)
    try:
        with replacing(path) as beside:
            writer._start(beside, options | {"extratags": tags})
            try:
                yield writer
                writer.done(size[0])
            except BaseException:
                writer._finish(whole=False)
                raise
            writer._finish(whole=True)
    except OSError as error:
        if isinstance(error, DataError):
            raise
        raise DataError(
            f"{path} cannot be written ({error.strerror or error}); make room, or choose another folder"
        ) from error
