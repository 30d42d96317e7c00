"""Files of the catalogue: downloaded once, resumed, checked; and what a person is told where that does not work."""

import hashlib
import os
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

from pixelwise.errors import BadOption, DataError, UnknownName, WeightsError
from pixelwise.weights import cache
from pixelwise.weights.cache import NotHere, fetch, is_to_be_had, place_of
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights
from pixelwise.weights.download import Patience

from .server import serving

NAME, FILE = "tiny_voc", "tiny.pth"
CONTENT = bytes(range(256)) * 4096  # 1 MiB
QUICK = Patience(stall=2.0, tries=2, pause=0.01)


@pytest.fixture
def server(monkeypatch):
    monkeypatch.setenv("PIXELWISE_OFFLINE", "0")
    for proxy in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(proxy, raising=False)
    with serving() as server:
        server.files[FILE] = CONTENT
        yield server


@pytest.fixture
def record(monkeypatch, server):
    """A small file in the catalogue, which the server has."""
    made = PublishedWeights(
        NAME,
        FILE,
        "unet",
        "no_format",
        addresses=(server.url(FILE),),
        page="https://example.org/tiny",
        size=len(CONTENT),
        digest=f"sha256:{hashlib.sha256(CONTENT).hexdigest()}",
    )
    monkeypatch.setitem(CATALOGUE, NAME, made)
    return made


def change(monkeypatch, record, **facts):
    made = replace(record, **facts)
    monkeypatch.setitem(CATALOGUE, NAME, made)
    return made


def left(record):
    """What lies in the cache beside locks."""
    return sorted(path.name for path in place_of(record).parent.glob("*") if not path.name.endswith(".lock"))


def test_a_file_is_downloaded_once(server, record):
    told = []
    first = fetch(NAME, progress=lambda done, total: told.append((done, total)))
    assert first == place_of(record) and first.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT)) and told == sorted(told)
    assert fetch(NAME) == first and fetch(NAME, offline=True) == first
    assert server.asked == [(FILE, None)]
    assert left(record) == [FILE]


def test_an_interrupted_download_goes_on_where_it_ended(server, record):
    """Within one call, and in the next: what has come is not asked for again."""
    server.cuts = [300_000, 500_000, 0, 0]
    with pytest.raises(NotHere, match="the connection ended after 800,000 of 1,048,576 bytes"):
        fetch(NAME, patience=QUICK)
    assert left(record) == [f".{FILE}.part", f".{FILE}.part.from"]
    assert fetch(NAME, patience=QUICK).read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [
        None,
        "bytes=300000-",
        "bytes=800000-",
        "bytes=800000-",
        "bytes=800000-",
    ]
    assert left(record) == [FILE]


@pytest.mark.parametrize("ranges, tag", [(False, True), (True, False)], ids=["no Range", "no ETag"])
def test_a_server_that_sends_no_parts_sends_all_again(server, record, ranges, tag):
    server.ranges, server.tag, server.cuts = ranges, tag, [400_000]
    assert fetch(NAME, patience=QUICK).read_bytes() == CONTENT
    assert len(server.asked) == 2


def test_a_part_of_an_older_file_is_not_joined_to_a_newer(server, record, monkeypatch):
    server.cuts = [500_000, 0, 0]
    with pytest.raises(NotHere):
        fetch(NAME, patience=QUICK)
    newer = CONTENT[::-1]
    server.files[FILE] = newer
    change(monkeypatch, record, digest=f"sha256:{hashlib.sha256(newer).hexdigest()}")
    assert fetch(NAME, patience=QUICK).read_bytes() == newer


def test_a_part_that_was_damaged_is_brought_anew(server, record):
    server.cuts = [500_000, 0, 0]
    with pytest.raises(NotHere):
        fetch(NAME, patience=QUICK)
    part = place_of(record).with_name(f".{FILE}.part")
    part.write_bytes(b"x" * 500_000)
    assert fetch(NAME, patience=QUICK).read_bytes() == CONTENT
    part.write_bytes(CONTENT + b"more")  # longer than the file: the server has no such part
    place_of(record).unlink()
    assert fetch(NAME, patience=QUICK).read_bytes() == CONTENT


