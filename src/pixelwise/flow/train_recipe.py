"""Train by a published recipe, or an edited one: data opened, stages trained one after the other, the last evaluated.

A run folder holds recipe.yaml, resolved and written before step 0, and what a fit's has: model.safetensors, log.jsonl,
log.csv, state.pt, result.json and report.html; each stage but the last has its own in stages/NAME. The recipe is also
the first line of each log, so that one that was changed since is noticed.
"""

import json
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.border_weights import BorderWeights
from pixelwise.data.sample import spread
from pixelwise.errors import TrainingError
from pixelwise.files import write_text
from pixelwise.flow.events import Progressed, StageBegan, Started, Tell, WeightsTaken
from pixelwise.flow.machine import Machine, this_machine
from pixelwise.flow.planner import MEMORY_SHARE
from pixelwise.flow.recipe_data import JoinedDataset, open_data
from pixelwise.flow.recipe_of_run import RECIPE, STAGES, resolved, stored
from pixelwise.flow.recipe_result import Trained, TrainResult, write_result
from pixelwise.flow.result import settle_precision, summary
from pixelwise.flow.run import LOG, MODEL, RESULT, STATE, Clock, alone_in, interruptible, log_file, log_line, run_folder
from pixelwise.flow.stage_network import (
    as_plan,
    begin_from_color,
    check_network,
    check_stage,
    of_data,
    published_file,
)
from pixelwise.flow.start import START_RECORD, Begun, begin_from, load_start
from pixelwise.flow.table import TABLE, table_file
from pixelwise.flow.train import log_record, save_model
from pixelwise.inference.engine import TorchEngine, fast_bfloat16
from pixelwise.inference.evaluate import evaluate_network
from pixelwise.inference.views import views_of
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import Scores
from pixelwise.models import build
from pixelwise.models.fcn import FCN32s
from pixelwise.models.fcn_nyud import FCN16sTowers, FCN32sTowers, start_from_towers
from pixelwise.processes import Processes, current
from pixelwise.protocols import protocol as protocol_called
from pixelwise.recipes.published import PublishedRecipe, Stage
from pixelwise.report.page import write_report
from pixelwise.segmenter import Segmenter, evaluate_pictures
from pixelwise.training.loop import StepLogged, Validated, train
from pixelwise.training.recipe import Recipe

RANDOM = "random weights"


def train_recipe(
    recipe: str | Path | PublishedRecipe,
    data: str | Path,
    *,
    out: str | Path | None = None,
    resume: bool = False,
    settings: Mapping[str, Any] | None = None,
    pretrained: bool = True,
    tell: Tell = lambda event: None,
) -> TrainResult:
    """Train a network as a paper did.

    Args:
        recipe: a name in RECIPES, a recipe.yaml, or a recipe.
        data: the folder that holds the recipe's data sets.
        out: the run folder; runs/NAME, or the next free NAME-2, NAME-3 …, if left out.
        resume: go on with the run in `out`, or the newest of this recipe.
        settings: that replace the recipe's, see `PublishedRecipe.with_settings`.
        pretrained: without it the first network starts from random weights instead of published ones.
        tell: receives what happens, as it happens.

    Raises:
        DataError: the data is not there; or, with `NotHere`, neither are the weights to begin with.
        BadOption: a setting does not fit; or, with `resume`, the recipe is another than that of the run.
        UnknownName, CheckpointError: there is no such recipe, or its file is none.
        WeightsError: the weights to begin with do not fit.
        TrainingError: training cannot go on; the last good state and model are kept.
    """
    root = Path(data)
    made = resolved(recipe, settings, pretrained=pretrained)
    processes = current()
    leads = processes.leads
    run = processes.told(run_folder(Path(made.name), out, resume, RECIPE) if leads else Path())
    with alone_in(run, fresh=not resume, marker=RECIPE) if leads else nullcontext():
        if resume:
            made = stored(run, made, recipe, settings, pretrained)
        training = _Training(made, root, run, this_machine(), processes, tell if leads else lambda event: None)
        training.check()
        if leads:
            tell(Started(root, run, None))
            made.save(run / RECIPE)
        with interruptible() as interrupted:
            return training.stages(resume, interrupted)


