"""Write the page of the commands, `docs/reference/commands.md`: `python docs/generate/commands_page.py`."""

import ast
import inspect
import re
from pathlib import Path
from typing import Any

import typer

from pixelwise.cli import main as cli

ROOT = Path(__file__).parents[2]
HEAD = """\
# Commands

Written by `docs/generate/commands_page.py` from the code; on the terminal: `pixelwise --help`, and `--help` behind each
command. `--debug` before or behind a command shows the whole traceback of an error.

## Exit codes

| code | means |
| --- | --- |
| 0 | fine |
| 1 | a problem in the input or the data; one line on the standard error says which, and what to do |
| 2 | wrong usage: an option, a value or a name that is not known |
| 130 | interrupted by Ctrl-C; files that were being written are whole or not there |

With `--json` one object stands on the standard output and nothing else; where the input is at fault, the commands that
can say so in JSON print `{"error": …}`, and the exit code is the same.

## Environment

| variable | means |
| --- | --- |
| `PIXELWISE_CACHE` | the folder of the cache; `~/.cache/pixelwise` if left out ([what it holds](files.md)) |
| `PIXELWISE_OFFLINE` | `1` forbids downloads |
| `PIXELWISE_MIRROR` | an address that is asked before the publishers of weights |
"""
EXITS = {
    "fit": {130: "stopped early; the best model so far and its report are written"},
    "train": {130: "stopped early; `--resume` goes on"},
    "check": {1: "also where a fault stops a fit, when it was listed"},
    "predict": {
        1: "also where a picture could not be read; the results of the others are written",
        130: "the results so far are whole; `--resume` goes on",
    },
    "tune-crf": {1: "also where nothing could be tuned or stored", 130: "the model is unchanged"},
    "demo": {130: "stopped before its model was trained to the end"},
    "benchmark": {1: "also where two results that must be equal are not"},
}
"""{command: {code: what it means there}}, of the commands that end with a code of their own."""


def commands() -> dict[str, Any]:
    """{name: click's command}, in the order of the help."""
    group: Any = typer.main.get_command(cli.app)
    return dict(group.commands)


def own_exits() -> dict[str, set[int]]:
    """{command: the codes but 0 with which its function itself ends}, read off the code."""
    found = {}
    for name, command in commands().items():
        code = ast.parse(inspect.getsource(inspect.unwrap(command.callback)))
        codes = {one.args[0].value for one in ast.walk(code) if is_exit(one) and one.args}
        if codes - {0}:
            found[name] = codes - {0}
    return found


def is_exit(node: ast.AST) -> bool:
    """Whether it is `typer.Exit(…)`."""
    return isinstance(node, ast.Call) and ast.unparse(node.func) == "typer.Exit"


def name_of(argument: Any) -> str:
    """What stands for an argument: `FOLDER`, or `FILE…` for several."""
    name = (argument.metavar or argument.name.upper()).rstrip("….")
    return f"{name}…" if argument.nargs == -1 else name


def row(parameter: Any, context: Any) -> str:
    """A line of the table."""
    names, told = parameter.get_help_record(context)
    if parameter.param_type_name == "argument":
        choices = re.search(r"<([^<>]*\|[^<>]*)>", names)
        if choices:
            told = f"{told.removesuffix(' [required]').rstrip('.')}: {choices[1].replace('|', ', ')}."
        names = name_of(parameter)
    names = re.sub(r"<([^<>]*)>", lambda kind: kind[1] if "|" in kind[1] else kind[1].upper(), names)
    names = ", ".join(f"`{name.strip()}`" for name in names.replace(" / ", ", ").split(", "))
    told = re.sub(r"\s*\[required\]$", " Required." if parameter.param_type_name == "option" else "", told)
    told = re.sub(r"\s*\[default: (.*)\]$", r" Default: `\1`.", told)
    told = re.sub(r"\s*\[env var: (\w+)\]$", r" `\1` in the environment does the same.", told)
    if parameter.multiple:
        told += " May stand several times." if "several times" not in told else ""
    cells = [" ".join(cell.replace("|", "\\|").split()) for cell in (names, told)]
    return f"| {' | '.join(cells)} |"


def section(name: str, command: Any) -> str:
    """What there is to say of a command."""
    context = command.make_context(f"pixelwise {name}", [], resilient_parsing=True)
    needed = [
        name_of(one) if one.required else f"[{name_of(one)}]"
        for one in command.params
        if one.param_type_name == "argument"
    ]
    needed += [
        f"{one.opts[0]} {one.metavar or one.name.upper()}"
        for one in command.params
        if one.param_type_name == "option" and one.required
    ]
    usage = " ".join([*needed, "[OPTIONS]"])
    lines = [f"## {name}", "", as_markdown(inspect.cleandoc(command.help or "")), ""]
    lines += ["```text", f"pixelwise {name} {usage}", "```", ""]
    for kind, title in (("argument", "argument"), ("option", "option")):
        rows = [row(one, context) for one in command.params if one.param_type_name == kind and not one.hidden]
        if rows:
            lines += [f"| {title} | |", "| --- | --- |", *rows, ""]
    lines += [f"- exit code {code}: {told}" for code, told in EXITS.get(name, {}).items()]
    return "\n".join(lines).rstrip() + "\n"


def as_markdown(text: str) -> str:
    """A help text without what Markdown would take for its own."""
    return re.sub(r"\n{3,}", "\n\n", text.replace("\b\n", ""))


def page() -> str:
    """The page of the documentation."""
    known = commands()
    rows = [f"| [`pixelwise {name}`](#{name}) | {first(command.help)} |" for name, command in known.items()]
    table = "\n## All commands\n\n| command | |\n| --- | --- |\n" + "\n".join(rows) + "\n"
    return HEAD + table + "".join(f"\n{section(name, command)}" for name, command in known.items())


def first(text: str | None) -> str:
    """The first paragraph of a help text, in a line."""
    return " ".join(inspect.cleandoc(text or "").partition("\n\n")[0].split())


def main() -> None:
    """Write the page."""
    (ROOT / "docs" / "reference" / "commands.md").write_text(page(), encoding="utf-8")


if __name__ == "__main__":
    main()