def test_a_wrong_checksum_is_refused_and_nothing_stays(server, record, monkeypatch):
    server.files[FILE] = b"something else"
    found = hashlib.sha256(b"something else").hexdigest()
    with pytest.raises(NotHere, match=f"its SHA-256 is {found}, expected {record.digest[7:]} .14 bytes."):
        fetch(NAME, patience=QUICK)
    assert left(record) == []
    assert len(server.asked) == 1
    change(monkeypatch, record, digest="sha256:0123abcd")
    with pytest.raises(NotHere, match=f"its SHA-256 is {found[:8]}…, expected to begin with 0123abcd"):
        fetch(NAME, patience=QUICK)


@pytest.mark.parametrize("algorithm", ["sha256", "sha1", "md5"])
def test_digests_may_be_known_in_part(server, record, monkeypatch, algorithm):
    digits = hashlib.new(algorithm, CONTENT).hexdigest()
    for known in (digits, digits[:8]):
        made = change(monkeypatch, record, digest=f"{algorithm}:{known}")
        fetch(NAME)
        place_of(made).unlink()


def test_without_a_digest_the_size_is_compared(server, record, monkeypatch):
    change(monkeypatch, record, digest=None, size=len(CONTENT) - 10, size_error=10)
    place = fetch(NAME)
    change(monkeypatch, record, digest=None, size=len(CONTENT) - 10, size_error=9)
    with pytest.raises(WeightsError, match="it has 1,048,576 bytes, expected 1,048,566. Remove it"):
        fetch(NAME)
    change(monkeypatch, record, digest=None, size=None)
    assert fetch(NAME) == place


def test_a_missing_file_says_which_one_to_bring_and_where_to_put_it(server, record):
    del server.files[FILE]
    with pytest.raises(NotHere) as caught:
        fetch(NAME, patience=QUICK)
    told = str(caught.value)
    assert "\n" not in told
    assert f"{NAME} is not on this machine: {server.url(FILE)}: 404 Not Found" in told
    assert told.endswith(
        f"bring {FILE} (1 MB, SHA-256 {record.digest[7:]}) from there and put it at {place_of(record)}"
    )
    assert len(server.asked) == 1


def test_offline_no_address_is_asked(server, record, monkeypatch):
    for ask in (lambda: fetch(NAME, offline=True), lambda: fetch(NAME)):
        monkeypatch.setenv("PIXELWISE_OFFLINE", "1")
        with pytest.raises(NotHere, match=r"the network is not used \(PIXELWISE_OFFLINE\); bring tiny.pth"):
            ask()
    assert is_to_be_had(record) == "the network is not used (PIXELWISE_OFFLINE)"
    assert server.asked == []
    place_of(record).parent.mkdir()
    place_of(record).write_bytes(CONTENT)
    assert fetch(NAME) == place_of(record) and is_to_be_had(record) == ""


def test_what_nobody_offers_is_to_be_brought(record, monkeypatch):
    made = change(monkeypatch, record, addresses=(), size=None, digest=None)
    with pytest.raises(NotHere, match=f"{NAME} is not on this machine; bring {FILE} from https://example.org/tiny and"):
        fetch(NAME)
    assert is_to_be_had(made) == "nobody offers it for download"


def test_a_brought_file_is_checked(server, record, tmp_path):
    place = place_of(record)
    place.parent.mkdir()
    place.write_bytes(CONTENT[:-1])
    with pytest.raises(
        WeightsError, match="tiny.pth is not the published file of tiny_voc: its SHA-256 is .*Remove it"
    ):
        fetch(NAME)
    assert place.exists()  # a person put it there
    mine = tmp_path / "mine.pth"
    mine.write_bytes(CONTENT)
    assert fetch(NAME, file=mine) == mine
    with pytest.raises(DataError, match="no file at .*gone.pth; tiny_voc is tiny.pth .1 MB"):
        fetch(NAME, file=tmp_path / "gone.pth")
    assert server.asked == []


