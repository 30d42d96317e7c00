"""A reader who types all that a page says, in one folder, with networks and trainings made small."""

import contextlib
import functools
import io
import itertools
import json
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml

import pixelwise
from pixelwise.backbones import CLASSIFIERS
from pixelwise.cli.main import main
from pixelwise.flow import demo, learning_curve
from pixelwise.flow import fit as fitting

from .blocks import Block

WIDTH = 1 / 16
WEIGHTS_WIDTH = 1 / 64  # of the networks in published files
STEPS = 2
CURVE = ("--sizes", "4,8", "--repeats", "2")
RECIPE = {"model_options": {"width": WIDTH}, "crop_size": [24, 24], "batch_size": 2, "recompute": 2, "validate_on": 1}
RECIPE |= {"steps": STEPS, "threads": 1}
SHELL = ("cat", "cp", "curl", "ls", "mkdir", "mv", "unzip")  # run as they stand
COMMANDS = ("", "sh", "bash", "console")
PARSED = {
    "yaml": lambda text: list(yaml.safe_load_all(text)),
    "json": json.loads,
    "jsonl": lambda text: [json.loads(line) for line in text.splitlines()],
    "toml": tomllib.loads,
}
SHOWN = ("text", "html", "dockerfile", "prototxt", "mermaid", "csv", "bibtex", "ini")
LANGUAGES = (*COMMANDS, "python", *PARSED, *SHOWN)


class Reader:
    """Types what stands in blocks, into the current folder.

    Args:
        monkeypatch: a test's.
        stack: closes at the end what was opened on the way, as a server.
    """

    def __init__(self, monkeypatch, stack):
        self.names = {}  # what the page's Python finds
        self.before = {}  # what happens before a command line: {line: function without arguments}
        self.fit_with = None  # added to `pixelwise fit` in place of few steps and a narrow network
        self.typed = []  # every command line and block of Python that was run
        self.printed = []  # what each block of Python printed
        self.patch, self.stack = monkeypatch, stack
        monkeypatch.setattr("pixelwise.server.running.serve", lambda app, told: told("http://127.0.0.1:8000"))
        draw, draw_new = demo.draw_demo, demo.draw_new_pictures
        few = functools.partial(min, 8)
        monkeypatch.setattr(
            demo,
            "draw_demo",
            lambda folder, *, count=8, size=None, seed=0: draw(folder, count=few(count), size=(48, 64), seed=seed),
        )
        monkeypatch.setattr(
            demo,
            "draw_new_pictures",
            lambda folder, count=2, seed=1, size=None: draw_new(folder, min(count, 2), seed, size=(40, 60)),
        )

    def read(self, block: Block):
        """Run, parse or look over a block."""
        if block.reason:
            return
        assert block.language in LANGUAGES, f"{block}: {block.language!r} is no language that is run, parsed or shown"
        if block.language in PARSED:
            PARSED[block.language](block.text)
        elif block.language == "python":
            self.typed.append(block.text)
            with contextlib.redirect_stdout(io.StringIO()) as printed, small_python():
                exec(compile(block.text, str(block), "exec"), self.names)
            self.printed.append(printed.getvalue())
        elif block.language in COMMANDS:
            assert block.commands, f"{block}: nothing to run; a block that only shows something is ```text"
            for line in block.commands:
                self.before.get(line, lambda: None)()
                self.typed.append(line)
                self.type(line, block)

    def type(self, line: str, block: Block):
        """Run a command line."""
        words = shlex.split(line, comments=True)
        with pytest.MonkeyPatch.context() as variables:
            while given := re.fullmatch(r"([A-Z_]+)=(.*)", words[0]):
                variables.setenv(*given.groups())
                words.pop(0)
            if words[0] == "export":
                for word in words[1:]:
                    self.patch.setenv(*word.split("=", 1))
            elif words[0] == "cd":
                self.patch.chdir(words[1])
            elif words[0] in SHELL:
                subprocess.run(["bash", "-ec", line], check=True, timeout=60)
            elif words[0] == "pixelwise":
                self.pixelwise(words[1:], block)
            elif words[0] == "torchrun" and "pixelwise" in words:
                self.pixelwise(words[words.index("pixelwise") + 1 :], block)  # as one process
            elif words[0] == "python" and Path(words[1]).is_file():
                variables.setattr(sys, "argv", words[1:])
                with contextlib.suppress(SystemExit):
                    runpy.run_path(words[1], run_name="__main__")
            else:
                pytest.fail(f"{block}: {line!r} cannot be run by this reader; write <!-- not run: why --> before it")

    def pixelwise(self, words, block: Block):
        """Run a command in this process; it must end well."""
        with contextlib.ExitStack() as stack:
            patch = stack.enter_context(pytest.MonkeyPatch.context())
            if len(words) > 2 and words[-2] == ">":
                file = stack.enter_context(Path(words[-1]).open("w", encoding="utf-8"))
                stack.enter_context(contextlib.redirect_stdout(file))
                words = words[:-2]
            if words[0] == "demo":
                patch.setattr(fitting, "fit", fit_small)
            words = [*words, *self.fit_with] if words[0] == "fit" and self.fit_with else small(words)
            with pytest.raises(SystemExit) as ended:
                main(words)
        assert not ended.value.code, f"{block}: `pixelwise {shlex.join(words)}` ended with {ended.value.code}"


