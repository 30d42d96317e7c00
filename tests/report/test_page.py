"""The report says what the run folder says, needs nothing outside itself, and survives any name and any gap."""

import json
import re
from collections import Counter
from collections.abc import Mapping
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from pixelwise.errors import DataError
from pixelwise.labels import voc_color
from pixelwise.report.html import count, duration, figure, percent, short_count
from pixelwise.report.page import plan_value, write_report
from pixelwise.report.plots import line_plot, nice_ticks, running_mean, thinned
from pixelwise.report.run_folder import read_log
from pixelwise.report.thumbnails import picture_uri

VOID_ELEMENTS = {"area", "base", "br", "col", "hr", "img", "input", "link", "meta", "source", "wbr"}


class Page(HTMLParser):
    """What a browser would see: elements, visible text, and whether every element is closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID_ELEMENTS:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open[-1] == tag, f"</{tag}> closes {self.open[-3:]}"
        self.open.pop()

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.words.append(data)

    @property
    def text(self) -> str:
        return re.sub(r"\s+", " ", "".join(self.words).replace("\u202f", " "))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]


def read(run: Path) -> Page:
    path = write_report(run)
    assert path == run / "report.html"
    assert not list(run.glob(".report*")), "a partial file was left"
    page = Page(path.read_text(encoding="utf-8"))
    assert page.open == []
    check_self_contained(page, path.read_text(encoding="utf-8"))
    return page


def check_self_contained(page: Page, source: str) -> None:
    anchors = {attributes["id"] for _, attributes in page.elements if attributes.get("id")}
    for tag, attributes in page.elements:
        assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
        for key, value in attributes.items():
            assert not key.startswith("on"), f"<{tag} {key}>"
            if key in {"src", "srcset", "data", "poster", "xlink:href"}:
                assert value is not None and value.startswith("data:image/"), f"<{tag} {key}={value!r}"
            if key == "href":
                assert value is not None and value.startswith("#") and value[1:] in anchors
    style = source[source.index("<style>") : source.index("</style>")]
    assert "url(" not in style and "@import" not in style


def scores(names: list[str], seed: int = 0) -> dict[str, Any]:
    """Scores whose numbers agree with their confusion matrix, computed class by class."""
    random = np.random.default_rng(seed)
    size = len(names)
    confusion = random.integers(0, 900, (size, size)) * (random.random((size, size)) < 0.5)
    confusion += np.diag(random.integers(3_000, 90_000, size))
    per_class = []
    for k, name in enumerate(names):
        right, truth, predicted = int(confusion[k, k]), int(confusion[k].sum()), int(confusion[:, k].sum())
        per_class.append(
            {
                "name": name,
                "color": list(voc_color(k)),
                "iou": right / (truth + predicted - right),
                "precision": right / predicted,
                "recall": right / truth,
                "pixels": truth,
            }
        )
    share = confusion.sum(1) / confusion.sum()
    return {
        "split": "validation",
        "protocol": "at the label's own size, one confusion matrix over 12 pictures, void not counted",
        "pictures": 12,
        "mean_iou": float(np.mean([entry["iou"] for entry in per_class])),
        "pixel_accuracy": float(np.trace(confusion) / confusion.sum()),
        "mean_accuracy": float(np.mean([entry["recall"] for entry in per_class])),
        "frequency_weighted_iou": float(np.sum(share * [entry["iou"] for entry in per_class])),
        "classes_left_out": 0,
        "per_class": per_class,
        "confusion": confusion.tolist(),
    }


def plan(count: int = 12) -> dict[str, Any]:
    return {
        "format": 1,
        "data": {},
        "split": {
            "train": [f"img_{k:02d}" for k in range(48)],
            "validation": [f"img_{k}" for k in range(48, 48 + count)],
            "test": [],
        },
        "budget_minutes": 10.0,
        "recipe": {
            "model": "unet",
            "model_options": {"width": 0.375},
            "crop_size": [192, 256],
            "batch_size": 8,
            "steps": 1200,
            "optimizer": "adamw",
            "rate": 0.002,
            "loss": "cross_entropy",
            "class_weights": None,
            "augmentation": {"flip": True, "scale": [0.75, 1.5], "color": 0.2},
            "precision": "bf16",
            "seed": 0,
        },
        "reasons": {
            "model": "48 pictures with fine borders: a small U-Net trained from nothing does well on so few",
            "model_options": "the widest that trains for 40 passes in the budget (24 of 64 channels)",
            "crop_size": "three quarters of the median picture, so that a crop holds several objects",
            "batch_size": "8 crops use 1.1 of 22 GiB",
            "steps": "0.41 s a step in a trial; 82 % of the budget",
            "loss": "no class covers less than 5 % of the pixels, so plain cross-entropy",
            "precision": "these cores multiply bf16 in hardware (2.1 times as fast in a trial)",
            "validation": "every fifth picture by name order; the parts were not given",
            "budget": "the default; --minutes changes it",
        },
    }


def log_lines(steps: int = 1200) -> list[dict[str, Any]]:
    random = np.random.default_rng(1)
    lines: list[dict[str, Any]] = [{"event": "start"}]
    best = 0.0
    for step in range(10, steps + 1, 10):
        loss = 0.15 + 1.4 * np.exp(-step / 160) + random.normal(0, 0.04) * (0.5 + np.exp(-step / 200))
        rate = 0.002 * min(step / 60, 1) * (1 - step / (steps * 1.02)) ** 0.9
        lines.append(
            {
                "event": "step",
                "step": step,
                "loss": float(loss),
                "rate": float(rate),
                "seconds": step * 0.4,
                "images_per_second": 19.4,
            }
        )
        if step % 100 == 0:
            value = 0.88 - 0.7 * float(np.exp(-step / 230)) + float(random.normal(0, 0.012))
            lines.append(
                {
                    "event": "validation",
                    "step": step,
                    "mean_iou": value,
                    "pixel_accuracy": 0.9,
                    "best": value > best,
                    "seconds": step * 0.4,
                }
            )
            best = max(best, value)
    lines.append({"event": "end", "reason": "finished", "step": steps, "seconds": steps * 0.4})
    return lines


def draw_pictures(run: Path, names: list[str], size: tuple[int, int] = (24, 32)) -> list[dict[str, Any]]:
    (run / "pictures").mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    records: list[dict[str, Any]] = []

    def picture(name: str) -> str:
        Image.fromarray(random.integers(0, 255, (*size, 3), np.uint8)).save(run / "pictures" / name)
        return f"pictures/{name}"

    for k in range(2):
        records.append({"kind": "data", "file": picture(f"data-{k}.jpg"), "name": names[k % len(names)]})
    for kind in ("best", "worst"):
        record = {
            "kind": kind,
            "name": names[-1],
            "mean_iou": 0.9123 if kind == "best" else 0.4217,
            "image": picture(f"{kind}.jpg"),
        }
        record |= {key: picture(f"{kind}-{key}.png") for key in ("target", "prediction", "errors")}
        records.append(record)
    return records


def fabricate(run: Path, names: list[str], pictures: list[str] | None = None) -> dict[str, Any]:
    """A run folder as a finished fit leaves it; gives what result.json holds."""
    run.mkdir(parents=True, exist_ok=True)
    content = scores(names)
    total = sum(entry["pixels"] for entry in content["per_class"])
    result = {
        "name": "garden",
        "version": "0.1.0",
        "outcome": "finished",
        "outcome_text": "All 1200 steps were done in 8 minutes.",
        "scores": content,
        "data": {
            "classes": [
                {
                    "name": e["name"],
                    "color": e["color"],
                    "pixels": e["pixels"],
                    "share": e["pixels"] / total,
                    "pictures": 17 + k,
                }
                for k, e in enumerate(content["per_class"])
            ],
            "void_share": 0.0123,
            "sizes": [[192, 256, 58], [240, 360, 2]],
            "layout": "images/ with masks/",
            "rule": "same stem",
            "encoding": "palette PNG, the index is the class",
            "channels": 3,
            "dtype": "uint8",
            "notes": ["class names are from classes.txt"],
            "faults": ["masks/img_99.png has no picture; left out"],
            "splits": {"train": 48, "validation": 12, "test": 0},
        },
        "pictures": draw_pictures(run, pictures or ["img_07", "img_11"]),
        "speed": {
            "training_images_per_second": 19.43,
            "predict_seconds_per_megapixel": 0.817,
            "peak_memory_mib": 1834.0,
            "machine": "2 cores, no GPU; torch 2.13.0",
            "precision": "bf16",
            "seconds": {"reading": 1.4, "trials": 18.2, "training": 492.0, "evaluating": 12.5, "report": 2.1},
        },
        "model_file": "model.safetensors",
        "parameters": 1_944_581,
        "commands": {
            "predict": "pixelwise predict runs/garden/model.safetensors new/ --out predicted",
            "reproduce": "pixelwise fit garden/ --steps 1200 --seed 0",
        },
    }
    (run / "plan.yaml").write_text(yaml.safe_dump(plan(), allow_unicode=True), encoding="utf-8")
    (run / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log_lines()), encoding="utf-8")
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    return result


def crf(*, helped: bool) -> dict[str, Any]:
    """What a trial of a dense CRF leaves in result.json."""
    settings = [
        {
            "bilateral_weight": 4.0,
            "bilateral_sigma_pixels": pixels,
            "bilateral_sigma_color": color,
            "spatial_weight": 3.0,
            "spatial_sigma_pixels": 3.0,
            "normalization": "after",
        }
        for pixels in (20.0, 60.0)
        for color in (5.0, 10.0, 20.0)
    ]
    return {
        "parameters": settings[0],
        "steps": 10,
        "pictures": 12,
        "mean_iou_without": 0.712,
        "mean_iou_with": 0.731,
        "gain": 0.019,
        "interval": [0.008 if helped else -0.008, 0.031],
        "helped": helped,
        "tried": [{**setting, "mean_iou": 0.735 - 0.01 * i} for i, setting in enumerate(settings)],
        "note": "the interval of 12 pictures is rough",
    }


@pytest.mark.parametrize("helped", [True, False])
def test_the_trial_of_a_dense_crf_is_told_with_its_settings(tmp_path: Path, helped: bool) -> None:
    result = fabricate(tmp_path, ["soil", "leaf"]) | {"crf": crf(helped=helped)}
    (tmp_path / "result.json").write_text(json.dumps(result))
    chosen = plan() | {"crf_pictures": 12}
    chosen["reasons"] |= {"crf": "tried after training: the best of 6 settings"}
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(chosen, allow_unicode=True))
    page = read(tmp_path)
    text = page.text
    low = "+0.008" if helped else "−0.008"
    told = f"mean IoU 0.712 → 0.731 on 12 validation pictures (+0.019, 95 % interval {low} to +0.031)"
    assert f"{told}: {'kept' if helped else 'not kept'}." in text
    assert "Note: the interval of 12 pictures is rough." in text
    assert ("It is part of the model" in text) == helped == ("(kept)" in text)
    assert ("The model is the network alone" in text) == (not helped)
    assert ("0.735 (kept) 4 20 5" if helped else "0.735 4 20 5") in text and "0.685 4 60 20" in text
    assert "6 settings were tried" in text and "With weight 3 so are pixels within about 3" in text
    assert {"crf", "12 pictures", "tried after training: the best of 6 settings"} <= set(page.words)


def test_a_dense_crf_that_was_not_tried_to_the_end_says_why(tmp_path: Path) -> None:
    result = fabricate(tmp_path, ["soil", "leaf"])
    heading = "A dense CRF behind the network"
    assert heading not in read(tmp_path).text  # neither planned nor tried
    (tmp_path / "plan.yaml").write_text(yaml.safe_dump(plan() | {"crf_pictures": 12}))
    assert f"{heading} One is tried after training; the run did not come to that." in read(tmp_path).text
    failed = result | {"crf": {"helped": False, "note": "it was interrupted; --resume tries it again"}}
    (tmp_path / "result.json").write_text(json.dumps(failed))
    told = "Not tried to the end, and not kept: it was interrupted; --resume tries it again."
    assert f"{heading} {told}" in read(tmp_path).text


def test_a_finished_run_shows_every_number(tmp_path: Path) -> None:
    result = fabricate(tmp_path / "run", ["soil", "leaf", "fruit", "flower", "stone"])
    page = read(tmp_path / "run")
    content = result["scores"]
    expected = [
        f"{content['mean_iou'] * 100:.1f}",
        f"{content['mean_iou']:.3f}",
        content["protocol"],
        result["outcome_text"],
        "0.1.0",
        "garden",
    ]
    expected += [f"{content[key] * 100:.1f} %" for key in ("pixel_accuracy", "mean_accuracy", "frequency_weighted_iou")]
    for entry in content["per_class"]:
        expected += [entry["name"], f"{entry['pixels']:,}".replace(",", " ")]
        expected += [f"{entry[key] * 100:.1f} %" for key in ("iou", "precision", "recall")]
    for row in content["confusion"]:
        expected += [f"{value / sum(row) * 100:.1f} %" for value in row if value]
        expected += [short_count(value) for value in row if value]
    for entry in result["data"]["classes"]:
        expected += [f"{entry['share'] * 100:.1f} %", str(entry["pictures"])]
    for record in (result["data"], result["speed"], result["commands"]):
        expected += [value for value in record.values() if isinstance(value, str)]
    expected += [*result["data"]["notes"], *result["data"]["faults"], "192 × 256", "240 × 360", "1.2 %"]
    expected += ["19.4", "0.817 s", "1 834 MiB", "1.9M", "8 min 12 s", "18 s", "91.2 %", "42.2 %"]
    expected += [reason for reason in plan()["reasons"].values()]
    expected += ["unet", "width 0.375", "10 minutes", "48 train, 12 validation", "0.002", "img_59"]
    assert [item for item in expected if item not in page.text] == []


def test_every_picture_is_inlined(tmp_path: Path) -> None:
    result = fabricate(tmp_path / "run", ["a", "b"])
    kinds = Counter((image["src"] or "").split(";")[0] for image in read(tmp_path / "run").all("img"))
    shown = [p for p in result["pictures"]]
    assert kinds == {"data:image/jpeg": len(shown), "data:image/png": 3 * sum(p["kind"] != "data" for p in shown)}


@pytest.mark.parametrize("number", [1, 2, 21, 60])
def test_confusion_matrix_for_any_number_of_classes(tmp_path: Path, number: int) -> None:
    result = fabricate(tmp_path / "run", [f"class {k}" for k in range(number)])
    page = read(tmp_path / "run")
    cells = [cell for cell in page.all("td") if "--v" in (cell.get("style") or "")]
    if number <= 48:
        assert len(cells) == number**2
        assert sum("right" in (cell["class"] or "") for cell in cells) == number
    else:
        assert cells == []  # a picture instead
        assert any("confusion matrix" in (image["alt"] or "") for image in page.all("img"))
    mistakes = [
        (value, i, j)
        for i, row in enumerate(result["scores"]["confusion"])
        for j, value in enumerate(row)
        if i != j and value
    ]
    for value, i, j in sorted(mistakes, reverse=True)[:3]:
        assert f"of class {i} is taken for class {j} ({value} pixels)".replace("( ", "(") in page.text


HOSTILE = [
    "<script>alert(1)</script>",
    "&lt;b&gt; \"quoted\" 'x'",
    "葉っぱ\u202e\u0000\u0007",
    "{{ 7*7 }}{% raw %}",
    "e\u0301 " + "long" * 60,
]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    run = tmp_path / "<b>&run"
    result = fabricate(
        run, HOSTILE, pictures=['"><img src=http://example.com/x onerror=alert(1)>', "</title></style><script>"]
    )
    result["name"] = "</title><script>alert(2)</script>"
    result["commands"]["<i>odd</i>"] = "pixelwise predict '</pre><script>' \ud800"
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    broken = plan()
    broken["reasons"]["model"] = "<img src=x>"
    broken["split"]["validation"] = ["<svg/onload=alert(3)>"]
    (run / "plan.yaml").write_text(yaml.safe_dump(broken), encoding="utf-8")
    page = read(run)  # no script, no handler, no address outside, everything closed
    for name in (
        HOSTILE[0],
        HOSTILE[1],
        HOSTILE[3],
        HOSTILE[4],
        "<img src=x>",
        "<svg/onload=alert(3)>",
        "</title><script>alert(2)</script>",
    ):
        assert name in page.text
    assert "葉っぱ\u202e��" in page.text
    assert "49" not in re.findall(r"class=\"name\".*?</td>", (run / "report.html").read_text(encoding="utf-8"))


@pytest.mark.parametrize(
    "kept", [("plan.yaml",), ("log.jsonl",), ("result.json",), ("plan.yaml", "log.jsonl"), ("log.jsonl", "result.json")]
)
def test_what_is_missing_is_left_out(tmp_path: Path, kept: tuple[str, ...]) -> None:
    run = tmp_path / "run"
    fabricate(run, ["a", "b"])
    for name in {"plan.yaml", "log.jsonl", "result.json"} - set(kept):
        (run / name).unlink()
    text = read(run).text
    assert ("holds no plan" in text) == ("plan.yaml" not in kept)
    assert ("The log holds no measurement" in text) == ("log.jsonl" not in kept)
    assert ("there is no confusion matrix" in text) == ("result.json" not in kept)
    assert ("No score yet" in text) == (kept == ("plan.yaml",))


def test_interrupted_run_shows_the_best_validation_and_how_to_go_on(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    lines = [json.dumps(line) for line in log_lines(400)[:-1]]
    (run / "log.jsonl").write_text("\n".join(lines) + '\n{"event": "st', encoding="utf-8")  # killed while writing
    (run / "result.json").write_text(
        json.dumps(
            {"name": "x", "outcome": "interrupted", "commands": {"predict": "P", "resume": "pixelwise fit x --resume"}}
        )
    )
    page = read(run)
    best = max(line["mean_iou"] for line in log_lines(400) if line["event"] == "validation")
    assert f"mean IoU {best:.3f}" in page.text and "at step 400" in page.text
    assert "after step 400" in page.text
    for command in ("pixelwise fit x --resume", "Use it on new pictures"):
        assert page.text.index(command) < page.text.index("How good is each class?")


def test_scores_from_before_a_resume_are_called_old(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = fabricate(run, ["a", "b"]) | {"steps": 1200, "outcome": "interrupted"}
    result["commands"]["resume"] = "pixelwise fit x --resume"
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert "are old" not in read(run).text
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "start", "resumed": True}) + "\n")
    assert "are old" not in read(run).text  # nothing was learned since
    with (run / "log.jsonl").open("a") as log:
        log.write(json.dumps({"event": "step", "step": 1210, "loss": 1.0}) + "\n")
    text = read(run).text
    assert "are old: they were measured at step 1 200, and training has gone on to step 1 210, without" in text
    assert result["outcome_text"] not in text
    assert text.index("pixelwise fit x --resume") < text.index("How good is each class?")


def staged(run: Path, began: int) -> None:
    """A staged run whose first stage has ended and whose stage number `began` has begun."""
    fabricate(run, ["a", "b"])
    networks = ["fcn32s_vgg16", "fcn16s_vgg16", "fcn8s_vgg16"]
    planned = plan() | {"stages": {name: {} for name in networks[:2]}}
    planned["recipe"]["model"] = networks[2]
    (run / "plan.yaml").write_text(yaml.safe_dump(planned, sort_keys=False), encoding="utf-8")
    (run / "log.jsonl").unlink()
    result = json.loads((run / "result.json").read_text())
    for number, name in enumerate(networks[:began], 1):
        home = run if number == 3 else run / "stages" / name
        home.mkdir(parents=True, exist_ok=True)
        lines = log_lines(100 * number)
        (home / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
        if number < 3:
            own = result | {"steps": 100 * number, "outcome": "finished" if number < began else "interrupted"}
            (home / "result.json").write_text(json.dumps(own), encoding="utf-8")
    adopted = {"steps": 200, "outcome": "interrupted", "stage": {"model": networks[1], "number": 2, "total": 3}}
    (run / "result.json").write_text(json.dumps(result | adopted), encoding="utf-8")


def test_a_staged_run_shows_the_curves_of_the_stage_it_is_in(tmp_path: Path) -> None:
    staged(tmp_path / "two", 2)
    page = read(tmp_path / "two")
    assert "The curves below are of fcn16s_vgg16, stage 2 of 3" in page.text and "over 200 steps" in _labels(page)
    assert "The log holds no measurement" not in page.text and "are old" not in page.text
    assert "fcn16s_vgg16 200" in page.text and "Interrupted fcn8s_vgg16 – – – Not yet" in page.text
    staged(tmp_path / "three", 3)
    page = read(tmp_path / "three")
    assert "The curves below are of fcn8s_vgg16, stage 3 of 3" in page.text and "over 300 steps" in _labels(page)
    assert "measured at step 200 of fcn16s_vgg16, and training has gone on to step 300 of fcn8s_vgg16," in page.text
    assert "– Begun" in page.text


def _labels(page: Page) -> str:
    return " ".join(str(svg.get("aria-label")) for svg in page.all("svg"))


def test_the_best_and_the_worst_class_are_named_where_they_differ(tmp_path: Path) -> None:
    result = fabricate(tmp_path, ["a", "b"])
    for entry, overlap in zip(result["scores"]["per_class"], (0.75, 0.5), strict=True):
        entry["iou"] = overlap
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert "The overlap is highest for a, 75.0 %, and lowest for b, 50.0 %." in read(tmp_path).text
    result["scores"]["per_class"][0]["iou"] = 0.5
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    assert "is highest" not in read(tmp_path).text


def test_counted_pictures_are_told_as_such(tmp_path: Path) -> None:
    result = fabricate(tmp_path, ["cats", "dogs"])
    per_class = [
        {"name": "cats", "precision": 0.75, "recall": 1.0, "pictures": 3},
        {"name": "dogs", "precision": 1.0, "recall": 2 / 3, "pictures": 3},
    ]
    result["scores"] = {"counted": "pictures", "picture_accuracy": 5 / 6, "pictures": 6, "per_class": per_class}
    result["scores"]["confusion"] = [[3, 0], [1, 2]]
    image = result["pictures"][0]["file"]
    shown = {"image": image, "map": image}
    wrong = {"own_class": "dogs", "taken_for": "cats", "probability": 0.759, "own_probability": 0.241, "own_map": image}
    right = {"own_class": "cats", "taken_for": "cats", "probability": 0.6, "own_probability": 0.6}
    result["pictures"] = [
        shown | wrong | {"kind": "worst", "name": "x"},
        shown | right | {"kind": "unsure", "name": "y"},
    ]
    (tmp_path / "result.json").write_text(json.dumps(result), encoding="utf-8")
    page = read(tmp_path)
    assert "5 of 6 validation pictures that training never saw are taken for the class of their folder" in page.text
    assert "Recall is highest for cats, 100.0 %, and lowest for dogs, 66.7 %." in page.text
    assert "taken for cats (75.9 %), dogs 24.1 %" in page.text and "taken for cats (60.0 %)" in page.text
    assert page.text.index("Where it fails most") < page.text.index("Where it is least sure")
    assert "Where it works best" not in page.text
    assert "dogs is taken for cats (1 picture)" in page.text
    bars = [span for span in page.all("span") if span.get("class") == "heat-bar"]
    assert len(bars) == 3 and all("rgb(" in (bar["style"] or "") for bar in bars)


def test_log_keeps_the_later_of_two_and_drops_what_a_resume_undid(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    records: list[Mapping[str, object]] = [{"event": "start"}]
    records += [{"event": "step", "step": s, "loss": 1.0} for s in (10, 20, 30, 40)]
    records += [{"event": "validation", "step": 40, "mean_iou": 0.9}, {"event": "start"}]
    records += [{"event": "step", "step": s, "loss": float("nan") if s == 30 else 2.0} for s in (20, 30)]
    path.write_text("\n".join(map(json.dumps, records)) + "\n[1]\nnot json\n", encoding="utf-8")
    log = read_log(path)
    curve = log.curve("steps", "loss")
    assert [step for step, _ in curve] == [10, 20, 30]
    assert curve[1] == (20, 2.0) and np.isnan(curve[2][1])
    assert log.validations == {} and log.end is None
    assert log.resumed == [20]


def test_classes_without_a_score_are_dashes(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = fabricate(run, ["a", "b", "c"])
    result["scores"]["per_class"][1] |= {"iou": None, "precision": float("nan"), "recall": None}
    result["scores"]["classes_left_out"] = 1
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    text = read(run).text
    assert text.count("–") >= 3 and "1 class does not occur in these pictures and is left out of the mean" in text


def test_missing_and_foreign_pictures_are_left_out(tmp_path: Path) -> None:
    run = tmp_path / "run"
    result = fabricate(run, ["a", "b"])
    (run / "pictures" / "best-errors.png").unlink()
    (run / "pictures" / "worst.jpg").write_bytes(b"no picture")
    Image.new("RGB", (4, 4)).save(tmp_path / "secret.png")
    result["pictures"][0]["file"] = "../secret.png"
    (run / "result.json").write_text(json.dumps(result), encoding="utf-8")
    page = read(run)
    assert len(page.all("img")) == 1 + 3 + 3
    assert "missing from the run folder" in page.text
    assert picture_uri(run, "../secret.png") is None and picture_uri(run, None) is None


def test_a_large_mask_is_reduced_without_new_colors(tmp_path: Path) -> None:
    import base64
    import io

    colors = np.array([(128, 0, 0), (0, 128, 0)], np.uint8)
    mask = colors[np.random.default_rng(0).integers(0, 2, (40, 3000))]
    Image.fromarray(mask).save(tmp_path / "mask.png")
    uri = picture_uri(tmp_path, "mask.png")
    assert uri is not None
    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))
    assert shown.shape == (15, 1100, 3)
    assert {tuple(c) for c in shown.reshape(-1, 3).tolist()} <= {tuple(c) for c in colors.tolist()}


def test_writing_again_replaces_the_page(tmp_path: Path) -> None:
    run = tmp_path / "run"
    fabricate(run, ["a", "b"])
    first = write_report(run).read_bytes()
    assert write_report(run).read_bytes() == first


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("result.json", "{", r"result\.json is expected to be JSON, but it cannot be read at line 1; restore"),
        ("result.json", "[]", r"result\.json, the whole file: .*got \[\]; restore"),
        ("result.json", '{"scores": {"mean_iou": "high"}}', r"result\.json, scores\.mean_iou: .*got 'high'; restore"),
        (
            "result.json",
            '{"data": {"classes": [{"name": "a", "color": [0, 0, 300]}]}}',
            r"data\.classes\.0\.color\.2: .*got 300",
        ),
        (
            "result.json",
            '{"scores": {"confusion": [[1, 2]]}}',
            r"0 classes, so a 0 × 0 confusion matrix is expected, but it has 1 rows of 2; eval",
        ),
        ("plan.yaml", "a: [", r"plan\.yaml is expected to be YAML, but it cannot be read at line 1; restore"),
        ("plan.yaml", "format: 9", r"plan\.yaml has format 9, this pixelwise reads up to 1; update pixelwise"),
        ("plan.yaml", "split: 3", r"plan\.yaml, split: .*got 3; restore"),
        ("log.jsonl", b"\xff\xfe", r"log\.jsonl is expected to be text in UTF-8, but byte 0 is not; restore"),
    ],
)
def test_broken_files_are_named_in_one_line(tmp_path: Path, name: str, content: str | bytes, message: str) -> None:
    (tmp_path / "report.html").write_text("the old one")
    (tmp_path / name).write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(DataError, match=message) as caught:
        write_report(tmp_path)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "report.html").read_text() == "the old one"


def test_no_run_folder(tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"a run folder is expected, but .*none is not there; pass the folder that fit wrote"
    ):
        write_report(tmp_path / "none")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="is a file; pass the folder that fit wrote"):
        write_report(tmp_path / "file")
    with pytest.raises(DataError, match=r"holds none of plan\.yaml, log\.jsonl and result\.json; pass"):
        write_report(tmp_path)


def test_page_that_cannot_be_written(tmp_path: Path) -> None:
    fabricate(tmp_path, ["a", "b"])
    (tmp_path / "report.html").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*report\.html: .*; make room or allow writing there"):
        write_report(tmp_path)
    assert not list(tmp_path.glob(".report*"))


def test_running_mean_is_its_definition() -> None:
    values = np.random.default_rng(0).random(17)
    points = [(float(k), float(v)) for k, v in enumerate(values)]
    for (_, fast), k in zip(running_mean(points, 3), range(17), strict=True):
        near = min(3, k, 16 - k)
        assert fast == pytest.approx(values[k - near : k + near + 1].mean())


def test_thinning_keeps_peaks_and_order() -> None:
    points = [(float(k), 5.0 if k == 777 else -3.0 if k == 1203 else 0.001 * (k % 7)) for k in range(5000)]
    kept = thinned(points, 400)
    assert len(kept) <= 400 and {points[777], points[1203]} <= set(kept)
    assert kept == sorted(kept) and set(kept) <= set(points)
    assert thinned(points[:400], 400) == points[:400]


@pytest.mark.parametrize(
    ("low", "high"), [(0, 1), (0.12, 0.91), (0, 12345), (1e-6, 2e-3), (-3, 4), (0.5, 0.5), (0, 0), (-2, -2)]
)
def test_ticks_enclose_and_are_few(low: float, high: float) -> None:
    ticks = nice_ticks(low, high, 4)
    assert ticks[0] <= low and ticks[-1] >= high and 2 <= len(ticks) <= 7
    assert np.allclose(np.diff(ticks), ticks[1] - ticks[0])


def test_plot_leaves_gaps_and_escapes() -> None:
    nan = float("nan")
    svg = line_plot(
        "<b>",
        [(0, 1.0), (1, 2.0), (2, nan), (3, 1.5), (4, float("inf")), (5, 1.0)],
        color='"><x',
        values=lambda v: f"<{v}>",
    )
    assert svg is not None and "nan" not in svg and "inf" not in svg and "<b>" not in svg and "<x" not in svg
    assert re.search(r' d="([^"]*)"', svg)[1].count("M") == 3  # type: ignore[index]
    assert line_plot("a", [(0, nan)], color="red", values=str) is None
    assert line_plot("a", [], color="red", values=str) is None
    assert "circle" in (line_plot("a", [(0, 0.5)], color="red", values=str) or "")


@pytest.mark.parametrize("at", [0, 5, 10])
def test_the_marked_value_stands_above_the_curve(at: int) -> None:
    points = [(float(step), 1.0 if step == at else 0.2) for step in range(11)]
    svg = line_plot("a", points, color="red", values=str, marked=(float(at), 1.0), ceiling=1.0) or ""
    ring = re.search(r'class="mark"[^>]* cx="([^"]*)" cy="([^"]*)" r="5"', svg)
    label = re.search(r'class="marked" x="([^"]*)" y="([^"]*)"', svg)
    assert ring and label and ring[1] == label[1]
    assert 10 < float(label[2]) < float(ring[2]) - 5


def test_numbers_for_people() -> None:
    assert [percent(v).replace("\u202f", " ") for v in (1.0, 0.8431, 0.001, 0.0004, 1e-6, 0.0, None, float("nan"))] == [
        "100.0 %", "84.3 %", "0.1 %", "0.04 %", "< 0.001 %", "0 %", "–", "–",
    ]  # fmt: skip
    assert [count(v).replace("\u202f", "_") for v in (0, 999, 1834.4, 1_234_567, None)] == [
        "0",
        "999",
        "1_834",
        "1_234_567",
        "–",
    ]
    assert [duration(v) for v in (0.42, 59.4, 59.6, 600, 3700, None)] == [
        "0.4 s",
        "59 s",
        "1 min",
        "10 min",
        "1 h 1 min",
        "–",
    ]
    assert [figure(v) for v in (0.00212, 33.04, 1520.4, 2e-5, 0.0, None)] == ["0.00212", "33", "1520", "2e-5", "0", "–"]
    assert plan_value({"flip": True, "scale": [0.75, 1.5]}) == "flip yes, scale 0.75, 1.5"
    assert [
        plan_value([192, 256], "crop_size"),
        plan_value(20_000).replace("\u202f", "_"),
        plan_value(31_337, "seed"),
    ] == ["192 × 256", "20_000", "31337"]