def test_a_mirror_is_asked_first(server, record, monkeypatch):
    server.files["folder/tiny.pth"] = CONTENT
    monkeypatch.setenv("PIXELWISE_MIRROR", server.url("folder/"))
    fetch(NAME)
    assert [path for path, _ in server.asked] == ["folder/tiny.pth"]
    place_of(record).unlink()
    fetch(NAME, mirror=server.url("empty"), patience=QUICK)
    assert [path for path, _ in server.asked][1:] == ["empty/tiny.pth", FILE]


@pytest.mark.parametrize("mirror", ["file:///etc", "ftp://host/", "folder", "http://"])
def test_a_mirror_is_of_http_or_https(record, mirror):
    with pytest.raises(BadOption, match="the mirror .PIXELWISE_MIRROR. .* begins with http:// or https://, got"):
        fetch(NAME, mirror=mirror)


def test_redirects_are_followed_within_http(server, record, tmp_path, monkeypatch):
    server.redirects["old.pth"] = f"/{FILE}"
    record = change(monkeypatch, record, addresses=(server.url("old.pth"),))
    assert fetch(NAME).read_bytes() == CONTENT
    place_of(record).unlink()
    secret = tmp_path / "secret"
    secret.write_bytes(CONTENT)
    for target in (f"file://{secret}", "ftp://127.0.0.1/tiny.pth", "data:text/plain,hello"):
        server.redirects["old.pth"] = target
        with pytest.raises(NotHere, match="redirects to .*, which is not http|Redirection to url .* is not allowed"):
            fetch(NAME, patience=QUICK)
    server.redirects["old.pth"] = "/old.pth"
    with pytest.raises(NotHere, match="old.pth: 302 .*infinite loop") as caught:
        fetch(NAME, patience=QUICK)
    assert "\n" not in str(caught.value)


def test_a_web_page_is_no_file(server, record, monkeypatch):
    """Servers answer so for what they no longer have."""
    server.kind = "text/html; charset=utf-8"
    change(monkeypatch, record, digest=None, size=None)
    with pytest.raises(NotHere, match="it gives a web page and not the file"):
        fetch(NAME, patience=QUICK)
    assert left(record) == []


def test_a_server_that_stalls_is_given_up(server, record):
    server.stalls = [1000, 0, 0, 0]
    with pytest.raises(NotHere, match=r"nothing came for 0\.2 s"):
        fetch(NAME, patience=Patience(stall=0.2, tries=2, pause=0.01))
    assert [wanted for _, wanted in server.asked] == [None, "bytes=1000-", "bytes=1000-"]


def test_a_server_in_trouble_is_asked_again_and_one_without_the_file_is_not(server, record):
    server.status[FILE] = 503
    with pytest.raises(NotHere, match="503 Service Unavailable"):
        fetch(NAME, patience=QUICK)
    assert len(server.asked) == 2
    server.status[FILE] = 403
    with pytest.raises(NotHere, match="403 Forbidden"):
        fetch(NAME, patience=QUICK)
    assert len(server.asked) == 3


def test_a_body_cut_short_without_a_length_is_seen_by_the_checksum(server, record):
    server.length, server.cuts = False, [1000]
    with pytest.raises(NotHere, match=r"its SHA-256 is .* \(1,000 bytes\)"):
        fetch(NAME, patience=QUICK)
    assert fetch(NAME, patience=QUICK).read_bytes() == CONTENT


def test_without_a_network_one_line_says_what_to_do_and_nobody_waits(record, monkeypatch):
    change(monkeypatch, record, addresses=("http://127.0.0.1:9/tiny.pth",))  # nobody listens there
    monkeypatch.setattr("pixelwise.weights.download.time.sleep", None)
    with pytest.raises(NotHere, match="127.0.0.1:9/tiny.pth: Connection refused; bring tiny.pth"):
        fetch(NAME)
    assert "Connection refused" in is_to_be_had(CATALOGUE[NAME], 1.0)


