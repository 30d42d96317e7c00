"""What pages name exists: commands, their options, and the answers of `make` and of scripts."""

import re
import shlex

import pytest
from typer.main import get_command

from pixelwise.cli.main import app

from .blocks import ROOT, blocks, named_commands, pages, text_of
from .reader import COMMANDS, LANGUAGES

COMMANDS_OF = get_command(app).commands


@pytest.mark.parametrize("page", pages())
def test_every_block_is_run_or_says_why_not(page):
    """What test_pages runs has no reason; a reason is a clause that a reader may see."""
    for block in blocks(page):
        assert block.language in LANGUAGES, f"{block}: {block.language}"
        if block.reason:
            assert block.language in (*COMMANDS, "python"), f"{block} is not run anyway"
            assert len(block.reason.split()) > 1, f"{block}: {block.reason}"
    assert "\n    pixelwise " not in text_of(page), f"{page}: commands stand in fenced blocks"


@pytest.mark.parametrize("page", pages())
def test_every_command_and_option_that_a_page_names_exists(page):
    for line in named_commands(text_of(page)):
        verb, *rest = line.split()
        if verb in ("--version", "--help", "VERB"):
            continue
        assert verb in COMMANDS_OF, f"{page}: pixelwise {line}"
        known = {name for option in COMMANDS_OF[verb].params for name in (*option.opts, *option.secondary_opts)}
        named = {word.partition("=")[0].rstrip(",.;") for word in rest if word.startswith("--")}
        assert named <= known | {"--help", "--debug"}, f"{page}: pixelwise {line}"


@pytest.mark.parametrize("page", pages())
def test_make_and_scripts_that_a_page_names_exist(page):
    text = text_of(page)
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M)
    assert set(re.findall(r"(?:^|`)make ([\w-]+)", text, re.M)) <= set(targets)
    for script in re.findall(r"(?:^|`)python ((?:examples|benchmarks|docs)/[\w/.-]+)", text, re.M):
        assert (ROOT / script).is_file(), f"{page}: {script}"


def test_every_line_of_a_page_is_split_as_a_shell_does():
    for page in pages():
        for block in blocks(page):
            for line in block.commands if block.language in COMMANDS and not block.reason else ():
                assert shlex.split(line, comments=True), f"{block}: {line}"