@dataclass(frozen=True)
class _Training:
    """A run: the recipe, its data, and where everything goes."""

    recipe: PublishedRecipe
    root: Path
    run: Path
    machine: Machine
    processes: Processes
    tell: Tell

    def home(self, stage: Stage) -> Path:
        """The folder of a stage; the last one's is the run itself."""
        return self.run if stage is self.recipe.stages[-1] else self.run / STAGES / stage.name

    def normalization(self, stage: Stage) -> Normalization:
        """What a stage's network takes."""
        return (stage.normalization or self.recipe.normalization).made()

    def check(self) -> None:
        """Refuse what would fail later: data that is not there, networks that cannot be built, weights to be brought.

        Raises:
            DataError, BadOption, UnknownName: see `train_recipe`.
        """
        protocol_called(self.recipe.protocol)
        views_of(self.recipe.views or None)
        for stage in self.recipe.stages:
            channels = self.normalization(stage).channels
            labels = JoinedDataset([open_data(part, self.root, channels) for part in stage.train]).labels
            open_data(stage.validation or self.recipe.validation, self.root, channels)
            check_network(stage.recipe, labels, channels)
            if not _is_done(self.home(stage)):
                check_stage(stage, stage.recipe.model)
        open_data(self.recipe.evaluation, self.root, self.recipe.normalization.made().channels)

    def stages(self, resume: bool, interrupted: Callable[[], bool]) -> TrainResult:
        """Train each stage that is not done, and evaluate the last."""
        clock, start = Clock(), RANDOM
        total = len(self.recipe.stages)
        for number, stage in enumerate(self.recipe.stages, 1):
            home = self.home(stage)
            last = number == total
            if not last and self.processes.told(_is_done(home)):
                continue
            self.tell(StageBegan(number, total, stage.recipe.model, stage.recipe.steps))
            home.mkdir(parents=True, exist_ok=True)
            going_on = resume and self.processes.told((home / LOG).exists())
            trained = self.stage(stage, home, going_on, clock, interrupted)
            start = trained.start if number == 1 else start
            if trained.outcome == "interrupted":
                report = write_report(self.run) if self.processes.leads else None
                return TrainResult(self.run, self.recipe, "interrupted", start, trained.segmenter, report=report)
            if last:
                return self.evaluated(trained, start, clock)
            if self.processes.leads:
                write_text(json.dumps({"outcome": trained.outcome, "steps": trained.steps}), home / RESULT)
        raise AssertionError("a recipe has a last stage")

    def stage(self, stage: Stage, home: Path, resume: bool, clock: Clock, interrupted: Callable[[], bool]) -> Trained:
        """Train one stage in its folder."""
        normalization = self.normalization(stage)
        pictures = JoinedDataset([open_data(part, self.root, normalization.channels) for part in stage.train])
        labels = pictures.labels["labels"]
        recipe = of_data(stage.recipe, pictures.labels, normalization.channels)
        torch.manual_seed(recipe.seed)
        network: nn.Module = build(recipe.model, **recipe.model_options)
        start, before = RANDOM, tuple[str, ...]()
        if stage.after or stage.weights:
            start, begun = self.begin(stage, network, recipe, labels, normalization)
            if self.processes.leads and begun is not None and not resume:
                begun.save(home / START_RECORD)
                self.tell(WeightsTaken(begun))
            before = () if begun is None else tuple(name for name, _ in begun.trained_on)
        network = network.to(self.machine.device)
        limit = int(self.machine.memory_bytes * MEMORY_SHARE)
        batches = Batches(
            MemoryDataset(pictures, limit_bytes=limit),
            crop_size=recipe.crop_size,
            batch_size=recipe.batch_size,
            augmentation=recipe.augmentation,
            fill=normalization.fill,
            seed=recipe.seed,
            order=recipe.order,
            part=(self.processes.rank, self.processes.count),
            class_crops=recipe.class_crops,
            class_from=stage.class_from,
            weigh=BorderWeights(void=labels.void) if stage.border_weights else None,
        )
        held_back = open_data(stage.validation or self.recipe.validation, self.root, normalization.channels)
        looked_at = MemoryDataset(
            held_back.subset(spread(len(held_back), self.recipe.validate_on)), limit_bytes=limit // 4
        )

        def validate(candidate: nn.Module) -> Scores:
            engine = TorchEngine(candidate, recipe.precision)
            return evaluate_network(engine, normalization, looked_at, rank_pictures=False).scores

        segmenter = Segmenter(
            network,
            normalization,
            labels,
            {"builder": recipe.model, "options": recipe.model_options},
            recipe={"published": self.recipe.name, "paper": self.recipe.paper, "start": start} | recipe.to_record(),
            precision=recipe.precision,
            trained_on=tuple(dict.fromkeys((*pictures.names, *before))),
        )
        speeds: list[float] = []
        outcome, step = "finished", 0
        with (
            clock.part("training"),
            log_file(home / LOG) if self.processes.leads else nullcontext() as log,
            table_file(home / TABLE, recipe, resume=resume) as add_row,
        ):
            if log is not None:
                log_line(log, {"event": "start", "resumed": resume, "recipe": self.recipe.to_record()})
            for event in train(
                network,
                normalization,
                batches,
                recipe,
                validate=validate,
                state_file=home / STATE,
                resume=resume,
                should_stop=lambda seconds: "interrupted" if interrupted() else None,
                processes=self.processes,
            ):
                if isinstance(event, Validated):
                    if log is not None and (event.best or self.recipe.choose == "last"):
                        segmenter.network = event.network
                        segmenter.scores = {"split": str(self.recipe.validation)} | summary(event.scores)
                        save_model(segmenter, home / MODEL)
                elif isinstance(event, StepLogged):
                    speeds.append(event.images_per_second)
                else:
                    outcome, step = event.reason, event.step
                if log is not None:
                    record = log_record(event)
                    log_line(log, record)
                    add_row(record)
                self.tell(event)
        if not self.processes.told((home / MODEL).exists()):
            raise TrainingError(f"no model was kept in {home}: no validation was reached; give the run more steps")
        return Trained(stage, pictures, outcome, step, start, speeds, Segmenter.load(home / MODEL))

    def begin(
        self, stage: Stage, network: nn.Module, recipe: Recipe, labels: LabelSet, normalization: Normalization
    ) -> tuple[str, Begun | None]:
        """Give a stage's network the weights that it begins with; what they are, and which layers were taken."""
        plan = as_plan(recipe, labels, normalization)
        if not stage.after:
            if self.processes.leads:
                published_file(stage.weights, self.tell)
            self.processes.told(None)  # by now the first process has imported them
            name, file = published_file(stage.weights, self.tell)
            if isinstance(network, FCN32s) and recipe.model == "fcn32s_rgbd":
                return begin_from_color(network, load_start(file), plan, name), None
            begun = begin_from(network, load_start(file), plan, name)
            return str(begun), begun
        sources = [load_start(self.home(other) / MODEL) for other in self.recipe.stages if other.name in stage.after]
        if len(sources) == 1:
            begun = begin_from(network, sources[0], plan, f"the stage {stage.after[0]}")
            return str(begun), begun
        color, hha = (source.network for source in sources)
        assert isinstance(network, FCN32sTowers | FCN16sTowers)
        assert isinstance(color, FCN32s) and isinstance(hha, FCN32s)
        start_from_towers(network, color, hha)
        return f"a tower each of the stages {' and '.join(stage.after)}", None

    def evaluated(self, trained: Trained, start: str, clock: Clock) -> TrainResult:
        """Measure the last network by the recipe's protocol, and leave result and report."""
        best, recipe = trained.segmenter, self.recipe
        best.network.to(self.machine.device)
        data = open_data(recipe.evaluation, self.root, best.normalization.channels)
        self.settle(best)
        with clock.part("evaluating"):
            evaluation = evaluate_pictures(
                best,
                data,
                protocol=recipe.protocol,
                scales=recipe.views or None,
                progress=lambda done, total: self.tell(Progressed("evaluating", done, total)),
            )
        best.scores = {
            "split": str(recipe.evaluation),
            "protocol": evaluation.protocol,
            "pictures": len(evaluation.pictures),
        } | summary(evaluation.scores)
        result = TrainResult(self.run, recipe, trained.outcome, start, best, evaluation)
        if not self.processes.leads:
            return result
        save_model(best, self.run / MODEL)
        write_result(result, trained, data, self.root, self.machine.describe(), clock.parts)
        return replace(result, report=write_report(self.run))

    def settle(self, best: Segmenter) -> None:
        """Compare bfloat16 with float32 on validation pictures, where it is fast or the network was trained in it."""
        if self.processes.leads:
            if fast_bfloat16(self.machine.device):
                best.precision = "bf16"
            settle_precision(best, open_data(self.recipe.validation, self.root, best.normalization.channels))
        best.precision, best.same_labels = self.processes.told((best.precision, best.same_labels))


def _is_done(home: Path) -> bool:
    """Whether a stage but the last has trained to its end."""
    return (home / RESULT).is_file() and (home / MODEL).is_file()
