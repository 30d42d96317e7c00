"""The loop: exact resume, and a clear outcome for everything that can go wrong."""

import errno
import logging
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pixelwise.data.batch import Batches
from pixelwise.errors import CheckpointError, TrainingError
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.layers.normalization import Normalization
from pixelwise.layers.small_batch import warn_once
from pixelwise.models import build
from pixelwise.training.loop import Ended, StepLogged, Validated, train
from pixelwise.training.recipe import Recipe
from pixelwise.training.state import load_state, save_state

NORMALIZATION = Normalization((80.0, 80.0, 80.0), (60.0, 60.0, 60.0))


def recipe(**changes):
    record = {
        "model": "unet",
        "model_options": {"num_classes": 2, "width": 0.0625, "depth": 3},
        "crop_size": [32, 32],
        "batch_size": 2,
        "steps": 8,
        "rate": 0.01,
        "average": 0.9,
        "validate_every": 3,
        "log_every": 1,
        "threads": 1,
        "loss": "cross_entropy_dice",
        "augmentation": {"scale": [0.8, 1.2], "rotation": 10, "brightness": 0.1},
    }
    return Recipe.from_record(record | changes)


def run(folder, data, plan, *, resume=False, stop_at=None, network=None):
    """All events of a run, and the network."""
    torch.manual_seed(0)
    network = network or build(plan.model, **plan.model_options)
    batches = Batches(
        data,
        crop_size=plan.crop_size,
        batch_size=plan.batch_size,
        augmentation=plan.augmentation,
        fill=NORMALIZATION.fill,
        seed=plan.seed,
        class_crops=0.5,
        class_shares=[0.5, 0.5],
        presence=np.ones((len(data), 2), bool),
    )
    logged = 0

    def should_stop(seconds):
        nonlocal logged
        logged += 1
        return "interrupted" if stop_at is not None and logged >= stop_at else None

    events = list(
        train(
            network,
            NORMALIZATION,
            batches,
            plan,
            validate=lambda n: evaluate_network(n, NORMALIZATION, data).scores,
            state_file=folder / "state.pt",
            resume=resume,
            should_stop=should_stop,
        )
    )
    return events, network


def same(a, b):
    return all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))


def test_events_come_in_order(tmp_path, arrays):
    events, _ = run(tmp_path, arrays(), recipe())
    assert [e.step for e in events if isinstance(e, StepLogged)] == list(range(1, 9))
    assert [e.step for e in events if isinstance(e, Validated)] == [3, 6, 8]
    assert isinstance(events[-1], Ended)
    assert events[-1].reason == "finished"


@pytest.mark.parametrize("stop_at", range(1, 9))
def test_a_stopped_and_resumed_run_ends_with_the_same_bits(tmp_path, arrays, stop_at):
    data, plan = arrays(), recipe()
    whole, expected = run(tmp_path / "whole", data, plan)
    first, _ = run(tmp_path / "parts", data, plan, stop_at=stop_at)
    assert first[-1].reason == ("interrupted" if stop_at < 8 else "finished")
    second, network = run(tmp_path / "parts", data, plan, resume=True)
    assert same(network, expected)
    expected_best = {e.step: (e.scores.mean_iou, e.best) for e in whole if isinstance(e, Validated)}
    seen = {e.step: (e.scores.mean_iou, e.best) for e in (*first, *second) if isinstance(e, Validated)}
    assert {step: seen[step] for step in expected_best} == expected_best


def test_the_same_seed_gives_the_same_bits_and_another_does_not(tmp_path, arrays):
    first = run(tmp_path / "a", arrays(), recipe())[1]
    again = run(tmp_path / "b", arrays(), recipe())[1]
    other = run(tmp_path / "c", arrays(), recipe(seed=1))[1]
    assert same(first, again)
    assert not same(first, other)


def test_it_learns(tmp_path, arrays):
    events, _ = run(tmp_path, arrays(), recipe(steps=60, validate_every=20, log_every=10))
    assert [e for e in events if isinstance(e, Validated)][-1].scores.mean_iou > 0.8


def test_a_plateau_ends_the_run_and_resume_does_not_go_on(tmp_path, arrays):
    plan = recipe(steps=1000, validate_every=1, patience=3, rate=1e-12, average=0)
    events, _ = run(tmp_path, arrays(), plan)
    assert events[-1].reason == "plateau"
    assert events[-1].step < 60
    again, _ = run(tmp_path, arrays(), plan, resume=True)
    assert len(again) == 1
    assert again[0].reason == "plateau"


