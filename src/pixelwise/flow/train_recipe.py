"""Train by a published recipe, or an edited one: data opened, stages trained one after the other, the last evaluated.

A run folder holds recipe.yaml, resolved and written before step 0, and what a fit's has: model.safetensors, log.jsonl,
log.csv, state.pt, result.json and report.html; each stage but the last has its own in stages/NAME. The recipe is also
the first line of each log, so that one that was changed since is noticed.
"""

import inspect
import json
import math
import shlex
from collections.abc import Callable, Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from pixelwise.backbones.vgg import VGG16
from pixelwise.data.batch import Batches, MemoryDataset
from pixelwise.data.border_weights import BorderWeights
from pixelwise.data.folder import PairDataset
from pixelwise.data.sample import spread
from pixelwise.errors import BadOption, PixelwiseError, TrainingError, unknown_name
from pixelwise.files import write_text
from pixelwise.flow.events import Progressed, StageBegan, Started, Tell, WeightsTaken
from pixelwise.flow.machine import Machine, peak_memory_mebibytes, this_machine
from pixelwise.flow.plan import Plan
from pixelwise.flow.planner import MEMORY_SHARE
from pixelwise.flow.pretrained import SECONDS
from pixelwise.flow.recipe_data import JoinedDataset, open_data
from pixelwise.flow.result import best_and_worst, examples, settle_precision, summary
from pixelwise.flow.run import LOG, MODEL, RESULT, STATE, Clock, alone_in, interruptible, log_file, log_line, run_folder
from pixelwise.flow.start import START_RECORD, Begun, begin_from, load_start
from pixelwise.flow.table import TABLE, table_file
from pixelwise.flow.train import log_record, save_model
from pixelwise.inference.engine import TorchEngine, fast_bfloat16
from pixelwise.inference.evaluate import Evaluation, evaluate_network
from pixelwise.inference.views import views_of
from pixelwise.labels import LabelSet
from pixelwise.layers.normalization import Normalization
from pixelwise.metrics import Scores
from pixelwise.models import MODELS, build
from pixelwise.models.fcn import FCN32s
from pixelwise.models.fcn_nyud import FCN16sTowers, FCN32sTowers, start_from_color, start_from_towers
from pixelwise.processes import Processes, current
from pixelwise.protocols import protocol as protocol_called
from pixelwise.recipes import published_recipe
from pixelwise.recipes.published import PublishedRecipe, Stage
from pixelwise.report.outcome import ended
from pixelwise.report.page import write_report
from pixelwise.segmenter import Segmenter, evaluate_pictures
from pixelwise.training.loop import StepLogged, Validated, set_training, train
from pixelwise.training.optimizers import make_optimizer
from pixelwise.training.recipe import Recipe
from pixelwise.version import VERSION
from pixelwise.weights.cache import NotHere, is_to_be_had, not_here
from pixelwise.weights.catalogue import CATALOGUE
from pixelwise.weights.opening import imported

RECIPE = "recipe.yaml"
STAGES = "stages"
RANDOM = "random weights"


@dataclass(frozen=True)
class TrainResult:
    """What a training leaves.

    Attributes:
        run: the run folder.
        recipe: as it was resolved.
        outcome: "finished", "plateau" or "interrupted".
        start: what the first network began with, one line.
        segmenter: the network of the last stage, or of the one that was interrupted.
        evaluation: by the recipe's protocol; None of an interrupted run.
        report: the page, of the first process.
    """

    run: Path
    recipe: PublishedRecipe
    outcome: str
    start: str
    segmenter: Segmenter
    evaluation: Evaluation | None = None
    report: Path | None = None

    @property
    def compared(self) -> dict[str, tuple[float, float]]:
        """{measure: (found, expected)} in percent, of those that the paper's table has."""
        if self.evaluation is None or self.recipe.expected is None:
            return {}
        scores = self.evaluation.scores
        found = {
            measure: float(getattr(scores, measure, scores.extra.get(measure, math.nan)))
            for measure in self.recipe.expected.values
        }
        return {
            measure: (100 * found[measure], expected)
            for measure, expected in self.recipe.expected.values.items()
            if math.isfinite(found[measure])
        }


