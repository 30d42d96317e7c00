"""A learning curve: how good a model is with fewer pictures, what more would bring, and which labels it doubts.

The planner makes one plan for all trainings (`fit` with `plan_only`), for a training's share of the time. Each training
follows it on a subset of the training pictures (`flow.subsets`), and is measured on the same pictures: the folder's
test part, else its validation part. All make the same number of steps. A step takes the same time whatever the number
of pictures, so this shares the time equally, too; as many passes for each would give the small subsets hardly any
training, and what is measured would be the lack of it. The weights after the last step count, and none before are
chosen by their scores: that would flatter those whose scores vary most, the trainings on few pictures.

Each training lies in RUN/members and is finished with its member.json; a run that was stopped goes on with the others.
Where `steps` were asked for, nothing depends on a clock, and the same call writes the same results, byte by byte.
"""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from pixelwise.data.answers import Answers
from pixelwise.data.batch import Batches
from pixelwise.data.decode import decode_image
from pixelwise.data.sample import Dataset, spread
from pixelwise.errors import BadOption, CheckpointError, DataError
from pixelwise.files import write_text
from pixelwise.flow.curve_result import write_results
from pixelwise.flow.doctor import understand
from pixelwise.flow.doubted import Doubt, judge, uncertainty
from pixelwise.flow.events import MemberBegan, MemberMeasured, Planned, Progressed, Started, Tell
from pixelwise.flow.fit import fit
from pixelwise.flow.machine import Machine, this_machine
from pixelwise.flow.parts import Parts, datasets_of, look_alikes, parts_of_plan, pictures_of
from pixelwise.flow.plan import Plan
from pixelwise.flow.predicting.inputs import find_pictures
from pixelwise.flow.result import settle_precision, summary
from pixelwise.flow.run import MODEL, PLAN, STATE, Clock, alone_in, interruptible, run_folder
from pixelwise.flow.start import begin_from, load_start
from pixelwise.flow.subsets import checked_sizes, default_sizes, judges, nested_orders
from pixelwise.flow.train import save_model
from pixelwise.flow.understanding import Understanding
from pixelwise.metrics import ConfusionMatrix, Scores
from pixelwise.models import build
from pixelwise.report.learning_curve import write_curve_report
from pixelwise.segmenter import Segmenter
from pixelwise.training.loop import Ended, Validated, train

FORMAT = 1
SETUP = "curve.json"  # what was asked for, and the subsets: written once, before the first training
MEMBERS, MEMBER, DRAWINGS = "members", "member.json", "doubted"
DEFAULT_MINUTES = 30.0
DEFAULT_REPEATS = 3
LEAST_SHARE = 15.0  # seconds of one training
REPORT_SECONDS = 10.0
MEASURED = 30  # pictures, if there are so many, whatever the time: an interval from fewer says little
LEAST_TRAINING, LEAST_HELD_OUT = 4, 2  # pictures without which there is no curve


@dataclass(frozen=True)
class CurveResult:
    """What a learning curve leaves.

    Attributes:
        run: the run folder, with learning_curve.json and .csv, doubted.csv, unlabelled.csv, doubted/ and report.html.
        outcome: "finished"; "budget": some repeats were left out for lack of time; "interrupted".
        record: what learning_curve.json holds.
        report: the page.
    """

    run: Path
    outcome: str
    record: dict[str, Any]
    report: Path


@dataclass(frozen=True)
class Setup:
    """What a curve's trainings are, stored in curve.json.

    Attributes:
        sizes: numbers of training pictures.
        orders: names of the training pictures, an order for each repeat; a subset is the first of it.
        judged: {(size, repeat): names of the pictures that this training judges}.
        unlabelled: a folder, or nothing.
    """

    sizes: tuple[int, ...]
    orders: tuple[tuple[str, ...], ...]
    judged: Mapping[tuple[int, int], tuple[str, ...]]
    unlabelled: str = ""

    @property
    def members(self) -> list[tuple[int, int]]:
        """(size, repeat) of all trainings in order: a repeat after the other, so that each adds a whole curve."""
        return [(size, repeat) for repeat in range(len(self.orders)) for size in self.sizes]

    def save(self, path: Path) -> None:
        """Write it, whole or not at all."""
        judged = [{"size": s, "repeat": r, "pictures": list(names)} for (s, r), names in self.judged.items()]
        record = {"format": FORMAT, "sizes": list(self.sizes), "orders": [list(o) for o in self.orders]}
        write_text(json.dumps(record | {"judged": judged, "unlabelled": self.unlabelled}, ensure_ascii=False), path)

    @classmethod
    def load(cls, path: Path) -> "Setup":
        """Read it.

        Raises:
            CheckpointError: it is not there, or not what `save` wrote.
        """
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            return cls(
                tuple(record["sizes"]),
                tuple(tuple(order) for order in record["orders"]),
                {(j["size"], j["repeat"]): tuple(j["pictures"]) for j in record["judged"]},
                record["unlabelled"],
            )
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} is expected to hold a learning curve's subsets and cannot be read ({error}); start a new curve"
            ) from error