def test_not_a_number_names_step_and_pictures_and_keeps_the_state(tmp_path, arrays):
    data = arrays()
    plan = recipe(rate=1e-3)
    network = build(plan.model, **plan.model_options)
    run(tmp_path, data, recipe(steps=3, rate=1e-3))
    before = (tmp_path / "state.pt").read_bytes()
    with torch.no_grad():
        network.score.bias.fill_(float("nan"))
    with pytest.raises(TrainingError, match=r"the loss is not a finite number at step 0 .* pictures picture-\d, pict"):
        run(tmp_path, data, plan, network=network)
    assert (tmp_path / "state.pt").read_bytes() == before


def test_an_all_void_batch_is_no_update(tmp_path, arrays):
    torch.manual_seed(0)
    plan = recipe(steps=2, average=0)
    before = build(plan.model, **plan.model_options)
    events, network = run(tmp_path, arrays(void_rows=40), plan)
    assert same(network, before)
    assert all(e.loss == 0 for e in events if isinstance(e, StepLogged))


def test_a_batch_of_one_on_the_smallest_map_trains(tmp_path, arrays, caplog):
    warn_once.cache_clear()
    plan = recipe(batch_size=1, crop_size=[4, 4], steps=2)
    with caplog.at_level(logging.WARNING):
        events, _ = run(tmp_path, arrays(), plan)
    assert events[-1].reason == "finished"
    assert "running statistics" in caplog.text


