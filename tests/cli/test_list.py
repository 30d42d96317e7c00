"""`pixelwise list`: names first, facts beside them, nothing slow imported."""

import io
import json
import subprocess
import sys

import pytest
from rich.console import Console

import pixelwise as pw
from pixelwise.cli.main import main
from pixelwise.cli.show.lists import models_table, print_models
from pixelwise.errors import BadOption, UnknownName


def listed(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["list", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_each_line_begins_with_a_name(capsys):
    lines = listed(capsys, "models").splitlines()
    assert [line.split()[0] for line in lines] == pw.list_models()
    assert len({len(line) for line in lines}) == 1  # aligned
    (fcn,) = (line for line in lines if line.startswith("fcn32s_vgg16 "))
    assert fcn.split("  ", 1)[1].split() == ["Long", "et", "al.", "2015", "134.3", "M", "180.9", "G", "32", "404"]
    (pspnet,) = (line for line in lines if line.startswith("pspnet_resnet50 "))
    assert pspnet.endswith(" whole")


def test_json_holds_all_facts(capsys):
    records = json.loads(listed(capsys, "models", "--json"))["models"]
    assert [record["name"] for record in records] == pw.list_models()
    known = {"name", "authors", "title", "year", "link", "parameters", "multiply_adds", "output_stride"}
    assert all(set(record) == known | {"receptive_field"} for record in records)
    assert next(r for r in records if r["name"] == "deeplab_v3_resnet50")["receptive_field"] is None


def test_each_data_set_has_a_line_with_its_classes_and_splits(capsys):
    lines = listed(capsys, "datasets").splitlines()
    assert [line.split()[0] for line in lines] == pw.list_datasets()
    assert max(map(len, lines)) <= 80
    assert "cityscapes         19  train 2975, val 500, test 1525, train_extra 19998" in lines
    assert "sift_flow        33+3  trainval 2486, test 200, all 2686" in lines


def test_the_json_of_data_sets_holds_names_and_details(capsys):
    found = json.loads(listed(capsys, "datasets", "--json"))
    assert found["datasets"] == pw.list_datasets() == list(found["details"])
    assert found["details"]["folder"] is None
    context = found["details"]["pascal_context"]
    assert context["splits"] == {"train": 4998, "val": 5105, "trainval": 10103}
    assert context["options"] == {"classes": ["60", "59", "33", "459"]}
    assert (context["protocol"], len(context["classes"]["labels"])) == ("context60", 60)
    assert found["details"]["sift_flow"]["classes"]["geometric"] == ["sky", "horizontal", "vertical"]
    camvid = found["details"]["camvid"]
    assert dict(zip(camvid["classes"]["labels"], camvid["palette"]["labels"], strict=True))["Road"] == [128, 64, 128]


@pytest.mark.parametrize("width", [80, 120])
def test_on_a_terminal_networks_stand_under_their_papers(width):
    file = io.StringIO()
    print_models(Console(file=file, force_terminal=True, color_system=None, width=width), models_table())
    lines = file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    names = [line.split()[0] for line in lines[1:] if line.startswith("  ")]
    assert names == pw.list_models()
    heading = lines.index("Zhao et al. 2017  Pyramid Scene Parsing Network")
    assert lines[heading + 1].split() == ["pspnet_resnet50", "46.7", "M", "177.9", "G", "8", "whole"]


def test_torch_is_not_imported():
    code = (
        "import sys\n"
        "from pixelwise.cli.main import main\n"
        "try:\n    main(['list', 'models'])\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split()[0] == pw.list_models()[0]


def test_a_misspelt_name_or_option_is_answered_with_the_right_one():
    with pytest.raises(UnknownName, match="no model is called 'pspnet_resnt50'; did you mean 'pspnet_resnet50'"):
        pw.build("pspnet_resnt50", num_classes=21)
    message = r"has no option 'output_strid'; did you mean 'output_stride'\? It takes \(\*, num_classes: int, in_chan"
    with pytest.raises(BadOption, match=message):
        pw.build("deeplab_v3_resnet50", num_classes=21, output_strid=8)