def resolved(
    recipe: str | Path | PublishedRecipe, settings: Mapping[str, Any] | None = None, *, pretrained: bool = True
) -> PublishedRecipe:
    """A recipe by its name or file, with settings, as it is trained on this machine.

    Args:
        recipe: a name in RECIPES, a recipe.yaml, or a recipe.
        settings: see `PublishedRecipe.with_settings`.
        pretrained: without it the first network starts from random weights.

    Raises:
        UnknownName, BadOption, CheckpointError: there is no such recipe or setting, or it does not fit the network.
    """
    settings = dict(settings or {})
    found = _named(recipe)
    if not isinstance(recipe, PublishedRecipe) and not _is_file(recipe):
        found = found.with_settings({"threads": this_machine().cores})
    found = found.with_settings(settings)
    if not pretrained:
        stages = tuple(stage.model_copy(update={"weights": ()}) for stage in found.stages)
        found = found.model_copy(update={"stages": stages})
    return found


def _named(recipe: str | Path | PublishedRecipe) -> PublishedRecipe:
    if isinstance(recipe, PublishedRecipe):
        return recipe
    return PublishedRecipe.load(Path(recipe)) if _is_file(recipe) else published_recipe(str(recipe))


def _is_file(recipe: str | Path) -> bool:
    path = Path(recipe)
    return path.suffix.lower() in (".yaml", ".yml") or path.is_file()


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
            made = _stored(run, made, recipe, settings, pretrained)
        training = _Training(made, root, run, this_machine(), processes, tell if leads else lambda event: None)
        training.check()
        if leads:
            tell(Started(root, run, None))
            made.save(run / RECIPE)
        with interruptible() as interrupted:
            return training.stages(resume, interrupted)


def _stored(
    run: Path,
    asked: PublishedRecipe,
    named: str | Path | PublishedRecipe,
    settings: Mapping[str, Any] | None,
    pretrained: bool,
) -> PublishedRecipe:
    """The recipe of a run that is resumed, which may be no other than what it was trained by."""
    kept = PublishedRecipe.load(run / RECIPE)
    for log in (run / LOG, *sorted(run.glob(f"{STAGES}/*/{LOG}"))):
        before = _first_line(log).get("recipe")
        if isinstance(before, dict):
            _refuse_change(before, kept.to_record(), f"{run / RECIPE} was changed since the run began")
    given = isinstance(named, PublishedRecipe) or _is_file(named)
    if not given and asked.name != kept.name:
        raise BadOption(f"the run in {run} is of the recipe {kept.name}, not of {asked.name}; choose its --out")
    if not pretrained and any(stage.weights for stage in kept.stages):
        raise BadOption(f"the run in {run} began with published weights; resume it without --no-pretrained")
    wanted = asked if given else kept.with_settings(settings or {})
    _refuse_change(kept.to_record(), wanted.to_record(), "the recipe is not that of the run")
    return kept


def _refuse_change(before: Mapping[str, Any], now: Mapping[str, Any], told: str) -> None:
    old, new = _flat(before), _flat(now)
    for key in dict.fromkeys((*old, *new)):
        if old.get(key) != new.get(key):
            raise BadOption(
                f"{told}: {key} was {json.dumps(old.get(key))} and is {json.dumps(new.get(key))}; put it back, or "
                "start a new run without --resume"
            )


def _flat(value: Any, place: str = "") -> dict[str, Any]:
    """{"stages.NAME.recipe.rate": 0.1, …}."""
    if isinstance(value, Mapping):
        entries: dict[str, Any] = {str(key): entry for key, entry in value.items()}
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        entries = {
            str(entry.get("name", i)) if isinstance(entry, Mapping) else str(i): entry for i, entry in enumerate(value)
        }
    else:
        return {place: value}
    found: dict[str, Any] = {}
    for key, entry in entries.items():
        found |= _flat(entry, f"{place}.{key}" if place else key)
    return found


def _first_line(log: Path) -> dict[str, Any]:
    try:
        with log.open(encoding="utf-8") as lines:
            record = json.loads(lines.readline())
    except (OSError, ValueError):
        return {}
    return record if isinstance(record, dict) else {}


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
                _check_stage(stage, stage.recipe.model)
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

    def stage(
        self, stage: Stage, home: Path, resume: bool, clock: Clock, interrupted: Callable[[], bool]
    ) -> "_Trained":
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
        return _Trained(stage, pictures, outcome, step, start, speeds, Segmenter.load(home / MODEL))

    def begin(
        self, stage: Stage, network: nn.Module, recipe: Recipe, labels: LabelSet, normalization: Normalization
    ) -> tuple[str, Begun | None]:
        """Give a stage's network the weights that it begins with; what they are, and which layers were taken."""
        plan = _as_plan(recipe, labels, normalization)
        if not stage.after:
            if self.processes.leads:
                _published_file(stage.weights, self.tell)
            self.processes.told(None)  # by now the first process has imported them
            name, file = _published_file(stage.weights, self.tell)
            if isinstance(network, FCN32s) and recipe.model == "fcn32s_rgbd":
                return _begin_from_color(network, load_start(file), plan, name), None
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

    def evaluated(self, trained: "_Trained", start: str, clock: Clock) -> TrainResult:
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
        _write_result(result, trained, data, self.root, self.machine.describe(), clock.parts)
        return replace(result, report=write_report(self.run))

    def settle(self, best: Segmenter) -> None:
        """Compare bfloat16 with float32 on validation pictures, where it is fast or the network was trained in it."""
        if self.processes.leads:
            if fast_bfloat16(self.machine.device):
                best.precision = "bf16"
            settle_precision(best, open_data(self.recipe.validation, self.root, best.normalization.channels))
        best.precision, best.same_labels = self.processes.told((best.precision, best.same_labels))


