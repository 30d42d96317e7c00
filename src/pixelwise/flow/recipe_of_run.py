"""The recipe that a run is trained by: found by its name or in a file, with the settings that replace its own.

A run that is resumed has its recipe already, in recipe.yaml; it may be no other than what it was trained by.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pixelwise.errors import BadOption
from pixelwise.flow.machine import this_machine
from pixelwise.flow.run import LOG
from pixelwise.recipes import published_recipe
from pixelwise.recipes.published import PublishedRecipe

RECIPE = "recipe.yaml"
STAGES = "stages"


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


def stored(
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