def test_no_memory_says_what_to_make_smaller(tmp_path, arrays):
    plan = recipe()
    network = build(plan.model, **plan.model_options)
    network.encoder[0].register_forward_pre_hook(
        lambda *_: (_ for _ in ()).throw(RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"))
    )
    with pytest.raises(
        TrainingError, match=r"out of memory at step 0 with batches of 2 crops of 32 × 32; .*batch_size"
    ):
        run(tmp_path, arrays(), plan, network=network)


def test_a_full_disk_keeps_the_last_state(tmp_path, arrays, monkeypatch):
    run(tmp_path, arrays(), recipe(steps=3))
    before = (tmp_path / "state.pt").read_bytes()

    def full(self, content):
        self.open("wb").close()
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(TrainingError, match=r"state of step 3 could not be written .*No space left.* with --resume"):
        run(tmp_path, arrays(), recipe(steps=3))
    monkeypatch.undo()
    assert (tmp_path / "state.pt").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["state.pt"]


def test_a_real_limit_on_the_files_size_is_told_in_one_line(tmp_path):
    """What the kernel says when a write does not fit, not a stand-in for it."""
    code = (
        "import resource, signal, sys\n"
        "import torch\n"
        "from pathlib import Path\n"
        "from pixelwise.training.state import save_state\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))\n"
        "try:\n    save_state(Path(sys.argv[1]), {'step': 7, 'weights': torch.zeros(50_000)})\n"
        "except Exception as error:\n    print(type(error).__name__, error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path / "state.pt")], capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("TrainingError the state of step 7 could not be written to")
    assert list(tmp_path.iterdir()) == []


def test_no_memory_in_a_batch_or_a_validation_is_told_the_same_way(tmp_path, arrays, monkeypatch):
    def no_memory(*_, **__):
        raise MemoryError

    data = arrays()
    monkeypatch.setitem(globals(), "evaluate_network", no_memory)
    with pytest.raises(TrainingError, match="out of memory at step 3"):
        run(tmp_path, data, recipe())
    monkeypatch.setattr(Batches, "__getitem__", no_memory)
    with pytest.raises(TrainingError, match="out of memory at step 0"):
        run(tmp_path, data, recipe())


def test_a_foreign_state_is_refused(tmp_path):
    file = tmp_path / "state.pt"
    file.write_bytes(b"not a state")
    with pytest.raises(CheckpointError, match=r"state.pt is no training state that pixelwise wrote"):
        load_state(file)
    save_state(file, {"step": 1})
    file.write_bytes(file.read_bytes()[:200])
    with pytest.raises(CheckpointError, match="start again"):
        load_state(file)


def settled(tmp_path, arrays, **changes):
    """The network before and after a run of some steps without weight averaging."""
    plan = recipe(average=0, loss="cross_entropy", **changes)
    torch.manual_seed(0)
    before = build(plan.model, **plan.model_options)
    return before, run(tmp_path, arrays(), plan, network=None)[1]


def changed(before, after):
    """Names of what is not as it was."""
    old, new = before.state_dict(), after.state_dict()
    return {name for name in old if not torch.equal(old[name], new[name])}


def norms(network, kinds):
    layers = [name for name, module in network.named_modules() if isinstance(module, torch.nn.BatchNorm2d)]
    return {f"{layer}.{kind}" for layer in layers for kind in kinds}


@pytest.mark.parametrize(
    ("mode", "kept"),
    [
        ("trained", ()),
        ("affine", ("running_mean", "running_var", "num_batches_tracked")),
        ("frozen", ("running_mean", "running_var", "num_batches_tracked", "weight", "bias")),
    ],
)
def test_batch_norms_learn_as_much_as_the_recipe_says(tmp_path, arrays, mode, kept):
    before, after = settled(tmp_path, arrays, batch_norm=mode, steps=2, validate_every=1)
    assert set(before.state_dict()) - changed(before, after) == norms(before, kept)


def test_statistics_follow_each_batch_by_the_recipe_s_momentum(tmp_path, arrays):
    """After one step: 1 − m of what was, and m of the batch's, which a run with m = 1 shows."""

    def statistics(**changes):
        before, after = settled(tmp_path, arrays, steps=1, validate_every=1, **changes)
        return ([net.state_dict()[name] for name in sorted(norms(net, ("running_mean",)))] for net in (before, after))

    _, batch = statistics(batch_norm_momentum=1.0)
    for momentum in (0.25, None):
        before, after = statistics(batch_norm_momentum=momentum)
        for old, of_batch, new in zip(before, batch, after, strict=True):
            share = 0.1 if momentum is None else momentum
            assert torch.allclose(new, (1 - share) * old + share * of_batch, atol=1e-6)


def test_accumulated_batches_are_one_with_the_mean_of_their_gradients(tmp_path, arrays):
    """Without batch norm and with as many pixels in each, two batches of one are a batch of two."""
    same_pixels = {"loss_normalization": "images", "batch_norm": "frozen", "clip": 1, "steps": 3, "optimizer": "sgd"}
    _, once = settled(tmp_path / "a", arrays, batch_size=2, **same_pixels)
    _, twice = settled(tmp_path / "b", arrays, batch_size=1, accumulate=2, **same_pixels)
    for name, value in once.state_dict().items():
        torch.testing.assert_close(twice.state_dict()[name], value, rtol=1e-3, atol=1e-5)


def test_a_stopped_run_that_accumulates_goes_on_with_the_same_bits(tmp_path, arrays):
    data, plan = arrays(), recipe(accumulate=3, steps=4, order="drawn", keep=0.5)
    _, expected = run(tmp_path / "whole", data, plan)
    run(tmp_path / "parts", data, plan, stop_at=2)
    assert same(run(tmp_path / "parts", data, plan, resume=True)[1], expected)


def test_statistics_are_recomputed_for_what_is_validated(tmp_path, arrays):
    plan = recipe(average=0, recompute=3, steps=2, validate_every=2)
    events, network = run(tmp_path, arrays(), plan)
    shown = next(e.network for e in events if isinstance(e, Validated))
    batches = Batches(
        arrays(),
        crop_size=plan.crop_size,
        batch_size=plan.batch_size,
        augmentation=plan.augmentation,
        fill=NORMALIZATION.fill,
        seed=plan.seed,
        class_crops=0.5,
        class_shares=[0.5, 0.5],
        presence=np.ones((6, 2), bool),
    )
    first = next(module for module in shown.modules() if isinstance(module, torch.nn.BatchNorm2d))
    seen = []
    hook = first.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    with torch.no_grad():
        for k in range(3):
            shown(NORMALIZATION.of_crops(batches[k].crops))
    hook.remove()
    means = torch.stack([values.mean((0, 2, 3)) for values in seen]).mean(0)
    torch.testing.assert_close(first.running_mean, means, rtol=1e-4, atol=1e-5)
    assert changed(network, shown) <= norms(shown, ("running_mean", "running_var", "num_batches_tracked"))
