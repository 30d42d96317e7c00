"""Files appear whole or not at all."""

import pytest

from pixelwise.files import replacing, write_text


def test_a_file_appears_only_when_all_is_well(tmp_path):
    target = tmp_path / "new" / "file.txt"
    write_text("grün", target)
    assert target.read_text(encoding="utf-8") == "grün"
    with pytest.raises(ValueError, match="stop"), replacing(target) as beside:
        beside.write_text("half")
        raise ValueError("stop")
    assert target.read_text(encoding="utf-8") == "grün"
    assert [p.name for p in target.parent.iterdir()] == ["file.txt"]