def test_whether_a_file_can_be_had_is_asked_with_one_byte(server, record):
    assert is_to_be_had(record, 2.0) == ""
    assert server.asked == [(FILE, "bytes=0-0")]
    server.status[FILE] = 404
    assert is_to_be_had(record, 2.0) == f"{server.url(FILE)}: 404 Not Found"


@pytest.mark.skipif(os.name == "nt", reason="folders have other rights there")
def test_a_cache_that_cannot_be_written_serves_what_it_has(server, record, monkeypatch, tmp_path):
    """Root may write anywhere, so that a file in the folder's place stands for a folder without rights."""
    place_of(record).parent.parent.joinpath("weights").write_text("no folder")
    with pytest.raises(
        NotHere, match="the cache .*weights cannot be written .*; let PIXELWISE_CACHE name a folder that can"
    ):
        fetch(NAME)
    monkeypatch.setenv("PIXELWISE_CACHE", str(tmp_path))
    place_of(record).parent.mkdir()
    place_of(record).write_bytes(CONTENT)
    place_of(record).chmod(0o444)
    place_of(record).parent.chmod(0o555)
    try:
        assert fetch(NAME).read_bytes() == CONTENT
        if os.geteuid() != 0:
            place_of(record).parent.chmod(0o755)
            place_of(record).unlink()
            place_of(record).parent.chmod(0o555)
            with pytest.raises(NotHere, match="Permission denied"):
                fetch(NAME)
    finally:
        place_of(record).parent.chmod(0o755)
    assert server.asked == []


def test_a_disk_that_is_full_is_said_before_anything_comes(server, record, monkeypatch):
    change(monkeypatch, record, size=10**18)
    with pytest.raises(NotHere, match="written .1000000000000 MB are needed, .* MB are free.; make room there, or"):
        fetch(NAME)
    assert server.asked == []


def test_two_at_once_download_once(server, record):
    server.slow = 0.01
    found = []
    threads = [threading.Thread(target=lambda: found.append(fetch(NAME))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [place_of(record)] * 4
    assert len(server.asked) == 1


CHILD = """
import sys
from pixelwise.weights import cache
from pixelwise.weights.catalogue import CATALOGUE, PublishedWeights
address, digest = sys.argv[1:]
CATALOGUE["tiny_voc"] = PublishedWeights("tiny_voc", "tiny.pth", "unet", "", addresses=(address,), digest=digest)
print("ready", flush=True)
sys.stdin.readline()
print(cache.fetch("tiny_voc"), flush=True)
"""


def child(record):
    return subprocess.Popen(
        [sys.executable, "-c", CHILD, record.addresses[0], record.digest],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_two_processes_download_once_and_a_dead_one_blocks_nobody(server, record):
    """The second waits for the first; the first is killed in the middle, and the second goes on from there."""
    server.slow = 0.03
    processes = [child(record), child(record)]
    try:
        for process in processes:
            assert process.stdout.readline() == "ready\n"
        part = place_of(record).with_name(f".{FILE}.part")
        first, second = processes
        first.stdin.write("go\n")
        first.stdin.flush()
        while not part.exists() or part.stat().st_size < 200_000:
            assert first.poll() is None
        second.stdin.write("go\n")
        second.stdin.flush()
        first.kill()
        out, _ = second.communicate(timeout=20)
    finally:
        for process in processes:
            process.kill()
            process.wait()
            process.stdin.close()
            process.stdout.close()
    assert out == f"{place_of(record)}\n"
    assert place_of(record).read_bytes() == CONTENT
    (_, whole), (_, rest) = server.asked
    assert whole is None and int(rest.removeprefix("bytes=").removesuffix("-")) >= 200_000


def test_a_name_that_is_not_in_the_catalogue_is_answered_with_the_nearest():
    with pytest.raises(
        UnknownName, match="no published weights is called 'fcn8s_vgg16_vocc'; did you mean 'fcn8s_vgg16_voc'"
    ):
        fetch("fcn8s_vgg16_vocc")


def test_tests_are_offline_by_themselves():
    assert cache.is_offline()
