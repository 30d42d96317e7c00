"""A packed folder is the folder; bad archives are refused, and never reach outside their place."""

import io
import os
import tarfile
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from pixelwise.data.archive import unpacked
from pixelwise.data.find import find_layout
from pixelwise.data.layout import checked_folder
from pixelwise.errors import DataError


def picture(seed: int = 0) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (6, 8, 3), np.uint8)).save(stream, "PNG")
    return stream.getvalue()


def files(prefix: str = "") -> dict[str, bytes]:
    return {f"{prefix}{part}/{i}.png": picture(i) for part in ("images", "masks") for i in range(3)}


def zipped(path, content: dict[str, bytes]):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in content.items():
            archive.writestr(name, data)
    return path


def names(root) -> list[str]:
    return sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())


@pytest.mark.parametrize("prefix", ["", "cells/", "data/cells/", "a\\b\\"])
def test_a_zip_is_its_folder_however_deep(tmp_path, prefix):
    path = zipped(tmp_path / "cells.zip", files(prefix))
    root = checked_folder(path)
    assert names(root) == sorted(files())
    assert "cells.zip" in root.parts  # an error about a file in it names it
    assert len(find_layout(root).splits["all"]) == 3


def test_it_is_unpacked_once_until_it_changes(tmp_path):
    path = zipped(tmp_path / "cells.zip", files())
    root = unpacked(path)
    (root / "kept").touch()
    assert (unpacked(path) / "kept").exists()
    zipped(path, files() | {"images/3.png": picture(3), "masks/3.png": picture(3)})
    os.utime(path, ns=(1, 1))
    root = unpacked(path)
    assert not (root / "kept").exists() and (root / "images" / "3.png").exists()


def test_several_unpack_at_once(tmp_path):
    """All get the whole folder, and nobody's copy is taken away while it is read."""
    path = zipped(tmp_path / "cells.zip", files())
    with ThreadPoolExecutor(8) as pool:
        roots = list(pool.map(lambda _: (root := unpacked(path), names(root)), range(24)))
    assert {str(root) for root, _ in roots} == {str(roots[0][0])}
    assert all(found == sorted(files()) for _, found in roots)
    assert len(list(roots[0][0].parents[1].iterdir())) == 1  # no part is left


def test_a_zip_in_a_zip(tmp_path):
    inner = zipped(tmp_path / "inner.zip", files()).read_bytes()
    root = unpacked(zipped(tmp_path / "outer.zip", {"download/inner.zip": inner}))
    assert names(root) == sorted(files())


def test_a_folder_of_zips(tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    zipped(folder / "images.zip", {f"{i}.png": picture(i) for i in range(3)})
    zipped(folder / "masks.zip", {f"{i}.png": picture(i) for i in range(3)})
    assert names(checked_folder(folder)) == sorted(files())
    assert names(folder) == ["images.zip", "masks.zip"]  # the user's own is as it was


def test_a_zip_beside_pictures_is_left_alone(tmp_path):
    zipped(tmp_path / "backup.zip", files())
    (tmp_path / "a.png").write_bytes(picture())
    assert checked_folder(tmp_path) == tmp_path


def test_tar_files(tmp_path):
    path = tmp_path / "cells.tar.gz"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files("cells/").items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
        link = tarfile.TarInfo("cells/link.png")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        archive.addfile(link)
    assert names(unpacked(path)) == sorted(files())


def test_nothing_leaves_the_folder_and_junk_stays_out(tmp_path):
    junk = ("../out.png", "a/../../out.png", "__MACOSX/images/._0.png", "images/.DS_Store", "images/Thumbs.db")
    root = unpacked(zipped(tmp_path / "a.zip", files() | dict.fromkeys(junk, b"x") | {"/abs/x.txt": b"x"}))
    assert names(root) == sorted([*files(), "abs/x.txt"])
    assert not list(tmp_path.rglob("out.png"))


def test_damaged(tmp_path):
    path = tmp_path / "a.zip"
    path.write_bytes(zipped(path, files()).read_bytes()[:-40])
    with pytest.raises(
        DataError, match=r"a\.zip is damaged or no archive \(.*\); expected a zip or tar file: unpack it"
    ):
        unpacked(path)
    path.write_bytes(b"PK not a zip")
    with pytest.raises(DataError, match=r"a\.zip is damaged or no archive"):
        checked_folder(path)


def test_a_damaged_file_inside(tmp_path):
    path = zipped(tmp_path / "a.zip", {"images/0.png": b"x" * 1000})
    data = bytearray(path.read_bytes())
    data[45] ^= 255
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip (is damaged|cannot be unpacked)"):
        unpacked(path)
    path = zipped(tmp_path / "a.zip", files())
    assert names(unpacked(path)) == sorted(files())  # the failure left nothing behind


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", files())
    monkeypatch.setattr(zipfile.ZipFile, "infolist", lambda self: [_announcing(info) for info in self.filelist])
    with pytest.raises(
        DataError, match=r"a\.zip has 0\.0 MB and announces 60\.0 GB; such a file may be a decompression"
    ):
        unpacked(path)


def _announcing(info: zipfile.ZipInfo) -> zipfile.ZipInfo:
    info.file_size = 10**10
    return info


def test_no_room(tmp_path, monkeypatch):
    path = zipped(tmp_path / "a.zip", files())
    monkeypatch.setattr("shutil.disk_usage", lambda place: type("Usage", (), {"free": 10})())
    with pytest.raises(
        DataError, match=r"a\.zip needs 0\.0 GB, and 0\.0 GB are free for .*; make room, set PIXELWISE_CACHE"
    ):
        unpacked(path)


def test_encrypted(tmp_path):
    path = zipped(tmp_path / "a.zip", {"images/0.png": b"x"})
    data = bytearray(path.read_bytes())
    data[6] |= 1  # the flag in the file's header
    data[data.index(b"PK\1\2") + 8] |= 1  # and in the directory's
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"a\.zip is encrypted; expected a zip or tar file: unpack it yourself"):
        unpacked(path)


def test_another_file(tmp_path):
    (tmp_path / "a.txt").touch()
    with pytest.raises(
        DataError, match=r"a\.txt is a file; expected a folder with pictures and masks, or a zip of one"
    ):
        checked_folder(tmp_path / "a.txt")