def learning_curve(
    folder: str | Path,
    *,
    out: str | Path | None = None,
    sizes: Sequence[int] | None = None,
    repeats: int | None = None,
    minutes: float | None = None,
    steps: int | None = None,
    seed: int | None = None,
    unlabelled: str | Path | None = None,
    resume: bool = False,
    settings: dict[str, Any] | None = None,
    tell: Tell = lambda event: None,
    started_at: float | None = None,
    **options: Any,
) -> CurveResult:
    """Train on subsets of a folder's pictures: which scores they reach, what more would bring, which labels look wrong.

    Args:
        out: the run folder; as for `fit`.
        sizes: numbers of training pictures; all of them, all but a repeat's share, and halves of that if left out.
        repeats: trainings of each size, on different subsets and from different random weights; 3 if left out.
        minutes: for all trainings together; 30 if neither this nor `steps` is given. Where it does not suffice the
            last repeats are left out, and the outcome says so; none is cut short.
        steps: of each training, whatever time they take; then no clock influences the result.
        seed: 0 if left out.
        unlabelled: a folder of pictures without masks to be ranked by how unsure the models are of them.
        resume: go on with the trainings that are not finished; the others are kept. All that were planned are made
            then, whatever the clock says.
        settings: as for `fit`.
        tell: receives what happens, as it happens.
        started_at: `time.monotonic()` when the work began, if that was before this call.
        options: further options of `fit`: model, plan, read_as, classes, start, pretrained.

    Raises:
        BadOption: an option does not fit.
        DataError: the folder has faults, or too few pictures.
        TrainingError: a training cannot go on; the finished ones are kept.
    """
    folder = Path(folder)
    clock = Clock() if started_at is None else Clock(started_at)
    if options.pop("staged", False):
        raise BadOption("a learning curve trains each network once; leave out --staged")
    if options.pop("labels", "masks") != "masks":
        raise BadOption("a learning curve is of masks; with class folders leave out --learning-curve")
    if resume:
        if any(option is not None for option in (sizes, repeats, minutes, steps, seed, unlabelled)):
            raise BadOption("a curve that is resumed follows its own sizes, repeats, steps and seed; leave these out")
        if settings or any(options.get(key) for key in ("model", "plan", "read_as", "classes", "start")):
            raise BadOption("a curve that is resumed follows its own plan; leave out what would change it")
        run = run_folder(folder, out, True, SETUP)
        budget = None
    else:
        repeats = DEFAULT_REPEATS if repeats is None else repeats
        if repeats < 1:
            raise BadOption(f"--repeats is at least 1, got {repeats}")
        if minutes is not None and steps is not None:
            raise BadOption("give either minutes or steps, not both")
        if unlabelled is not None:
            find_pictures([str(unlabelled)])
        budget = minutes or (None if steps or options.get("plan") else DEFAULT_MINUTES)
        run = _planned(folder, out, sizes, repeats, budget, steps, seed, settings or {}, clock, tell, options)
    plan = Plan.load(run / PLAN)
    if plan.stages or plan.by_folder:
        raise BadOption(
            f"{run / PLAN} has stages or is for class folders; a learning curve needs one network and masks"
        )
    machine = this_machine()
    with alone_in(run):
        understanding = understand(
            folder,
            answers=Answers.of(plan.data.get("read_as", ())),
            classes=_kept_classes(plan, run),
            progress=lambda done, total: tell(Progressed("reading files", done, total)),
        )
        parts = parts_of_plan(understanding, plan, machine)
        if not resume:
            setup = _setup(understanding, plan, parts, sizes, repeats or 1, unlabelled)
            setup.save(run / SETUP)
        setup = Setup.load(run / SETUP)
        tell(Started(folder, run, budget))
        tell(Planned(_told(plan, setup, budget), resumed=resume))
        with interruptible() as interrupted:
            outcome = _train_all(run, plan, setup, understanding, parts, machine, clock, budget, tell, interrupted)
            ranked = [] if outcome == "interrupted" else _ranked(run, setup, machine, tell, interrupted)
        members = _finished(run, setup)
        if not members:
            raise DataError(f"no training of {run} was finished; go on with --resume")
        about = {"split": "test" if parts.test is not None else "validation", "left_out": _unjudged(setup, members)}
        record = write_results(run, folder, plan, about, (setup.sizes, len(setup.orders)), members, ranked, outcome)
        return CurveResult(run, outcome, record, write_curve_report(run))


