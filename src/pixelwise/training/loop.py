"""The loop: steps, not epochs; no callbacks. `train` yields what happens, and its caller writes and shows it.

From (data, recipe) the k-th step is fixed: which crops, which flips, which dropout. So a run that was killed and
resumed passes through the same weights as one that was not. Time decides one thing alone: whether to stop, and that
only at a logged step.
"""

import copy
import logging
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from pixelwise.data.batch import Batch, Batches
from pixelwise.errors import TrainingError
from pixelwise.inference.classify import PictureScores
from pixelwise.inference.engine import precision_context
from pixelwise.layers.head import Head
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import Scores
from pixelwise.processes import ALONE, Processes
from pixelwise.training.objective import Objective, Targets, objective_of
from pixelwise.training.optimizers import make_optimizer, rate_at, set_rate
from pixelwise.training.recipe import Precision, Recipe
from pixelwise.training.state import load_state, save_state


@dataclass(frozen=True)
class StepLogged:
    """A logged step. `loss` is the mean since the last one, `seconds` of the whole run so far."""

    step: int
    loss: float
    rate: float
    seconds: float
    images_per_second: float


@dataclass(frozen=True)
class Validated:
    """A validation. `network` is what was validated, in evaluation mode; to be saved by the caller where `best`."""

    step: int
    scores: Scores | PictureScores
    best: bool
    network: nn.Module
    seconds: float


@dataclass(frozen=True)
class Ended:
    """The end: "finished" (all steps), "plateau", or what `should_stop` said."""

    reason: str
    step: int
    seconds: float


_log = logging.getLogger(__name__)

Event = StepLogged | Validated | Ended


