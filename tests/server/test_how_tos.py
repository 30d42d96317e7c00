"""The commands of the two pages on serving, as they stand there."""

import re
from pathlib import Path

import numpy as np
import pytest

from pixelwise.cli.main import main
from pixelwise.server.corrections import Corrections
from pixelwise.server.models import open_models

HOW_TO = Path(__file__).parents[2] / "docs" / "how-to"
PAGES = [(HOW_TO / name).read_text(encoding="utf-8") for name in ("serve-a-model.md", "correct-and-continue.md")]
SMALL = ["--set", "crop_size=[32,32]", "--set", "batch_size=2", "--set", "threads=1", "--steps", "2"]
FIT = "pixelwise fit corrections --start runs/cells/model.safetensors"
EVALUATE = "pixelwise evaluate runs/corrections/model.safetensors data/ --compare runs/cells/model.safetensors"
ELSEWHERE = {
    "pip install 'pixelwise[serve]'": "not run: it needs a registry",
    "pixelwise serve runs/cells/model.safetensors": "test_serve_command runs it",
}


def test_every_block_is_run_by_a_test_or_known_not_to_be():
    blocks = [block for page in PAGES for block in re.findall(r"^```(\w*)\n(.*?)^```$", page, re.S | re.M)]
    lines = {line for kind, block in blocks if not kind for line in block.splitlines()}
    assert lines == {*ELSEWHERE, FIT, f"{FIT} --minutes 5", EVALUATE}
    assert {kind for kind, _ in blocks} == {"", "bash", "python"}
    for kind in ("bash", "python"):  # those of the first page are run by test_client
        assert f"```{kind}\n" not in PAGES[1]


def test_corrections_are_learned_and_both_models_compared(toy, http, pixels, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    for folder in ("runs/cells", "data/images", "data/masks"):
        Path(folder).mkdir(parents=True)
    toy.save("runs/cells/model.safetensors")
    models = open_models(["runs/cells/model.safetensors"])
    corrections = Corrections(Path("corrections"), models, local=True)
    for turn in range(4):
        image, mask = np.rot90(pixels, turn), np.rot90(toy.predict(pixels).labels, turn)
        pair = (http.encoded(np.ascontiguousarray(image)), http.encoded(np.ascontiguousarray(mask)))
        saved = corrections.save(models[0], *pair, 10**6, ("", ""))
        for folder, content in zip(("images", "masks"), pair, strict=True):
            Path("data", folder, f"{turn}.png").write_bytes(content)
    assert saved.command == FIT
    assert command(f"{FIT} --minutes 5".replace("--minutes 5", " ".join(SMALL))) == 0, capsys.readouterr().err
    assert command(EVALUATE) == 0, capsys.readouterr().err
    assert "cells" in capsys.readouterr().out


def command(line):
    """The exit code of a command in this process."""
    with pytest.raises(SystemExit) as ended:
        main(line.split()[1:])
    return ended.value.code