def _planned(
    folder: Path,
    out: str | Path | None,
    sizes: Sequence[int] | None,
    repeats: int,
    budget: float | None,
    steps: int | None,
    seed: int | None,
    settings: dict[str, Any],
    clock: Clock,
    tell: Tell,
    options: dict[str, Any],
) -> Path:
    """The run folder with the plan of all trainings, made for one's share of the time."""
    share = None
    if budget is not None:
        answers, classes = Answers.of(options.get("read_as", ())), options.get("classes")
        known = datasets_of(
            understand(
                folder,
                answers=answers,
                classes=classes,
                progress=lambda done, total: tell(Progressed("reading files", done, total)),
            )
        )
        pool = known.get("train") or known.get("all") or ()
        held = 0 if known.get("val") else max(round(len(pool) * 0.16), 1)  # about what the planner holds back
        count = (len(sizes) if sizes else len(default_sizes(max(len(pool) - held, 1), repeats))) * repeats
        share = (budget * 60 - clock.seconds - REPORT_SECONDS) / count
        if share < LEAST_SHARE:
            raise BadOption(
                f"{count} trainings share {budget:g} minutes, {max(share, 0):.0f} seconds each, in which little is "
                f"learned; give --minutes {(count * LEAST_SHARE + clock.seconds + REPORT_SECONDS) / 60 + 0.5:.0f} or "
                "more, or fewer --sizes or --repeats"
            )

    def quiet(event: Any) -> None:
        if not isinstance(event, Started | Planned):  # told with the curve's own numbers
            tell(event)

    return fit(
        folder,
        out=out,
        minutes=None if share is None else share / 60,
        steps=steps,
        seed=seed,
        plan_only=True,
        settings={"crf_pictures": 0} | settings,
        tell=quiet,
        **options,
    ).run


def _setup(
    understanding: Understanding,
    plan: Plan,
    parts: Parts,
    sizes: Sequence[int] | None,
    repeats: int,
    unlabelled: str | Path | None,
) -> Setup:
    """The subsets, by the plan's seed."""
    names, held_out = plan.split["train"], _held_out(plan, parts)
    if len(names) < LEAST_TRAINING or len(held_out) < LEAST_HELD_OUT:
        raise DataError(
            f"a learning curve needs at least {LEAST_TRAINING} pictures to train on and {LEAST_HELD_OUT} to measure "
            f"on, there are {len(names)} and {len(held_out)}; label some more"
        )
    chosen = checked_sizes(sizes, len(names), len(held_out)) if sizes else default_sizes(len(names), repeats)
    pool = next(data for split, data in datasets_of(understanding).items() if split in ("train", "all"))
    group = dict(zip((pair.name for pair in pool.pairs), look_alikes(understanding, pool), strict=True))
    alike = [group[name] for name in names]
    orders = nested_orders(parts.presence, alike, chosen, repeats, plan.recipe.seed)
    if len(set(alike)) < len(alike) // 4:  # frames of few videos: nobody could judge
        alike = list(range(len(names)))
    judged = judges(orders, alike, chosen)
    return Setup(
        chosen,
        tuple(tuple(names[i] for i in order) for order in orders),
        {member: tuple(names[i] for i in pictures) for member, pictures in judged.items()},
        "" if unlabelled is None else str(unlabelled),
    )


def _held_out(plan: Plan, parts: Parts) -> Dataset:
    """What all trainings are measured on."""
    whole: Any = parts.test if parts.test is not None else parts.whole_validation
    chosen: Dataset = whole.subset(spread(len(whole), max(plan.evaluate_on, MEASURED)))
    return chosen


def _kept_classes(plan: Plan, run: Path) -> Path | None:
    asked = plan.data.get("classes_file")
    return None if asked is None else run / f"classes{Path(asked).suffix.lower()}"