class Average:
    """A running mean of the weights and the batch-norm statistics, with a short memory in the first steps."""

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network = copy.deepcopy(network).eval()
        self.decay = decay
        for parameter in self.network.parameters():
            parameter.requires_grad_(False)

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take the weights after `step` (1, 2, …) into the mean."""
        weight = 1 - min(self.decay, step / (step + 10))
        mine, new = self.network.state_dict(), network.state_dict()
        floats = [name for name, value in mine.items() if value.is_floating_point()]
        torch._foreach_lerp_([mine[n] for n in floats], [new[n] for n in floats], weight)
        for name in mine.keys() - set(floats):
            mine[name].copy_(new[name])


def train(
    network: nn.Module,
    normalization: Normalization,
    batches: Batches,
    recipe: Recipe,
    *,
    validate: Callable[[nn.Module], Scores | PictureScores],
    state_file: Path,
    resume: bool = False,
    should_stop: Callable[[float], str | None] = lambda seconds: None,
    processes: Processes = ALONE,
) -> Iterator[Event]:
    """Train a network, step by step.

    Several processes make the steps of one, each with its part of every batch. Batch norms that are trained take the
    statistics of all parts on GPUs; on CPUs, where torch has no such layer, each process takes those of its own part,
    and the first one's are kept.

    Args:
        network: trained in place.
        batches: of this process's part.
        validate: scores of a network in evaluation mode; called in all processes, and the same in each.
        state_file: written after every validation and at an early end; read when `resume` is set and it exists. Both
            is done by the first process.
        should_stop: asked at each logged step, with the seconds of the run so far; a reason ends the run. The first
            process decides.

    Raises:
        TrainingError: the loss or a gradient is not a number, memory ran out, or the disk is full; the last state and
            the last best model stay as they are.
    """
    torch.set_num_threads(recipe.threads)
    device = next(network.parameters()).device
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # no such overload in its stubs
    if processes.count > 1 and recipe.batch_norm == "trained":
        _share_statistics(network, device, processes)
    set_training(network, recipe)
    optimizer = make_optimizer(network, recipe)
    average = Average(network, recipe.average) if recipe.average else None
    step, best, since_best, before = 0, -1.0, 0, 0.0
    losses: list[float] = []
    state = processes.told(load_state(state_file) if resume and processes.leads and state_file.exists() else None)
    if state is not None:
        network.load_state_dict(state["network"])
        optimizer.load_state_dict(state["optimizer"])
        if average is not None:
            average.network.load_state_dict(state["average"])
        step, best, since_best, before = state["step"], state["best"], state["since_best"], state["seconds"]
        losses = list(state.get("losses", ()))  # of the steps since the last logged one
    judge: nn.Module = Judge(network, objective_of(recipe, _weights(recipe, device)))
    if processes.count > 1:
        # the graph of each step is the same, and what a recipe's heads leave out of it is known after the first
        judge = DistributedDataParallel(judge, static_graph=True)
    start = time.monotonic() - before

    def asked(seconds: float) -> str | None:
        return processes.told(should_stop(seconds) if processes.leads else None)

    def save() -> None:
        if not processes.leads:
            return
        save_state(
            state_file,
            {
                "step": step,
                "best": best,
                "since_best": since_best,
                "seconds": time.monotonic() - start,
                "losses": losses,
                "network": network.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.network.state_dict() if average is not None else {},
            },
        )

    reason = "finished" if step >= recipe.steps else asked(before) if before else None
    if recipe.patience and since_best >= recipe.patience:
        reason = "plateau"
    logged, logged_at = step, time.monotonic()
    stream = batches.starting_at(step * recipe.accumulate)
    try:
        while reason is None:
            with memory_explained(recipe, step):
                parts = [next(stream) for _ in range(recipe.accumulate)]
                losses.append(
                    train_step(judge, normalization, optimizer, parts, recipe, step, batches.voids, processes)
                )
            step += 1
            if average is not None:
                average.update(network, step)
            if step % recipe.log_every == 0 or step == recipe.steps:
                now = time.monotonic()
                speed = (step - logged) * recipe.accumulate * recipe.batch_size / max(now - logged_at, 1e-9)
                yield StepLogged(step, sum(losses) / len(losses), rate_at(recipe, step - 1), now - start, speed)
                losses = []
                reason = asked(time.monotonic() - start)
            if step == recipe.steps:
                reason = "finished"
            due = step % recipe.validate_every == 0 or step == recipe.steps
            if reason is not None and not due:
                save()  # before a validation that a longer run would not make
            if due or reason == "budget" or (reason is not None and best < 0):
                network.eval()
                shown = average.network if average is not None else network
                with memory_explained(recipe, step):
                    if recipe.recompute:
                        shown = copy.deepcopy(shown)
                        recompute_statistics(shown, normalization, batches, recipe)
                    share_buffers(shown, processes)
                    scores = validate(shown)
                better = scores.quality > best
                best, since_best = (scores.quality, 0) if better else (best, since_best + 1)
                yield Validated(step, scores, better, shown, time.monotonic() - start)
                set_training(network, recipe)
            if due:
                if reason is None and recipe.patience and since_best >= recipe.patience:
                    reason = "plateau"
                save()
            if step % recipe.log_every == 0:
                logged, logged_at = step, time.monotonic()
    finally:
        stream.close()
    yield Ended(reason, step, time.monotonic() - start)


def _share_statistics(network: nn.Module, device: torch.device, processes: Processes) -> None:
    """Batch norms over the parts of all processes on GPUs; on CPUs it is said that there are none."""
    if device.type == "cuda":
        nn.SyncBatchNorm.convert_sync_batchnorm(network)  # type: ignore[no-untyped-call]  # untyped in torch
    elif processes.leads and any(isinstance(module, nn.modules.batchnorm._BatchNorm) for module in network.modules()):
        _log.warning(
            "batch norms take the statistics of each process's own part of a batch: on CPUs torch cannot share them; "
            "with --set batch_norm=affine they stay as they are, and several processes take the steps of one"
        )


def set_training(network: nn.Module, recipe: Recipe) -> None:
    """Training mode, but for batch norms that the recipe keeps as they are; "frozen" ones learn nothing, either.

    Those that follow the batches do so with the recipe's momentum.
    """
    network.train()
    for module in network.modules():
        if not isinstance(module, nn.modules.batchnorm._BatchNorm):
            continue
        if recipe.batch_norm_momentum is not None:
            module.momentum = recipe.batch_norm_momentum
        if recipe.batch_norm != "trained":
            module.eval()
        if recipe.batch_norm == "frozen":
            module.requires_grad_(False)


def recompute_statistics(network: nn.Module, normalization: Normalization, batches: Batches, recipe: Recipe) -> None:
    """Batch norms take the mean over the first `recipe.recompute` batches of each one's mean and variance.

    SegNet keeps no running statistics in training and goes once through the training set at its end (spec,
    networks-2014-2016 §3.4). **Difference:** the variances are torch's unbiased ones.
    """
    device = next(network.parameters()).device
    with precision_context(device, recipe.precision):
        images = (normalization.of_crops(batches[k].crops).to(device) for k in range(recipe.recompute))
        torch.optim.swa_utils.update_bn(images, network)
    network.eval()


def share_buffers(network: nn.Module, processes: Processes) -> None:
    """Give a network the first process's buffers, such as the statistics of batch norms, in all processes."""
    if processes.count == 1:
        return
    first = processes.told({name: buffer.cpu() for name, buffer in network.named_buffers()})
    for name, buffer in network.named_buffers():
        buffer.copy_(first[name])


