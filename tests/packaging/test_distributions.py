"""Wheel and sdist: all that pixelwise needs where it is installed, and nothing else."""

import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
from packaging.requirements import Requirement

import pixelwise

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
NAME = f"pixelwise-{pixelwise.__version__}"
NEEDED = (  # what no import would miss before somebody uses it
    "py.typed",
    "models/facts.json",
    "report/page.html",
    "report/style.css",
    "server/page/index.html",
    "server/page/app.js",
    "server/page/icon.svg",
    "server/demo_model.safetensors",
)
KINDS = {".py", ".typed", ".json", ".html", ".css", ".js", ".svg", ".jpg", ".safetensors"}


@pytest.fixture(scope="module")
def built(tmp_path_factory) -> Path:
    """A folder with both; nothing is downloaded, and the tree is left as it is."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)], cwd=ROOT, check=True, capture_output=True
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built) -> dict[str, bytes]:
    """Its files."""
    with zipfile.ZipFile(built / f"{NAME}-py3-none-any.whl") as file:
        return {name: file.read(name) for name in file.namelist()}


@pytest.fixture(scope="module")
def metadata(wheel):
    """Its METADATA."""
    return Parser().parsestr(wheel[f"{NAME}.dist-info/METADATA"].decode())


def sources() -> dict[str, bytes]:
    """The package's files in the tree."""
    files = (path for path in (ROOT / "src" / "pixelwise").rglob("*") if path.is_file())
    return {
        path.relative_to(ROOT / "src").as_posix(): path.read_bytes()
        for path in files
        if "__pycache__" not in path.parts
    }


def test_the_wheel_holds_the_package_byte_by_byte_and_nothing_else(wheel):
    inside = {name: data for name, data in wheel.items() if not name.startswith(f"{NAME}.dist-info/")}
    assert inside.keys() == sources().keys()
    assert inside == sources()


def test_what_is_read_as_a_file_is_in_the_wheel_and_no_file_of_an_unknown_kind(wheel):
    assert {f"pixelwise/{name}" for name in NEEDED} <= wheel.keys()
    assert {Path(name).suffix for name in wheel if name.startswith("pixelwise/")} == KINDS


def test_the_sdist_builds_the_same_wheel(built, wheel, tmp_path):
    with tarfile.open(built / f"{NAME}.tar.gz") as file:
        file.extractall(tmp_path, filter="data")
    tree = tmp_path / NAME
    tops = {path.name for path in tree.iterdir()}
    assert tops - {".gitignore"} == {
        "src", "pyproject.toml", "constraints.txt", "README.md", "LICENSE", "CHANGELOG.md", "CITATION.cff", "PKG-INFO",
    }  # fmt: skip
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", "dist"],
        cwd=tree,
        check=True,
        capture_output=True,
    )
    with zipfile.ZipFile(tree / "dist" / f"{NAME}-py3-none-any.whl") as file:
        assert {name: file.read(name) for name in file.namelist()} == wheel


def test_the_metadata_are_those_of_the_project(metadata, wheel):
    assert metadata["Name"] == "pixelwise" and metadata["Version"] == pixelwise.__version__
    assert metadata["Summary"] == PROJECT["description"]
    assert metadata["Requires-Python"] == PROJECT["requires-python"]
    assert metadata["License-Expression"] == "Apache-2.0"
    assert f"{NAME}.dist-info/licenses/LICENSE" in wheel
    assert metadata["Description-Content-Type"] == "text/markdown"
    assert metadata.get_payload().strip() == (ROOT / "README.md").read_text(encoding="utf-8").strip()
    assert metadata.get_all("Classifier") == PROJECT["classifiers"]
    scripts = wheel[f"{NAME}.dist-info/entry_points.txt"].decode().split("\n")
    assert "pixelwise = pixelwise.cli.main:main" in scripts


def test_the_wheel_asks_for_what_the_project_says_with_each_extra(metadata):
    extras = PROJECT["optional-dependencies"]
    assert set(metadata.get_all("Provides-Extra")) == set(extras)
    asked = list(map(Requirement, metadata.get_all("Requires-Dist")))
    always = {(_plain(need.name), need.specifier) for need in asked if need.marker is None}
    assert always == {(_plain(need.name), need.specifier) for need in map(Requirement, PROJECT["dependencies"])}
    for extra, needs in extras.items():
        more = {_plain(need.name) for need in asked if need.marker and need.marker.evaluate({"extra": extra})}
        assert more == {_plain(Requirement(need).name) for need in needs}


def test_every_dependency_has_a_pinned_version_that_its_range_allows():
    """`pip install -c constraints.txt` installs what the tests ran with."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = {_plain(line.partition("==")[0]): line.partition("==")[2] for line in lines if line and line[0] != "#"}
    needs = [*PROJECT["dependencies"], *(need for extra in PROJECT["optional-dependencies"].values() for need in extra)]
    named = [Requirement(need) for need in needs if _plain(Requirement(need).name) in pins]
    assert all(need.specifier.contains(pins[_plain(need.name)]) for need in named)
    left = {need.name for need in map(Requirement, needs)} - {need.name for need in named}
    assert left <= {"tensorboard", "timm"}  # which the tests stand in for, and do not install


def _plain(name: str) -> str:
    return name.lower().replace("_", "-").replace(".", "-")


def test_only_versions_of_python_are_named_that_the_tests_run_on():
    named = [
        c.rpartition(" ")[2] for c in PROJECT["classifiers"] if c.startswith("Programming Language :: Python :: 3.")
    ]
    assert named == ["3.11"]
    assert PROJECT["requires-python"] == ">=3.11"


def test_types_are_shipped_for_every_module_that_can_be_imported(wheel):
    assert wheel["pixelwise/py.typed"] == b""
    assert "Typing :: Typed" in PROJECT["classifiers"]


def test_no_file_of_the_package_names_a_place_of_one_machine(wheel):
    places = (b"/root/", b"/home/", b"/tmp/")
    assert [name for name, data in wheel.items() if any(place in data for place in places)] == []