def _told(plan: Plan, setup: Setup, budget: float | None) -> Plan:
    """The plan with the lines that are the curve's own."""
    count = len(setup.members)
    reasons = {key: reason for key, reason in plan.reasons.items() if key not in ("budget", "crf", "patience", "steps")}
    sizes = ", ".join(map(str, setup.sizes))
    reasons["trainings"] = (
        f"{count}: on {sizes} of the {len(setup.orders[0])} training pictures, {len(setup.orders)} times each"
    )
    each = "" if plan.training_seconds is None else f", {plan.training_seconds / 60:.1f} minutes of training each"
    reasons["steps"] = f"the same for all trainings{each}, so that only the number of pictures differs"
    if budget is not None:
        reasons["budget"] = f"for all {count} trainings together"
    return replace(plan, reasons=reasons, budget_minutes=budget)


def _train_all(
    run: Path,
    plan: Plan,
    setup: Setup,
    understanding: Understanding,
    parts: Parts,
    machine: Machine,
    clock: Clock,
    budget: float | None,
    tell: Tell,
    interrupted: Callable[[], bool],
) -> str:
    """Make the trainings that are not finished; how it ended."""
    held_out, longest = _held_out(plan, parts), 0.0
    for number, (size, repeat) in enumerate(setup.members, 1):
        home = member_folder(run, size, repeat)
        if (home / MEMBER).is_file():
            continue
        if interrupted():
            return "interrupted"
        if budget is not None and repeat and clock.seconds + longest > budget * 60:
            return "budget"
        began = time.monotonic()
        told = f"{size} picture{'s' if size != 1 else ''}, repeat {repeat + 1}"
        tell(MemberBegan(number, len(setup.members), told, plan.recipe.steps))
        home.mkdir(parents=True, exist_ok=True)
        if not (home / MODEL).is_file():
            trained = _trained(home, run, plan, setup, size, repeat, understanding, parts, machine, tell, interrupted)
            if trained is None:
                return "interrupted"
            save_model(trained, home / MODEL)
        if interrupted():
            return "interrupted"  # the model is there, and is measured when the curve goes on
        (home / STATE).unlink(missing_ok=True)
        segmenter = Segmenter.load(home / MODEL)
        segmenter.network.to(machine.device)
        sums, scores = _measured(segmenter, held_out, tell)
        doubts: list[Doubt] = []
        if judged := setup.judged.get((size, repeat)):
            place = {name: i for i, name in enumerate(plan.split["train"])}
            subset = parts.train.subset([place[name] for name in judged])
            doubts = judge(
                segmenter, subset, home / DRAWINGS, progress=lambda d, n: tell(Progressed("judging labels", d, n))
            )
        record = {"pictures": size, "repeat": repeat, "sums": sums.tolist(), "doubts": [d.to_record() for d in doubts]}
        if size == max(setup.sizes):
            settle_precision(segmenter, parts.whole_validation)
            about = {"split": "test" if parts.test is not None else "validation", "pictures": len(held_out)}
            segmenter.scores = about | {"protocol": "one confusion matrix over all pictures"} | summary(scores)
            for path in (home / MODEL, *([run / MODEL] if repeat == 0 else [])):
                save_model(segmenter, path)
        write_text(json.dumps(record, ensure_ascii=False), home / MEMBER)
        if size < max(setup.sizes):
            (home / MODEL).unlink()  # those of the most pictures stay
        tell(MemberMeasured(scores.mean_iou))
        longest = max(longest, time.monotonic() - began)
    return "finished"