@dataclass(frozen=True)
class _Trained:
    """A stage that has ended."""

    stage: Stage
    pictures: JoinedDataset
    outcome: str
    steps: int
    start: str
    speeds: list[float]
    segmenter: Segmenter


def of_data(recipe: Recipe, labels: Mapping[str, LabelSet], channels: int) -> Recipe:
    """A stage's recipe with the network's classes and channels, which the data decides."""
    options: dict[str, Any] = {"num_classes": labels["labels"].num_classes, "in_channels": channels}
    takes = inspect.signature(MODELS[recipe.model]).parameters if recipe.model in MODELS else {}
    if "geometric_classes" in takes and "geometric" in labels:
        options["geometric_classes"] = labels["geometric"].num_classes
    return recipe.with_settings({"model_options": dict(recipe.model_options) | options})


def check_network(recipe: Recipe, labels: Mapping[str, LabelSet], channels: int) -> None:
    """Refuse a stage's recipe that does not fit its network or its classes; nothing is allocated.

    Raises:
        UnknownName, BadOption: the network, an option or a pattern of names is misspelt, or a number does not fit.
    """
    made = of_data(recipe, labels, channels)
    count = labels["labels"].num_classes
    for key in ("class_weights", "class_crop_shares"):
        values = getattr(made, key)
        if values is not None and len(values) != count:
            raise BadOption(f"{key}: the data set has {count} classes, got {len(values)} values")
    if made.crop_size is None and made.batch_size > 1:
        raise BadOption(
            f"whole pictures of their own sizes make no batch of {made.batch_size}; set batch_size=1 and "
            f"accumulate={made.batch_size}"
        )
    with torch.device("meta"):
        try:
            network: nn.Module = build(made.model, **made.model_options)
        except (TypeError, ValueError, RuntimeError) as error:
            if isinstance(error, PixelwiseError):
                raise
            raise BadOption(f"{made.model} cannot be built with {made.model_options}: {error}") from error
        set_training(network, made)
        make_optimizer(network, made)


def _check_stage(stage: Stage, network: str) -> None:
    towers = ("fcn32s_rgb_hha", "fcn16s_rgb_hha")
    if len(stage.after) > 1 and (len(stage.after) != 2 or network not in towers):
        raise BadOption(f"stage {stage.name} follows {len(stage.after)} stages; a network of two towers alone can")
    if stage.recipe.class_crops and stage.class_from == "set":
        raise BadOption(f"class_crops: set class_from=picture, too, for stage {stage.name}; or class_crops=0")
    if stage.after or not stage.weights:
        return
    width = stage.recipe.model_options.get("width", 1)
    if width != 1 and any(name in CATALOGUE for name in stage.weights):
        raise BadOption(
            f"model_options.width: {stage.weights[0]} fits networks of width 1, got {width}; add --no-pretrained to "
            "start from random weights"
        )
    _found(stage.weights)


def _found(names: Sequence[str]) -> str:
    """The first of some weights that can be had.

    Raises:
        NotHere: none can; says which file to bring for the first.
        UnknownName: one is neither a file nor in the catalogue.
    """
    faults = []
    for name in names:
        if Path(name).is_file():
            return name
        if name not in CATALOGUE:
            raise unknown_name("model file or published weights", name, CATALOGUE)
        why = is_to_be_had(CATALOGUE[name], SECONDS)
        if not why:
            return name
        faults.append(not_here(CATALOGUE[name], why))
    raise NotHere(f"{faults[0]}; or start from random weights with --no-pretrained")


def _published_file(names: Sequence[str], tell: Tell) -> tuple[str, Path]:
    """What the weights are called, and a model file with them."""
    name = _found(names)
    if name not in CATALOGUE:
        return name, Path(name)

    def progress(done: int, total: int) -> None:
        tell(Progressed("downloading", done, total))

    return name, imported(name, progress=progress)


