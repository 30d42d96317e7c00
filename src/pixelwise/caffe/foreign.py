"""What a file is that was given as one of Caffe's and is none: a web page, a Git LFS pointer, text for weights."""

# the first bytes, and what they say
STARTS = {
    b"version https://git-lfs": "the pointer of a file in Git LFS: run `git lfs pull`, or download the file itself",
    b"<": "a page of HTML or XML: the download gave a web page instead of the file",
    b"PK\x03\x04": "a zip archive, as PyTorch's .pth files are",
    b"\x80\x02": "a pickle, as PyTorch's old .pth files are",
    b"\x93NUMPY": "a file of NumPy",
    b"\x89HDF\r\n\x1a\n": "an HDF5 file",
    b"\x1f\x8b": "packed by gzip: unpack it first",
    b"\x89PNG": "a PNG image",
    b"\xff\xd8\xff": "a JPEG image",
}
LOOKED_AT = 4096  # bytes
_TEXT = bytes([*b"\t\n\r\f", *range(32, 256)])


def looks_like(start: bytes) -> str:
    """What a file seems to be by its first bytes, to be asked once it could not be read; "" where they say nothing.

    >>> looks_like(b"<!DOCTYPE html>")
    'a page of HTML or XML: the download gave a web page instead of the file'
    >>> looks_like(b'name: "VGG_ILSVRC_16_layers"')
    'text, as a .prototxt, which holds the layers and not the weights'
    """
    start = start[:LOOKED_AT].removeprefix(b"\xef\xbb\xbf")  # a byte order mark
    for first, kind in STARTS.items():
        if start.lstrip().startswith(first):
            return kind
    if not start:
        return "empty"
    if len(start) > 16 and not start.translate(None, delete=_TEXT):
        return "text, as a .prototxt, which holds the layers and not the weights"
    return ""
