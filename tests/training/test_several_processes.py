"""Several processes make the steps of one: two of them, by Gloo, beside one with the same batches."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import pixelwise as pw
from pixelwise.cli.main import main
from pixelwise.errors import BadOption
from pixelwise.flow.evaluate import evaluate_folder
from pixelwise.flow.predicting.predict import find_pictures, predict_files
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.models import build
from pixelwise.processes import ALONE, Processes, joined
from pixelwise.segmenter import Segmenter

from .conftest import Arrays

SCRIPT = '''
import json, os, sys
from pathlib import Path
import numpy as np, torch
from torch import nn
sys.path.insert(0, os.environ["HERE"])
from conftest import Arrays
from pixelwise.data.batch import Batches
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.resample import Resampling
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.training.loop import StepLogged, train
from pixelwise.processes import joined
from pixelwise.training.recipe import Recipe

class Small(nn.Module):
    """No batch norm and no dropout: each picture for itself; one layer that no loss reaches."""
    def __init__(self):
        super().__init__()
        self.first, self.score = nn.Conv2d(3, 8, 3, 2, 1), nn.Conv2d(8, 2, 1)
        self.unused = nn.Conv2d(8, 2, 1)
    def heads(self, images):
        scores = self.first(images).relu()
        grid = Resampling.half_pixel(tuple(scores.shape[-2:]), tuple(images.shape[-2:]))
        return {"logits": Head(self.score(scores), grid), "other": Head(self.unused(scores), grid)}

N = Normalization((80.0,) * 3, (60.0,) * 3)
found = {}
with joined() as processes:
    data = Arrays()
    for i in range(0, 6, 2):
        data.samples[i].targets["labels"][:30 + i] = 255  # parts with few valid pixels, and parts with many
    for name, changes in json.loads(os.environ["CASES"]).items():
        stops = changes.pop("stops", False)
        torch.manual_seed(0)
        network = Small()
        recipe = Recipe.from_record({"model": "unet", "crop_size": [32, 32], "batch_size": 3, "steps": 4, "rate": 0.05,
            "optimizer": "sgd", "momentum": 0.5, "validate_every": 4, "log_every": 1} | changes)
        batches = Batches(data, crop_size=recipe.crop_size, batch_size=recipe.batch_size,
            augmentation=recipe.augmentation, fill=N.fill, seed=0, part=(processes.rank, processes.count))
        state = Path(os.environ["OUT"]) / f"{name}.pt"
        events = train(network, N, batches, recipe, validate=lambda n: evaluate_network(n, N, data).scores,
            state_file=state, processes=processes, resume=True,
            should_stop=lambda s: "interrupted" if stops and processes.count == 2 else None)
        losses = [event.loss for event in events if isinstance(event, StepLogged)]
        found[name] = {"losses": losses, "weight": network.score.weight.flatten().tolist()}
        if processes.leads:
            (Path(os.environ["OUT"]) / "found.json").write_text(json.dumps(found))
        if name == "stopped" and processes.rank == 1:
            os._exit(3)
'''

CASES = {
    "plain": {},
    "weights": {"class_weights": [0.2, 5.0], "loss_normalization": "counted"},
    "dice": {"loss": "cross_entropy_dice"},
    "lovasz": {"loss": "lovasz"},
    "focal": {"loss": "focal"},
    "hard": {"hard_share": 0.3},
    "kept": {"keep": 0.4},
    "images": {"loss_normalization": "images", "accumulate": 2},
    "stopped": {"stops": True},
}
AFTER = {"more": {}}  # when the second process is gone


@pytest.fixture(scope="module")
def ran(several):
    """[Ran] of processes that train the cases and write what they find into a folder."""

    def ran(count, out, cases):
        out.mkdir(exist_ok=True)
        return several([], count, code=SCRIPT, HERE=str(Path(__file__).parent), OUT=str(out), CASES=json.dumps(cases))

    return ran


def found(out):
    return json.loads((out / "found.json").read_text())


@pytest.fixture(scope="module")
def runs(tmp_path_factory, ran):
    """What one process finds, what two find, how the two ended, and their folder."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    (alone,) = ran(1, one, CASES)
    assert alone.code == 0, alone.error
    ended = ran(2, two, CASES | AFTER)
    return found(one), found(two), ended, two


def test_two_processes_give_the_losses_and_weights_of_one_with_the_same_batches(runs):
    """Parts of 1 and 2 pictures, with other numbers of valid pixels: a mean of means would be another number."""
    one, two, _, _ = runs
    for name in CASES.keys() - {"stopped"}:
        assert len(one[name]["losses"]) == 4
        assert two[name]["losses"] == pytest.approx(one[name]["losses"], rel=1e-4, abs=1e-6), name
        assert two[name]["weight"] == pytest.approx(one[name]["weight"], rel=1e-3, abs=1e-5), name