def _trained(
    home: Path,
    run: Path,
    plan: Plan,
    setup: Setup,
    size: int,
    repeat: int,
    understanding: Understanding,
    parts: Parts,
    machine: Machine,
    tell: Tell,
    interrupted: Callable[[], bool],
) -> Segmenter | None:
    """A segmenter that learned a subset; None where it was interrupted."""
    names = plan.split["train"]
    place = {name: i for i, name in enumerate(names)}
    chosen = sorted(place[name] for name in setup.orders[repeat][:size])
    steps = plan.recipe.steps
    # the sizes of a repeat begin with the same weights
    seed = (plan.recipe.seed + 7919 * repeat) % 2**31
    recipe = plan.recipe.with_settings({"seed": seed, "validate_every": steps, "patience": 0})
    torch.manual_seed(seed)
    network = build(recipe.model, **recipe.model_options)
    if plan.start is not None:
        begin_from(network, load_start(run / plan.start), plan, plan.start)
    network = network.to(machine.device)
    presence: NDArray[np.bool_] = parts.presence[chosen]
    class_crops, shares = recipe.class_crops, recipe.class_crop_shares
    if shares is not None:
        shares = tuple(
            float(s) if there else 0.0 for s, there in zip(shares, np.any(presence, axis=0).tolist(), strict=True)
        )
        if not any(shares):
            class_crops, shares = 0.0, None
    batches = Batches(
        parts.train.subset(chosen),
        crop_size=recipe.crop_size,
        batch_size=recipe.batch_size,
        augmentation=recipe.augmentation,
        fill=plan.normalization.fill,
        seed=seed,
        order=recipe.order,
        class_crops=class_crops,
        class_shares=shares,
        presence=presence,
    )
    nothing = ConfusionMatrix(plan.labels.num_classes).scores()  # no training is chosen by its scores
    last = None
    for event in train(
        network,
        plan.normalization,
        batches,
        recipe,
        validate=lambda candidate: nothing,
        state_file=home / STATE,
        resume=(home / STATE).is_file(),
        should_stop=lambda seconds: "interrupted" if interrupted() else None,
    ):
        if isinstance(event, Validated):
            last = event.network
        elif isinstance(event, Ended):
            if event.reason != "finished":
                return None
        else:
            tell(event)
    if last is None:  # killed after the last state and before the model: a moment
        (home / STATE).unlink()
        return _trained(home, run, plan, setup, size, repeat, understanding, parts, machine, tell, interrupted)
    digests = dict(pictures_of(understanding, plan, "train"))
    learned = tuple(names[i] for i in chosen)
    return Segmenter(
        last,
        plan.normalization,
        plan.labels,
        {"builder": recipe.model, "options": recipe.model_options},
        recipe=recipe.to_record(),
        precision=recipe.precision,
        trained_on=learned,
        digests=tuple(digests[name] for name in learned),
    )


def _measured(segmenter: Segmenter, held_out: Dataset, tell: Tell) -> tuple[NDArray[np.int64], Scores]:
    """(T, 3, K) pixels of each class that are hit, in the target, and predicted, in each picture; and all scores."""
    sums = []
    labels = segmenter.labels
    whole = ConfusionMatrix(labels.num_classes, void=labels.void, names=labels.names)
    for index in range(len(held_out)):
        sample = held_out[index]
        matrix = ConfusionMatrix(labels.num_classes, void=labels.void)
        found = segmenter.predict_dense(sample.image, crf=False, name=sample.name)
        matrix.update(found.labels, sample.targets["labels"], name=sample.name)
        sums.append(np.stack([matrix.counts.diagonal(), matrix.counts.sum(1), matrix.counts.sum(0)]))
        whole.counts += matrix.counts
        tell(Progressed("measuring", index + 1, len(held_out)))
    return np.stack(sums), whole.scores()


def _ranked(
    run: Path, setup: Setup, machine: Machine, tell: Tell, interrupted: Callable[[], bool]
) -> list[tuple[str, float]]:
    """(name, uncertainty) of the unlabelled pictures, the largest first, by the models of most pictures."""
    if not setup.unlabelled:
        return []
    most = max(setup.sizes)
    homes = [member_folder(run, most, repeat) for repeat in range(len(setup.orders))]
    segmenters = [Segmenter.load(home / MODEL) for home in homes if (home / MODEL).is_file()]
    if not segmenters:
        return []
    for segmenter in segmenters:
        segmenter.network.to(machine.device)
    pictures = [picture for picture in find_pictures([setup.unlabelled]) if not picture.video]
    found = []
    for number, picture in enumerate(pictures, 1):
        found.append((picture.name, uncertainty(segmenters, decode_image(picture.path), picture.name)))
        tell(Progressed("looking at unlabelled pictures", number, len(pictures)))
        if interrupted():
            break
    return sorted(found, key=lambda one: (-one[1], one[0]))


def _unjudged(setup: Setup, members: Sequence[tuple[Path, dict[str, Any]]]) -> list[str]:
    """The training pictures whose labels nobody judged."""
    judged = {doubt["name"] for _, member in members for doubt in member["doubts"]}
    return sorted(set(setup.orders[0]) - judged)


def member_folder(run: Path, size: int, repeat: int) -> Path:
    """Where a training lies."""
    return run / MEMBERS / f"{size:05}-{repeat + 1}"


def _finished(run: Path, setup: Setup) -> list[tuple[Path, dict[str, Any]]]:
    """(folder, member.json) of each training that is finished."""
    homes = [member_folder(run, size, repeat) for size, repeat in setup.members]
    return [(h, json.loads((h / MEMBER).read_text(encoding="utf-8"))) for h in homes if (h / MEMBER).is_file()]
