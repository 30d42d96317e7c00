"""Hostile and broken uploads are refused, each in one line of log, and nothing is written outside the corrections."""

import io
import logging
import re
import socket
import struct
import threading
import time
import zipfile
import zlib
from urllib.parse import urlsplit

import numpy as np
import pytest
import tifffile

from pixelwise.server.app import create_app
from pixelwise.server.models import ServedModel
from pixelwise.server.pictures import inspect
from pixelwise.server.refusals import STATUS, Refusal
from pixelwise.server.running import background
from pixelwise.server.screening import PARTS, VALUES, screen
from pixelwise.server.settings import Settings

SOON = 1.0  # seconds from the end of a request's headers to its refusal, as the server counts them in its log


def chunk(kind, content):
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width, height, pixels=b""):
    """A PNG that announces a size, whatever its pixels."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", pixels or zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("a.txt", "hello")
    return stream.getvalue()


def tiff(pixels, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, pixels, metadata=None, photometric="rgb", **options)
    return stream.getvalue()


def tiff_bomb():
    """A strip that unpacks to a hundred times its pixels."""
    small = np.zeros((8, 8, 3), np.uint8)
    whole = bytearray(tiff(small, compression="zlib"))
    with tifffile.TiffFile(io.BytesIO(whole)) as file:
        page = file.pages[0]
        bomb = zlib.compress(bytes(20_000))
        place, count = page.tags["StripOffsets"].valueoffset, page.tags["StripByteCounts"].valueoffset
        size = {3: "<H", 4: "<I", 16: "<Q"}
        whole[place : place + struct.calcsize(size[page.tags["StripOffsets"].dtype])] = struct.pack(
            size[page.tags["StripOffsets"].dtype], len(whole)
        )
        whole[count : count + struct.calcsize(size[page.tags["StripByteCounts"].dtype])] = struct.pack(
            size[page.tags["StripByteCounts"].dtype], len(bomb)
        )
    return bytes(whole) + bomb


def ome_tiff():
    """An OME-TIFF whose description names another file."""
    xml = (
        '<?xml version="1.0"?><OME xmlns="http://www.openmicroscopy.org/Schemas/OME/2016-06"><Image ID="Image:0">'
        '<Pixels DimensionOrder="XYCZT" ID="Pixels:0" SizeC="2" SizeT="1" SizeX="8" SizeY="8" SizeZ="1" Type="uint8">'
        '<TiffData IFD="0"><UUID FileName="../../etc/passwd">urn:uuid:1</UUID></TiffData></Pixels></Image></OME>'
    )
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.zeros((8, 8), np.uint8), metadata=None, description=xml)
    return stream.getvalue()


def plain_tiff(width, height, data, *, strips=0, tile=0):
    """A gray TIFF, deflated, of many strips at one place or of one tile of any side."""
    place, count = (273, 279) if strips else (324, 325)
    fixed = {256: width, 257: height, 258: 8, 259: 8, 262: 1, 277: 1}
    fixed |= {278: 1} if strips else {322: tile, 323: tile}
    places = b"" if strips < 2 else struct.pack("<I", 8 + 2 + 12 * (len(fixed) + 2) + 4) * strips
    number = max(strips, 1)
    behind = 8 + 2 + 12 * (len(fixed) + 2) + 4
    entries = [(tag, 4, 1, value) for tag, value in fixed.items()]
    entries += [(place, 4, number, behind), (count, 4, number, behind if strips > 1 else len(data))]
    rows = b"".join(struct.pack("<HHII", *entry) for entry in sorted(entries))
    return b"II*\0" + struct.pack("<IH", 8, len(entries)) + rows + bytes(4) + places + data


def endless_tiff():
    """A TIFF whose page follows itself."""
    whole = bytearray(tiff(np.zeros((8, 8, 3), np.uint8)))
    (first,) = struct.unpack_from("<I", whole, 4)
    (entries,) = struct.unpack_from("<H", whole, first)
    struct.pack_into("<I", whole, first + 2 + 12 * entries, first)
    return bytes(whole)


def scans(http, pixels):
    """A progressive JPEG whose last scan stands in it a hundred times."""
    whole = http.encoded(pixels, "JPEG", progressive=True)
    last = whole.rindex(b"\xff\xda")
    return whole[:-2] + whole[last:-2] * 100 + whole[-2:]


def attacks(http, pixels):
    """{name: (bytes, content type, code)}."""
    good, jpeg = http.encoded(pixels), http.encoded(pixels, "JPEG")
    neutral = "application/octet-stream"
    return {
        "a bomb by its header": (png(60_000, 60_000), neutral, "too_many_pixels"),
        "a bomb that packs well": (http.encoded(np.zeros((2000, 2000, 3), np.uint8)), neutral, "too_many_pixels"),
        "a bomb as GIF": (http.encoded(np.zeros((3000, 3000), np.uint8), "GIF"), neutral, "too_many_pixels"),
        "a bomb in a strip": (tiff_bomb(), neutral, "unsupported_media"),
        "a picture of many channels": (
            tiff(np.zeros((200, 200, 40), np.uint8), compression="zlib", planarconfig="contig"),
            neutral,
            "too_many_pixels",
        ),
        "too many bytes": (b"\xff\xd8\xff" + bytes(400_000), neutral, "too_large"),
        "a truncated PNG": (good[:-20], neutral, "bad_picture"),
        "a truncated JPEG": (jpeg[: len(jpeg) // 2], neutral, "bad_picture"),
        "a JPEG of a header alone": (jpeg[:10], neutral, "bad_picture"),
        "a truncated GIF": (http.encoded(pixels, "GIF")[:-30], neutral, "bad_picture"),
        "a truncated WebP": (http.encoded(pixels, "WebP")[:-30], neutral, "bad_picture"),
        "a truncated TIFF": (tiff(pixels)[:200], neutral, "bad_picture"),
        "a PNG of other bytes": (png(40, 40, b"no zlib"), neutral, "bad_picture"),
        "a damaged PNG": (good[:60] + bytes([good[60] ^ 1]) + good[61:], neutral, "bad_picture"),
        "nothing": (b"", neutral, "bad_picture"),
        "a PNG with a ZIP": (good + zipped(), neutral, "unsupported_media"),
        "a JPEG with a ZIP": (jpeg + zipped(), neutral, "unsupported_media"),
        "a JPEG with a film and a ZIP": (jpeg + b"\0\0\0\x18ftyp" + zipped(), neutral, "unsupported_media"),
        "a GIF that is a script": (
            b"GIF89a\x01\0\x01\0\0\0\0!\xfe" + bytes([len(SCRIPT)]) + SCRIPT + b"\0,\0\0\0\0\x01\0\x01\0\0\x02\0;",
            neutral,
            "unsupported_media",
        ),
        "a PNG with a page in a text": (
            good[:33] + chunk(b"tEXt", b"Comment\0<script>alert(1)</script>") + good[33:],
            neutral,
            "unsupported_media",
        ),
        "a PDF": (b"%PDF-1.7 " + good, neutral, "unsupported_media"),
        "an SVG": (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "image/svg+xml", "unsupported_media"),
        "a TIFF that names another file": (ome_tiff(), neutral, "unsupported_media"),
        "an endless TIFF": (endless_tiff(), neutral, "unsupported_media"),
        "a TIFF of one huge tile": (
            plain_tiff(16, 16, zlib.compress(bytes(10**7)), tile=20_000),
            neutral,
            "too_many_pixels",
        ),
        "a JPEG of many scans": (scans(http, pixels), neutral, "unsupported_media"),
        "a web page's type": (good, "text/html", "unsupported_media"),
        "curl's own type": (good, "application/x-www-form-urlencoded", "unsupported_media"),
        "another picture's type": (good, "image/jpeg", "unsupported_media"),
        "a form without a boundary": (good, "multipart/form-data", "bad_request"),
        "a form that is none": (good, "multipart/form-data; boundary=x", "bad_request"),
        "a form that ends early": (http.form(("image", "a", good, None))[0][:-20], FORM, "bad_request"),
        "a form without the picture": (http.form(("file", "a", good, None))[0], FORM, "bad_request"),
        "a form with two pictures": (
            http.form(("image", "a", good, None), ("image", "b", good, None))[0],
            FORM,
            "bad_request",
        ),
        "a form of many parts": (http.form(*((f"p{i}", None, b"", None) for i in range(50)))[0], FORM, "bad_request"),
        "a form with a strange field": (
            http.form(("image", "a", good, None), ("path", None, b"/etc", None))[0],
            FORM,
            "bad_option",
        ),
        "a form with long headers": (
            http.form(("image", "a" * 20_000, good, None))[0],
            FORM,
            "bad_request",
        ),
        **{
            f"the name {name!r}": (http.form(("image", name, good, "image/png"))[0], FORM, "bad_request")
            for name in ("../../etc/passwd", "/etc/passwd", "..\\..\\a.png", "C:\\a.png", "..", "a/b.png", "%2e%2e%2fa")
        },
    }


SCRIPT = b"/*<script>alert(1)</script>*/"
FORM = "multipart/form-data; boundary=frontier"


def test_each_attack_is_refused_with_its_code_and_one_line(url, http, pixels, caplog):
    caplog.set_level(logging.INFO, "pixelwise.server")
    for name, (body, kind, code) in attacks(http, pixels).items():
        caplog.clear()
        answer = http.send(f"{url}/v1/segment", body, kind)
        assert (answer.code, answer.status) == (code, STATUS[code]), (name, answer.content)
        assert set(answer.json) == {"error"}, name
        assert "/proc/" not in answer.json["error"]["message"], name
        lines = logged(caplog, code)
        assert len(lines) == 1, (name, lines)
        assert "\n" not in lines[0], name
        assert float(re.search(r"\((\d+\.\d+) s\)$", lines[0])[1]) < SOON, (name, lines)
    assert http.send(f"{url}/v1/segment", http.encoded(pixels)).status == 200


def logged(caplog, code):
    """The lines of log with a code; the line comes after the answer."""
    until = time.monotonic() + 5
    while not (found := [r.getMessage() for r in caplog.records if code in r.getMessage()]):
        if time.monotonic() > until:
            break
        time.sleep(0.002)
    return found


def many(head, part):
    """A file of four times as many parts as any format may have."""
    return head + part * (4 * max(PARTS.values()))


@pytest.mark.parametrize(
    "data",
    [
        many(b"\xff\xd8", b"\xff\xe0\0\2"),
        many(b"\xff\xd8", b"\xff\xd0"),
        many(b"\x89PNG\r\n\x1a\n", bytes(4) + b"tEXt" + bytes(4)),
        many(b"GIF89a\1\0\1\0\0\0\0", b"!\xfe\0"),
        many(b"GIF89a\1\0\1\0\0\0\0!\xfe", b"\1a"),
    ],
    ids=["segments", "restarts", "chunks", "extensions", "blocks"],
)
def test_files_of_very_many_parts_are_not_walked_to_their_end(data):
    with pytest.raises(Refusal, match=r"is cut into more than [\d,]+ parts"):
        screen(data)


def test_fill_bytes_of_a_jpeg_are_not_walked_one_by_one(http, pixels):
    jpeg = http.encoded(pixels, "JPEG")
    assert screen(jpeg[:2] + b"\xff" * 10**6 + jpeg[2:]) == "JPEG"
    with pytest.raises(Refusal, match="ends early"):
        screen(b"\xff\xd8" + b"\xff" * 10**6)


def test_a_tiff_of_very_many_strips_is_refused_before_they_are_read():
    with pytest.raises(Refusal, match="very many tags or strips"):
        inspect(plain_tiff(1, 100, zlib.compress(b"a"), strips=VALUES + 1), "", 10**6)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("model=../../etc/passwd", "unknown_model"),
        ("scales=8,7,6", "too_many_pixels"),
        ("scales=0.1,0.2,0.3,0.4,0.5,0.6,0.7,0.8,0.9", "bad_option"),
        ("scales=-1", "bad_option"),
        ("scales=nan", "bad_option"),
        ("scales=pspnett", "bad_option"),
        ("precision=fp64", "bad_option"),
        ("output=svg", "bad_option"),
        ("include=mask,passwords", "bad_option"),
        ("opacity=2", "bad_option"),
        ("nothing=1", "bad_option"),
    ],
)
def test_options_are_checked_before_anything_is_computed(url, http, query, code):
    body = http.encoded(np.zeros((80, 80, 3), np.uint8))
    assert http.send(f"{url}/v1/segment?{query}", body).code == code


@pytest.mark.parametrize(
    "path", ["/page/../app.py", "/page/%2e%2e/app.py", "/page//etc/passwd", "/..%2f..%2fetc/passwd", "/page/", "/v2"]
)
def test_no_path_of_a_client_is_a_path(url, http, path):
    assert http.send(url + path).code == "not_found"


def test_other_methods_and_hosts_and_pages_are_refused(url, http, pixels):
    assert http.send(f"{url}/v1/segment").code == "method_not_allowed"
    assert http.send(f"{url}/v1/models", method="DELETE").headers["allow"] == "GET"
    assert http.send(f"{url}/healthz", Host="evil.example:80").code == "wrong_host"
    body = http.encoded(pixels)
    strange = [{"Origin": origin} for origin in ("https://evil.example", "null", "http://[", "http://localhost.evil")]
    for headers in (*strange, {"Sec_Fetch_Site": "cross-site"}):
        assert http.send(f"{url}/v1/corrections", body, **headers).code == "cross_origin"
    assert http.send(f"{url}/v1/segment", body, Origin=url).status == 200


def test_a_token_is_wanted_where_there_is_one(serving, http, pixels):
    with serving(token="open sesame") as url:
        for shown in ({}, {"Authorization": "Bearer open"}, {"Authorization": "Basic open sesame"}):
            answer = http.send(f"{url}/v1/segment", http.encoded(pixels), **shown)
            assert (answer.code, answer.headers["www-authenticate"]) == ("unauthorized", "Bearer")
        assert http.send(f"{url}/metrics").code == "unauthorized"
        assert http.send(f"{url}/healthz").status == 200
        assert http.send(f"{url}/").status in (200, 404)
        bearer = {"Authorization": "Bearer open sesame"}
        assert http.send(f"{url}/v1/segment", http.encoded(pixels), **bearer).status == 200


def talk(url, *sends, pause=0.0, timeout=20):
    """Raw bytes to a server, and what it answers until it closes."""
    parts = urlsplit(url)
    with socket.create_connection((parts.hostname, parts.port), timeout=timeout) as sock:
        received = b""
        try:
            for data in sends:
                sock.sendall(data)
                time.sleep(pause)
            while data := sock.recv(65_536):
                received += data
        except (ConnectionResetError, BrokenPipeError):
            pass
    return received


def test_slow_headers_are_closed(hasty, caplog):
    assert talk(hasty).startswith(b"HTTP/1.1 408")
    answer = talk(hasty, b"GET / HTTP/1.1\r\n", b"Host: localhost\r\n", pause=0.1)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code": "header_timeout"' in answer
    assert logged(caplog, "header_timeout")


def test_slow_headers_after_an_answer_are_closed_too(hasty):
    answer = talk(hasty, b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n", b"GET /healthz HT", pause=0.1)
    assert answer.startswith(b"HTTP/1.1 200")
    assert b"HTTP/1.1 408" in answer


def test_slow_bodies_are_closed(hasty, caplog):
    head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\nContent-Length: 1000\r\n\r\n"
    answer = talk(hasty, head, *[b"\x89"] * 5, pause=0.15)
    assert answer.startswith(b"HTTP/1.1 408")
    assert b'"code":"body_timeout"' in answer
    assert logged(caplog, "body_timeout")


def test_who_was_quick_may_not_be_silent_for_longer(toy, caplog):
    """Bytes that came early give no credit: otherwise a few such clients would hold all the memory for uploads."""
    settings = Settings(read_only=True, threads=1, body_timeout=0.4, slowest=1000)
    head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: 200000\r\n\r\n"
    with background(create_app([ServedModel("toy", toy)], settings)) as url:
        answer = talk(url, head + bytes(100_000))  # 100 seconds at the slowest
    assert answer.startswith(b"HTTP/1.1 408")
    assert logged(caplog, "body_timeout")


def test_a_body_that_is_announced_too_large_is_refused_before_it_is_sent(url):
    head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 99999999\r\n\r\n"
    answer = talk(url, head)
    assert answer.startswith(b"HTTP/1.1 413")
    assert b"100 Continue" not in answer


def test_a_body_without_length_is_refused_as_it_grows(url):
    head = b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
    many = b"%x\r\n%s\r\n" % (100_000, bytes(100_000))
    assert talk(url, head, *[many] * 5, b"0\r\n\r\n").startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "data",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
        b"GET / HTTP/1.1\r\nX: " + b"a" * 40_000 + b"\r\n\r\n",
        b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"POST /v1/segment HTTP/1.1\r\nHost: localhost\r\nContent-Length: -5\r\n\r\n",
    ],
)
def test_what_is_no_http_is_refused(url, http, data):
    answer = talk(url, data)
    assert answer.startswith((b"HTTP/1.1 400", b"HTTP/1.1 408"))
    assert http.send(f"{url}/healthz").status == 200


def test_more_connections_than_allowed_are_refused(serving, http):
    with serving(connections=2) as url:
        parts = urlsplit(url)
        with socket.create_connection((parts.hostname, parts.port)):
            with socket.create_connection((parts.hostname, parts.port)):
                time.sleep(0.1)
                assert talk(url).startswith(b"HTTP/1.1 503")
        until = time.monotonic() + 5
        while http.send(f"{url}/healthz").status != 200:
            assert time.monotonic() < until


def test_a_client_that_reads_nothing_is_closed(hasty, http, caplog):
    parts = urlsplit(hasty)
    body = http.encoded(np.random.default_rng(0).integers(0, 255, (480, 500, 3)).astype(np.uint8), "JPEG", quality=20)
    head = "POST /v1/segment?output=json&include=overlay,indices,mask HTTP/1.1\r\nHost: localhost\r\n"
    head += f"Content-Length: {len(body)}\r\n\r\n"
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        sock.connect((parts.hostname, parts.port))
        for _ in range(8):  # the system's own buffers take some answers
            sock.sendall(head.encode() + body)
        assert logged(caplog, "send_timeout")


def test_nothing_is_written_for_an_upload(url, http, pixels, tmp_path, monkeypatch):
    """Neither beside the corrections nor into a temporary folder."""
    import tempfile

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    body, kind = http.form(("image", "a.png", http.encoded(np.zeros((300, 300, 3), np.uint8)), "image/png"))
    done = [threading.Thread(target=http.send, args=(f"{url}/v1/segment", body, kind)) for _ in range(3)]
    for thread in done:
        thread.start()
    for thread in done:
        thread.join()
    assert http.send(f"{url}/v1/segment", http.encoded(pixels)).status == 200
    assert list(tmp_path.iterdir()) == []
