"""The catalogue of published weights: every record can be acted on, and agrees with the formats and networks."""

import json
import re
import subprocess
import sys

import pytest
import torch
from rich.console import Console

import pixelwise as pw
from pixelwise.backbones import CLASSIFIERS
from pixelwise.cli.main import main
from pixelwise.cli.show.lists import print_weights, weights_table
from pixelwise.models import MODELS
from pixelwise.weights.all_formats import WEIGHT_FORMATS
from pixelwise.weights.catalogue import CATALOGUE, list_weights
from pixelwise.weights.detection import Unfilled, network_of
from pixelwise.weights.download import checked_address
from pixelwise.weights.label_sets import LABEL_SETS

RECORDS = [pytest.param(record, id=name) for name, record in CATALOGUE.items()]


@pytest.mark.parametrize("record", RECORDS)
def test_a_record_names_a_format_of_its_network_and_agrees_with_it(record):
    format = WEIGHT_FORMATS[record.format]
    assert format.model == record.network
    assert record.classifier == (record.network in CLASSIFIERS) == (record.network not in MODELS)
    if format.labels is not None:
        assert record.labels == format.labels
    assert format.normalization is not None
    assert (record.mean, record.deviation) == (format.normalization.mean, format.normalization.deviation)


@pytest.mark.parametrize("record", RECORDS)
def test_a_segmenter_has_classes_and_a_classifier_has_none(record):
    if record.classifier:
        assert record.labels is record.classes is None
    else:
        assert (record.labels is None) != (record.classes is None)
        assert record.labels is None or record.labels in LABEL_SETS


@pytest.mark.parametrize("record", RECORDS)
def test_a_file_can_be_asked_for_and_known_again(record):
    """One that has no address has a page where a person finds it; nobody's own file is offered as theirs."""
    assert record.source and (record.addresses or record.page)
    for address in record.addresses:
        checked_address(address)
        assert address.endswith(f"/{record.file}")
    assert re.fullmatch(r"[\w.-]+\.(pth|caffemodel)", record.file)
    if record.digest is not None:
        algorithm, digits = record.digest.split(":")
        assert re.fullmatch(r"[0-9a-f]+", digits)
        whole = {"sha256": 64, "sha1": 40, "md5": 32}[algorithm]
        assert len(digits) == whole or (algorithm == "sha256" and f"-{digits}.pth" in record.file)


def test_files_lie_in_one_folder_so_that_their_names_differ():
    files = [record.file for record in CATALOGUE.values()]
    assert len(files) == len(set(files))


@pytest.mark.parametrize("name", ["torchvision_fcn_resnet50_voc", "vgg16_imagenet"])
def test_sizes_of_torchvision_are_those_of_the_tensors_and_a_little_more(name):
    """Four bytes a number; eight for each batch norm's counter; the rest is names."""
    record = CATALOGUE[name]
    with torch.device("meta"), Unfilled():
        options = {} if record.classifier else {"num_classes": 21, "auxiliary": True}
        network = network_of(record.network, **options)
    tensors = network.state_dict().values()
    held = sum(t.numel() * t.element_size() for t in tensors)
    assert 0 <= record.size - held < 1000 * len(tensors)


def test_names_are_listed_and_the_two_of_the_design_are_among_them():
    assert pw.list_weights() == list_weights() == list(CATALOGUE)
    assert {"torchvision_deeplab_v3_resnet101_voc", "fcn8s_vgg16_voc", "vgg16_imagenet", "resnet50_imagenet"} <= {
        *CATALOGUE
    }
    assert all(name == record.name for name, record in CATALOGUE.items())


def listed(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["list", "weights", *arguments])
    assert ended.value.code == 0
    return capsys.readouterr().out


def test_each_line_begins_with_a_name_and_says_how_to_get_the_file(capsys, monkeypatch):
    lines = listed(capsys).splitlines()
    assert [line.split()[0] for line in lines] == list_weights()
    (deeplab,) = (line for line in lines if line.startswith("torchvision_deeplab_v3_resnet101_voc "))
    assert deeplab.split()[1:4] == ["245", "MB", "download"] and "mean IoU 67.4" in deeplab
    (pspnet,) = (line for line in lines if line.startswith("pspnet_resnet101_voc "))
    assert pspnet.split()[1:3] == ["unknown", "bring"]


def test_json_holds_all_facts_and_what_is_here(capsys):
    records = json.loads(listed(capsys, "--json"))["weights"]
    assert [record["name"] for record in records] == list_weights()
    (vgg,) = (record for record in records if record["name"] == "vgg16_imagenet")
    assert vgg["digest"] == "sha256:397923af" and vgg["addresses"][0].endswith("/vgg16-397923af.pth")
    assert vgg["license"] and not vgg["here"] and vgg["place"].endswith("weights/vgg16-397923af.pth")


def test_on_a_terminal_lines_are_cut_to_its_width(capsys):
    console = Console(force_terminal=True, color_system=None, width=80)
    print_weights(console, weights_table())
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert sum("…" in line for line in lines) == 0  # the first number fits
    assert any(line.endswith("download  mean IoU 65.5") for line in lines)


def test_torch_is_not_imported():
    code = (
        "import sys\n"
        "from pixelwise.cli.main import main\n"
        "try:\n    main(['list', 'weights'])\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