def test_a_process_that_ends_is_told_by_the_others_in_one_line(runs):
    """After the case "stopped" the second process is gone."""
    _, _, (first, second), folder = runs
    assert (first.code, second.code) == (1, 3)
    assert "TrainingError: another process of this run ended or cannot be reached" in first.error
    assert "run again with --resume" in first.error
    assert (folder / "stopped.pt").exists()


def test_a_run_of_two_goes_on_as_one_and_ends_the_same(runs, ran):
    one, two, _, folder = runs
    assert len(two["stopped"]["losses"]) == 1
    (alone,) = ran(1, folder, {"stopped": {}})
    assert alone.code == 0, alone.error
    rest = found(folder)["stopped"]
    assert two["stopped"]["losses"] + rest["losses"] == pytest.approx(one["stopped"]["losses"], rel=1e-4)
    assert rest["weight"] == pytest.approx(one["stopped"]["weight"], rel=1e-3, abs=1e-5)


def test_alone_everything_is_its_own(monkeypatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with joined() as processes:
        assert processes is ALONE and processes.leads
        values = torch.arange(3.0, requires_grad=True)
        assert processes.total(values) is values
        assert processes.collected(values)[1] == slice(0, 3)
        assert processes.gathered(5) == [5] and processes.told("a") == "a" and processes.any(True)


def test_shares_cover_everything_once():
    for count in (1, 2, 3, 5):
        for length in (0, 1, 4, 7):
            covered = [i for rank in range(count) for i in range(length)[Processes(rank, count).share(length)]]
            assert covered == list(range(length))


def test_processes_that_torchrun_did_not_start_are_refused(monkeypatch):
    monkeypatch.setenv("WORLD_SIZE", "2")
    for name in ("RANK", "LOCAL_RANK", "MASTER_ADDR", "MASTER_PORT"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(BadOption, match="start several processes with torchrun"), joined():
        pass


@pytest.fixture(scope="module")
def model_and_folder(tmp_path_factory):
    home = tmp_path_factory.mktemp("shared")
    for kind in ("images", "masks"):
        (home / "data" / kind).mkdir(parents=True)
    for sample in Arrays(5).samples:
        Image.fromarray(sample.image).save(home / "data" / "images" / f"{sample.name}.png")
        Image.fromarray(sample.targets["labels"]).save(home / "data" / "masks" / f"{sample.name}.png")
    torch.manual_seed(0)
    options = {"num_classes": 2, "width": 0.0625, "depth": 3}
    normalization = Normalization((80.0,) * 3, (60.0,) * 3)
    segmenter = Segmenter(
        build("unet", **options), normalization, LabelSet(("0", "1")), {"builder": "unet", "options": options}
    )
    segmenter.save(home / "model.safetensors")
    return home / "model.safetensors", home / "data"


def test_two_processes_evaluate_and_predict_as_one_and_the_first_one_speaks(model_and_folder, several, tmp_path):
    """In terminals, too, where bars would be drawn."""
    model, data = model_and_folder
    segmenter = pw.load(model)
    one = evaluate_folder(segmenter, data)[1].to_record()
    first, second = several(["evaluate", model, data, "--json"])
    assert (first.code, second.code, second.out) == (0, 0, ""), first.error
    two = json.loads(first.out)
    assert {key: two[key] for key in one if key != "seconds_per_megapixel"} == json.loads(json.dumps(one))
    asked = ["predict", model, data / "images", "--save", "mask,areas,coco", "--out"]
    first, second = several([*asked, tmp_path / "out"], terminals=True)
    assert (first.code, second.code, second.out) == (0, 0, ""), first.out
    assert "5 pictures segmented" in first.out
    predict_files(segmenter, find_pictures([str(data / "images")]), tmp_path / "one", kinds="mask,areas,coco")
    for table in ("areas.csv", "coco.json"):
        assert (tmp_path / "out" / table).read_bytes() == (tmp_path / "one" / table).read_bytes()
    for file in sorted((data / "images").iterdir()):
        expected = segmenter.predict(file).labels
        assert (np.asarray(Image.open(tmp_path / "out" / "mask" / file.name)) == expected).all()
    first, second = several(["evaluate", model, data], terminals=True)
    assert (first.code, second.code, second.out) == (0, 0, ""), first.out
    assert "Mean IoU" in first.out


def test_commands_that_are_not_shared_say_so(model_and_folder, monkeypatch, capsys):
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(SystemExit) as ended:
        main(["check", str(model_and_folder[1])])
    assert ended.value.code == 2
    assert "pixelwise, process 1: check runs in one process; leave out torchrun" in capsys.readouterr().err