@contextlib.contextmanager
def small_python():
    """What Python blocks call has narrow networks and few steps."""
    import pixelwise.models as models

    build = models.build
    with pytest.MonkeyPatch.context() as patch:
        for module in (pixelwise, models):
            patch.setattr(module, "build", lambda name, **options: build(name, **{"width": WIDTH} | options))
        patch.setattr(pixelwise, "fit", fit_small)
        patch.setattr(learning_curve, "learning_curve", functools.partial(curve_small, learning_curve.learning_curve))
        for name, make in list(CLASSIFIERS.items()):
            patch.setitem(CLASSIFIERS, name, functools.partial(make, width=WIDTH))
        yield


def fit_small(folder, *, minutes=None, settings=None, steps=None, fit=fitting.fit, **options):
    """`pixelwise.fit` of a narrow network in two steps."""
    if not (options.get("resume") or options.get("plan")):
        kind = {name: options.get(name) for name in ("model", "start", "labels", "staged")}
        settings = fit_settings(**kind) | (settings or {})
        steps = 3 if options.get("staged") else STEPS
    return fit(folder, settings=settings, steps=steps, **options)


def curve_small(curve, folder, *, minutes=None, settings=None, steps=None, **options):
    """`learning_curve` of a narrow network in two steps."""
    return curve(folder, settings=fit_settings() | (settings or {}), steps=STEPS, **options)


def fit_settings(model=None, start=None, labels=None, staged=False):
    """The settings of a small fit, by the options that it has."""
    settings = {"batch_size": 2, "threads": 1}
    if labels == "folders":
        settings["model_options"] = {"width": WIDTH, "input_size": 32}
    else:
        settings["crop_size"] = [32, 32]
        if model and start:
            settings["model_options"] = {"width": WEIGHTS_WIDTH}
        elif model or staged:
            settings["model_options"] = {"width": WIDTH}
        elif not start:
            settings["model_options"] = {"width": WIDTH, "depth": 2}
    return settings


def small(words):
    """A command line with few steps and a narrow network, where it trains."""
    verb, words = words[0], list(words)
    option = functools.partial(option_of, words)
    own = {word.split("=")[0].split(".")[0] for before, word in itertools.pairwise(words) if before == "--set"}
    if verb == "fit":
        without(words, "--minutes")
        if "--resume" not in words and "--plan" not in words:
            for name in ("--steps", "--sizes", "--repeats"):
                without(words, name)
            settings = fit_settings(option("--model"), option("--start"), option("--labels"), "--staged" in words)
            words += ["--steps", str(3 if "--staged" in words else STEPS), *as_words(settings, own)]
            words += CURVE if "--learning-curve" in words else ()
    elif verb == "train" and "--show" not in words and "--resume" not in words:
        words = [re.sub(r"steps=\d+$", f"steps={STEPS}", word) for word in words]
        words += [*as_words(RECIPE, own), *["--no-pretrained"] * ("--no-pretrained" not in words)]
    elif verb == "demo":
        without(words, "--minutes")
    elif verb == "benchmark":
        while "--only" in words:
            without(words, "--only")
        words += ["--only", "confusion", *["--quick"] * ("--quick" not in words)]
    elif (verb == "predict" and "--resume" not in words) or verb == "heatmap":
        words += ["--overwrite"] * ("--overwrite" not in words)
    elif verb == "serve" and "--port" not in words:
        words += ["--port", "0"]
    return words


def as_words(settings, own=()):
    """`--set KEY=VALUE` of each, but for keys that the page sets itself."""
    return [
        word for key, value in settings.items() if key not in own for word in ("--set", f"{key}={json.dumps(value)}")
    ]


def option_of(words, name):
    """The value of an option, or None."""
    return words[words.index(name) + 1] if name in words else None


def without(words, name):
    """Take an option and its value away."""
    if name in words:
        place = words.index(name)
        del words[place : place + 2]