def _begin_from_color(network: FCN32s, source: Segmenter, plan: Plan, name: str) -> str:
    """Color's weights for color, and their mean for depth (`start_from_color`)."""
    options = dict(plan.recipe.model_options) | {"in_channels": 3}
    color = build("fcn32s_vgg16", **options)
    levels = replace(plan.normalization, mean=plan.normalization.mean[:3], deviation=plan.normalization.deviation[:3])
    recipe = plan.recipe.with_settings({"model": "fcn32s_vgg16", "model_options": options})
    begun = begin_from(color, source, replace(plan, recipe=recipe, normalization=levels), name)
    assert isinstance(color, FCN32s) and isinstance(color.backbone, VGG16)
    start_from_color(network, color.backbone)
    return f"{begun}; depth has the mean of the color channels' first weights"


def _as_plan(recipe: Recipe, labels: LabelSet, normalization: Normalization) -> Plan:
    """As much of a plan as the start of a network asks for."""
    return Plan(recipe, {}, {}, labels, normalization, validate_on=1, evaluate_on=1)


def _is_done(home: Path) -> bool:
    """Whether a stage but the last has trained to its end."""
    return (home / RESULT).is_file() and (home / MODEL).is_file()


def _write_result(
    result: TrainResult, trained: _Trained, data: PairDataset, root: Path, machine: str, seconds: dict[str, float]
) -> None:
    """Write result.json, which the report is made from."""
    best, evaluation, recipe, run = result.segmenter, result.evaluation, result.recipe, result.run
    assert evaluation is not None
    labels = best.labels
    scores = evaluation.scores.to_record()
    for record, color in zip(scores["per_class"], labels.palette, strict=True):
        record["color"] = list(color)
    place, model = shlex.quote(str(run)), shlex.quote(str(run / MODEL))
    folder, rest = shlex.quote(str(root)), f"--dataset {recipe.evaluation.dataset} --split {recipe.evaluation.split}"
    record = {
        "name": recipe.name,
        "version": VERSION,
        "outcome": result.outcome,
        "outcome_text": f"{ended(result.outcome, trained.steps)}.",
        "steps": trained.steps,
        "recipe": {"name": recipe.name, "paper": recipe.paper, "start": result.start, "notes": list(recipe.notes)},
        "expected": None if recipe.expected is None else recipe.expected.model_dump(),
        "scores": scores
        | {
            "split": str(recipe.evaluation),
            "protocol": evaluation.protocol,
            "pictures": len(evaluation.pictures),
        },
        "data": {
            "classes": [
                {"name": name, "color": list(color)} for name, color in zip(labels.names, labels.palette, strict=True)
            ],
            "layout": recipe.evaluation.dataset,
            "channels": best.normalization.channels,
            "notes": [recipe.paper, _compared_told(result), *recipe.notes],
            "splits": {
                "train": len(trained.pictures),
                str(recipe.evaluation): len(data),
            },
        },
        "pictures": best_and_worst(best, evaluation, data, run)
        + examples(labels, MemoryDataset(trained.pictures, limit_bytes=0), run),
        "speed": {
            "training_images_per_second": round(float(np.median(trained.speeds)), 2) if trained.speeds else None,
            "predict_seconds_per_megapixel": round(evaluation.seconds_per_megapixel, 4),
            "peak_memory_mib": round(peak_memory_mebibytes()),
            "machine": machine,
            "precision": trained.stage.recipe.precision,
            "seconds": {part: round(value, 1) for part, value in seconds.items()},
        },
        "model_file": MODEL,
        "parameters": best.parameters,
        "commands": {
            "predict": f"pixelwise predict {model} NEW_PICTURES --out predictions",
            "evaluate": f"pixelwise evaluate {model} {folder} {rest}",
            "reproduce": f"pixelwise train {shlex.quote(str(run / RECIPE))} --data {folder} --out NEW_RUN",
            "resume": f"pixelwise train {recipe.name} --data {folder} --resume --out {place}",
        },
    }
    write_text(json.dumps(record, ensure_ascii=False, indent=1), run / RESULT)


def _compared_told(result: TrainResult) -> str:
    """What was found beside what the paper has, a line."""
    if not result.compared:
        return "no score of the paper to compare with was read"
    told = ", ".join(
        f"{measure.replace('_', ' ').replace('iou', 'IoU')} {found:.1f}, expected {expected:g}"
        for measure, (found, expected) in result.compared.items()
    )
    source = result.recipe.expected.source if result.recipe.expected else ""
    return f"found {told} ({source})"
