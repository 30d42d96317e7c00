"""Files appear whole or not at all."""

import pytest

from pixelwise.files import replacing, write_text


def test_a_link_stays_a_link_to_the_new_file(tmp_path):
    write_text("old", tmp_path / "real.txt")
    (tmp_path / "link.txt").symlink_to("real.txt")
    write_text("new", tmp_path / "link.txt")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "real.txt").read_text(encoding="utf-8") == "new"


def test_a_file_appears_only_when_all_is_well(tmp_path):
    target = tmp_path / "new" / "file.txt"
    write_text("grün", target)
    assert target.read_text(encoding="utf-8") == "grün"
    with pytest.raises(ValueError, match="stop"), replacing(target) as beside:
        beside.write_text("half")
        raise ValueError("stop")
    assert target.read_text(encoding="utf-8") == "grün"
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]