class Judge(nn.Module):
    """The loss of a network on a batch: images (N, C, H, W) and what they are judged by → a number."""

    def __init__(self, network: nn.Module, objective: Objective) -> None:
        super().__init__()
        self.network = network
        self.objective = objective

    def forward(self, images: Tensor, targets: Targets, precision: Precision) -> Tensor:
        """The loss, of the whole batch where several processes have parts of it."""
        with precision_context(images.device, precision):
            heads: Mapping[str, Head] = self.network.heads(images)  # type: ignore[operator]  # nn.Module says Tensor | Module
        return self.objective(heads, targets)


def train_step(
    judge: nn.Module,
    normalization: Normalization,
    optimizer: torch.optim.Optimizer,
    batches: Sequence[Batch],
    recipe: Recipe,
    step: int,
    voids: Mapping[str, int],
    processes: Processes = ALONE,
) -> float:
    """One update by the mean gradient of one or more batches; 0 and no update where every pixel of them is void.

    Args:
        judge: a `Judge`, or one that averages gradients over processes.
        batches: this process's parts of them.
        voids: {head of the data set: its void}.

    Raises:
        TrainingError: the loss or the gradient is not a finite number.
    """
    counted = [batch for batch in batches if processes.any(bool((batch.targets != voids["labels"]).any()))]
    if not counted:
        return 0.0
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    device = parameters[0].device
    seed = recipe.seed * 1_000_003 + step
    torch.manual_seed(seed + 7919 * processes.rank)  # dropout is a function of the step, too
    positions = torch.Generator().manual_seed(seed)
    set_rate(optimizer, recipe, step)
    optimizer.zero_grad(set_to_none=True)
    total = 0.0
    for batch in counted:
        images = normalization.of_crops(batch.crops).to(device)
        labels = {"labels": batch.targets, **batch.more}
        targets = Targets(
            {head: torch.from_numpy(values).to(device) for head, values in labels.items()},
            voids,
            None if batch.weights is None else torch.from_numpy(batch.weights).to(device),
            positions,
            processes,
        )
        loss = judge(images, targets, recipe.precision) / len(batches)
        _check_finite("loss", loss, recipe, step, [batch], processes)
        # each process has the gradient of its own part, and what averages them divides by their number
        (loss * processes.count if processes.count > 1 else loss).backward()
        total += float(loss.detach())
    norm = nn.utils.clip_grad_norm_(parameters, recipe.clip or math.inf)
    _check_finite("gradient", norm, recipe, step, counted, processes)
    optimizer.step()
    return total


def _check_finite(
    what: str, value: Tensor, recipe: Recipe, step: int, batches: Sequence[Batch], processes: Processes
) -> None:
    if bool(torch.isfinite(value)):  # the same in all processes
        return
    own = [name for batch in batches for name in batch.names]
    names = ", ".join(dict.fromkeys(name for part in processes.gathered(own) for name in part))
    raise TrainingError(
        f"the {what} is not a finite number at step {step} (rate {rate_at(recipe, step):.2g}), on the pictures "
        f"{names}; look at them, or lower the rate with --set rate=…; the last good state is kept"
    )


class OutOfMemory(TrainingError):
    """A step, a batch or a validation did not fit in memory."""


@contextmanager
def memory_explained(recipe: Recipe, step: int) -> Iterator[None]:
    """Turn the several ways in which torch and numpy run out of memory into one error."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        text = str(error).lower()
        known = isinstance(error, MemoryError | torch.OutOfMemoryError) or ("memory" in text and "alloc" in text)
        if not known:
            raise
        of = "whole pictures" if recipe.crop_size is None else f"crops of {recipe.crop_size[0]} × {recipe.crop_size[1]}"
        raise OutOfMemory(
            f"out of memory at step {step} with batches of {recipe.batch_size} {of}; "
            "run again with --set batch_size=… or --set crop_size=… smaller"
        ) from error


def _weights(recipe: Recipe, device: torch.device) -> Tensor | None:
    if recipe.class_weights is None:
        return None
    return torch.tensor(recipe.class_weights, dtype=torch.float32, device=device)
