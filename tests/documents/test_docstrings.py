"""Every public name has a docstring that tells its arguments, its errors, and the shapes of its arrays."""

import ast
import builtins
import inspect
import re
import textwrap
from functools import cache

import pytest

from pixelwise import errors

from .test_generated_pages import script

PAGES = script("python_pages")
PUBLIC = re.findall(r"^::: (\S+)$", "".join(PAGES.pages().values()), re.M)
EVIDENT = frozenset(
    "self cls path record name out progress images image heads network recipe optimizer segmenter dataset event other "
    "folder num_classes in_channels width".split()
)
"""Arguments that their name and type tell; the last three are those of all builders, told once on their page."""


def members(kind):
    """(name, function) of the public methods and properties that a class itself has."""
    for name, value in vars(kind).items():
        if not name.startswith("_"):
            function = getattr(value, "__func__", value.fget if isinstance(value, property) else value)
            if inspect.isfunction(function):
                yield name, function


def written_here(made):
    """Whether a class has an __init__ of its own, which no dataclass and no protocol made."""
    return inspect.isfunction(made) and "pixelwise" in made.__code__.co_filename


def told_of(path):
    """(name, function, docstring) of a public name and its members; a class has no function where others write it."""
    value = PAGES.value_of(path)
    if inspect.isclass(value):
        own = inspect.cleandoc(value.__doc__ or "")
        made = vars(value).get("__init__")
        yield path, made if written_here(made) else None, own
        for name, function in members(value):
            yield f"{path}.{name}", function, inspect.cleandoc(function.__doc__ or "")
    elif inspect.isfunction(value):
        yield path, value, inspect.cleandoc(value.__doc__ or "")


@cache
def everything():
    """[(name, function, docstring, that of the class)] of all that is public."""
    found = []
    for path in PUBLIC:
        entries = list(told_of(path))
        own = entries[0][2] if entries else ""
        found += [(*entry, own) for entry in entries]
    return found


@cache
def by_last_name():
    """{last part of a name: docstrings}."""
    found = {}
    for name, _, docstring, _ in everything():
        found.setdefault(name.rpartition(".")[2], []).append(docstring)
    return found


def words_of(docstring, own):
    """A docstring with that of its class, and those that it names in backquotes."""
    named = re.findall(r"`(?:\w+\.)*(\w+)`", docstring)
    return "\n".join([docstring, own, *(text for name in named for text in by_last_name().get(name, ()))])


def raised_by(function):
    """The exceptions that a function itself raises."""
    tree = ast.parse(textwrap.dedent(inspect.getsource(inspect.unwrap(function))))
    called = (
        node.exc.func for node in ast.walk(tree) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)
    )
    names = {ast.unparse(one).rpartition(".")[2] for one in called}
    return {
        "UnknownName" if name == "unknown_name" else name
        for name in names
        if re.fullmatch(r"unknown_name|[A-Z]\w+", name)
    }


def with_bases(name):
    """An exception's name and those of the exceptions above it."""
    kind = getattr(errors, name, None) or getattr(builtins, name, None)
    return {one.__name__ for one in kind.__mro__} if kind is not None else {name}


def test_there_is_a_docstring():
    assert len(everything()) > 350
    assert [name for name, _, docstring, _ in everything() if not docstring] == []


def test_arguments_are_told_where_name_and_type_do_not_tell_them():
    missing = []
    for name, function, docstring, own in everything():
        if function is None:
            continue
        words = words_of(docstring, own)
        for argument, parameter in inspect.signature(function).parameters.items():
            open_ended = parameter.kind in (parameter.VAR_KEYWORD, parameter.VAR_POSITIONAL)
            if argument not in EVIDENT and not open_ended and not re.search(rf"\b{argument}\b", words):
                missing.append(f"{name}({argument})")
    assert missing == []


def test_errors_that_a_function_raises_are_told():
    missing = []
    for name, function, docstring, own in everything():
        if function is not None:
            words = words_of(docstring, own)
            kinds = raised_by(function) - {"AssertionError", "NotImplementedError", "AttributeError", "IndexError"}
            missing += [f"{name}: {kind}" for kind in kinds if not any(base in words for base in with_bases(kind))]
    assert missing == []


def test_shapes_of_arrays_and_tensors_are_told():
    missing = []
    for name, function, docstring, own in everything():
        if function is None or name.rpartition(".")[2] == "forward":
            continue
        taken = re.search(r"\b(Tensor|NDArray|ndarray)\b", str(inspect.signature(function)))
        if taken and not re.search(r"\([^()]*(?<!\w)[A-Zhwn](?!\w)[^()]*\)|shape", words_of(docstring, own)):
            missing.append(name)
    assert missing == []


@pytest.mark.parametrize("argument", ["num_classes", "in_channels", "width"])
def test_what_all_builders_take_is_told_on_their_page(argument):
    assert f"`{argument}`" in (PAGES.PAGES / "python" / "models.md").read_text(encoding="utf-8")
