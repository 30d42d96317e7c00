"""Class folders: a classifier is trained, made convolutional and measured by whole pictures, and nothing else."""

import json
import re
import signal
from collections import Counter

import numpy as np
import pytest
from PIL import Image

import pixelwise as pw
from pixelwise.data.answers import Answers
from pixelwise.data.sample import Sample
from pixelwise.errors import BadOption, DataError, DataQuestion, LabelError, UnknownName, WeightsError
from pixelwise.flow.check import check_folder, look_at
from pixelwise.flow.class_folders import (
    BUILDER,
    ReducedDataset,
    as_trained,
    choose_window,
    reduced,
    split_by_class,
)
from pixelwise.flow.doctor import understand
from pixelwise.flow.evaluate import evaluate_folder
from pixelwise.flow.plan import Plan
from pixelwise.flow.result import coarse_maps
from pixelwise.inference.classify import Classification, ClassifiedPicture, PictureScores, classify_pictures
from pixelwise.labels import LabelSet
from pixelwise.report.page import write_report
from pixelwise.training.loop import StepLogged

SMALL = {"batch_size": 6, "threads": 1, "model_options": {"width": 0.125, "input_size": 32}}
QUICK = {"batch_size": 8, "rate": 0.01, "average": 0.9, "validate_every": 20}
LYING, STANDING = (8, 24), (24, 8)  # red and blue, so that it is quickly learned


def draw(path, shape, seed, size=(36, 44)):
    """A bright bar of this (height, width) on dark noise, red if it lies and blue if it stands."""
    random = np.random.default_rng(seed)
    image = random.integers(0, 90, (*size, 3)).astype(np.uint8)
    top, left = (int(random.integers(2, length - side - 1)) for length, side in zip(size, shape, strict=True))
    image[top : top + shape[0], left : left + shape[1], 0 if shape == LYING else 2] += 150
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(image).save(path)
    return path


def draw_folders(root, count=8, seed=0, **options):
    for number, (name, shape) in enumerate({"lying": LYING, "standing": STANDING}.items()):
        for i in range(count):
            draw(root / name / f"{name}_{seed}_{i:02}.png", shape, (seed, number, i), **options)
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    return draw_folders(tmp_path_factory.mktemp("data") / "bars")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A folder with a test part, and a run of it that has learned."""
    root = tmp_path_factory.mktemp("trained")
    draw_folders(root / "data" / "train", count=12, seed=1)
    draw_folders(root / "data" / "test", count=5, seed=2)
    result = pw.fit(root / "data", labels="folders", out=root / "run", steps=80, settings=SMALL | QUICK)
    return root / "data", result


# the doctor


def test_a_picture_counts_once_whatever_its_size(tmp_path):
    draw_folders(tmp_path, count=3)
    draw(tmp_path / "lying" / "large.png", LYING, 9, size=(90, 120))
    found = understand(tmp_path, labels_from="folders")
    assert found.labels_from == "folders" and not found.errors
    assert found.pixel_counts.tolist() == found.image_counts.tolist() == [4, 3]
    assert found.told.startswith("7 pictures (7 in one part): class folders (lying/, standing/). The rule: a picture")
    assert "no mask says where in a picture its class is" in found.told.lower()
    record = found.to_record()
    assert record["labels_from"] == "folders" and record["class_splits"] == {"all": [4, 3]}


def test_a_broken_picture_is_named_once(tmp_path):
    draw_folders(tmp_path, count=2)
    broken = tmp_path / "lying" / "broken.png"
    broken.write_bytes(b"no picture")
    cut = tmp_path / "standing" / "cut.png"
    cut.write_bytes(draw(tmp_path / "whole.png", LYING, 3).read_bytes()[:900])
    (tmp_path / "whole.png").unlink()
    found = understand(tmp_path, labels_from="folders")
    assert sorted(fault.path for fault in found.errors) == [broken, cut]
    with pytest.raises(DataError, match=r"broken\.png.*and 1 more: see `pixelwise check \S+ --labels folders`"):
        pw.fit(tmp_path, labels="folders", out=tmp_path / "runs" / "in it", steps=2)


def test_a_class_of_which_nothing_can_be_read_is_told(tmp_path):
    draw_folders(tmp_path, count=1)
    next((tmp_path / "lying").iterdir()).write_bytes(b"")
    found = understand(tmp_path, labels_from="folders")
    reasons = [fault.message for fault in found.errors]
    assert any("all 1 pictures that can be used are of one class, standing; expected two or more" in r for r in reasons)
    next((tmp_path / "standing").iterdir()).write_bytes(b"")
    with pytest.raises(DataError, match="none of the 2 pictures can be read"):
        understand(tmp_path, labels_from="folders")


def test_one_picture_in_two_classes_and_in_two_parts(tmp_path):
    for part in ("train", "val"):
        draw_folders(tmp_path / part, count=4, seed=len(part))
    same = tmp_path / "train" / "lying" / "lying_5_00.png"
    (tmp_path / "train" / "standing" / "copy.png").write_bytes(same.read_bytes())
    (tmp_path / "val" / "lying" / "again.png").write_bytes(same.read_bytes())
    messages = [fault.message for fault in understand(tmp_path, labels_from="folders").faults]
    assert any("are the same picture in two classes; keep the right one, remove the other" in m for m in messages)
    assert any("again.png in the val part" in m and "are the same picture; scores" in m for m in messages)


def test_a_class_with_few_pictures_is_told_in_pictures(tmp_path):
    draw_folders(tmp_path, count=32)
    for file in sorted((tmp_path / "standing").iterdir())[2:]:
        file.unlink()
    (fault,) = understand(tmp_path, labels_from="folders").faults
    assert fault.message == (
        "too rare to be learned: standing (2 pictures); add pictures of it, or merge its folder with another"
    )


def test_a_turned_picture_is_read_upright(tmp_path):
    draw_folders(tmp_path, count=2)
    image = Image.open(tmp_path / "lying" / "lying_0_00.png")
    exif = image.getexif()
    exif[0x0112] = 6
    image.save(tmp_path / "lying" / "turned.jpg", exif=exif)
    found = understand(tmp_path, labels_from="folders")
    assert not found.errors and found.sizes[44, 36] == 1
    assert "1 pictures have an EXIF rotation; it is applied" in found.notes


def test_the_refusal_of_a_folder_without_masks_says_what_helps(tmp_path):
    draw_folders(tmp_path / "a", count=2)
    with pytest.raises(
        DataError, match=r"no masks under .*; or, if lying/, standing/ are classes of whole pictures, `pix"
    ):
        understand(tmp_path / "a")
    for name in "pqrs":
        draw(tmp_path / "b" / name / "1.png", LYING, 0)
    with pytest.raises(
        DataQuestion, match=r"Or, if p/, q/, r/ … are .* take --labels folders\. Answer with --as"
    ) as told:
        understand(tmp_path / "b")
    assert told.value.answers
    draw(tmp_path / "c" / "1.png", LYING, 0)
    with pytest.raises(DataError) as plain:
        understand(tmp_path / "c")
    assert "folders" not in str(plain.value).replace(str(tmp_path), "")


def test_check_shows_classes_and_offers_no_clean_copy(folders, tmp_path):
    checked = check_folder(folders, labels="folders", page=tmp_path / "page.html")
    text = re.sub(r"<[^>]*>", "", checked.page.read_text())
    assert "Share of all pictures" in text and "in the files" not in text and "never counted" not in text
    assert f"pixelwise fit {folders} --labels folders" in text and "--fix" not in text and "--write-classes" not in text
    assert checked.to_record()["labels_from"] == "folders"
    for options in ({"fix": tmp_path / "fixed"}, {"write_classes": tmp_path / "classes.yaml"}):
        with pytest.raises(BadOption, match="are of masks, which class folders have none of"):
            check_folder(folders, labels="folders", make_page=False, **options)


def test_options_about_masks_are_refused(folders, tmp_path):
    with pytest.raises(BadOption, match="class folders have no masks"):
        understand(folders, labels_from="folders", answers=Answers.of(["objects"]))
    with pytest.raises(BadOption, match="class folders have no masks"):
        look_at(folders, labels="folders", classes=tmp_path / "classes.yaml")
    for options in ({"read_as": ["snap"]}, {"classes": tmp_path / "classes.yaml"}):
        with pytest.raises(BadOption, match="class folders have no masks.*leave out --as and --classes"):
            pw.fit(folders, labels="folders", out=tmp_path / "run", **options)
    with pytest.raises(BadOption, match="--staged trains segmenters, which need masks"):
        pw.fit(folders, labels="folders", out=tmp_path / "run", staged=True)


# the window and the reduced pictures


def test_the_window_is_the_largest_that_fits_into_the_reduced_median_picture():
    for sides in ([24], [31, 33, 500], [100, 130, 135, 90], [240], [375, 500, 4000], [3000]):
        window = choose_window(Counter((side, 5000) for side in sides))
        side = sorted(sides)[len(sides) // 2]
        small = side // window.shrink
        assert window.input_size % 32 == 0
        assert window.input_size <= max(small, 32) < window.input_size + 32
        assert abs(side / window.shrink - 160) <= abs(side / (window.shrink + 1) - 160)
        assert f"about {side} pixels" in window.reason
    assert "reduced" not in choose_window(Counter({(100, 100): 1})).reason
    for side in (100, 224, 900):
        window = choose_window(Counter({(side, side): 1}), "vgg16")
        assert (window.input_size, window.shrink) == (224, max(1, round(side / 224)))
    assert "reduced 3 times" in choose_window(Counter({(500, 500): 1})).reason


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 3, 6])
def test_reduced_pictures_are_means_of_blocks(dtype, channels):
    random = np.random.default_rng(0)
    image = (random.random((8, 11, channels)) * (1 if dtype is np.float32 else np.iinfo(dtype).max)).astype(dtype)
    found = reduced(image, 3)
    assert found.shape == (2, 3, channels) and found.dtype == dtype
    for row in range(2):
        for column in range(3):
            block = image[3 * row : 3 * row + 3, 3 * column : 3 * column + 3].reshape(9, channels).astype(float)
            assert np.abs(found[row, column] - block.mean(0)).max() <= (1e-6 if dtype is np.float32 else 0.51)
    assert reduced(image, 1) is image
    assert reduced(image[:2, :2], 3).shape == (1, 1, channels)


def test_reduced_samples_keep_their_class():
    class One:
        def __init__(self):
            self.labels = {"labels": LabelSet(("a", "b"))}

        def __len__(self):
            return 1

        def __getitem__(self, index):
            return Sample(np.zeros((9, 14, 3), np.uint8), {"labels": np.full((9, 14), 1, np.uint8)}, "x")

        def describe(self):
            return "told"

    data = ReducedDataset(source := One(), 4)
    assert data[0].targets["labels"].tolist() == [[1, 1, 1], [1, 1, 1]] and data[0].name == "x"
    assert len(data) == 1 and data.describe() == "told" and data.labels is source.labels


def test_the_model_that_shrinks_says_what_was_trained_on_reduced_pictures(tmp_path):
    """The same weights: with `shrink` on whole pictures, without it on pictures reduced before."""
    import torch

    from pixelwise.layers.normalization import Normalization

    torch.manual_seed(0)
    options = {"classifier": "resnet18", "input_size": 32, "num_classes": 2, "width": 0.125, "shrink": 3}
    model = pw.build(BUILDER, **options).eval()
    twin = pw.build(BUILDER, **as_trained(options, by_folder=True)).eval()
    twin.load_state_dict(model.state_dict())
    draw_folders(tmp_path, count=2, size=(126, 147))
    whole = understand(tmp_path, labels_from="folders").datasets()["all"]
    plain = Normalization((100.0,) * 3, (50.0,) * 3)
    found = [classify_pictures(net, plain, data) for net, data in ((model, whole), (twin, ReducedDataset(whole, 3)))]
    one, other = ([picture.true_probability for picture in each.pictures] for each in found)
    assert one == pytest.approx(other, abs=0.01) and max(one) - min(one) > 1e-4


# the plan


def test_the_plan_is_of_a_classifier_with_reasons(folders, tmp_path):
    run = pw.fit(folders, labels="folders", out=tmp_path / "run", steps=5, plan_only=True).run
    plan = Plan.load(run / "plan.yaml")
    recipe = plan.recipe
    assert recipe.model == BUILDER and recipe.crop_size == (32, 32) and recipe.loss == "cross_entropy"
    assert recipe.model_options == {
        "num_classes": 2,
        "in_channels": 3,
        "classifier": "resnet18",
        "input_size": 32,
        "shrink": 1,
        "width": 0.25,
    }
    assert recipe.augmentation.flip_horizontal
    assert not recipe.augmentation.flip_vertical and not recipe.augmentation.quarter_turns
    assert plan.normalization.per_picture is False
    assert plan.data["labels_from"] == "folders"
    for choice in ("model", "crop_size", "loss", "augmentation", "precision", "validation", "steps", "patience"):
        assert plan.reasons[choice], choice
    assert recipe.patience == 0 and "all are trained" in plan.reasons["patience"]
    assert "mask" not in " ".join(plan.reasons.values()) and "IoU" not in " ".join(plan.reasons.values())


def test_choices_can_be_overridden(folders, tmp_path):
    settings = {"model_options": {"input_size": [64, 96], "shrink": 2, "width": 0.0625}, "rate": 0.01}
    options = {"labels": "folders", "plan_only": True, "steps": 3}
    run = pw.fit(folders, out=tmp_path / "a", model="resnet34", settings=settings, **options).run
    recipe = Plan.load(run / "plan.yaml").recipe
    assert recipe.crop_size == (64, 96) and recipe.rate == 0.01
    assert {"classifier": "resnet34", "shrink": 2, "width": 0.0625}.items() <= recipe.model_options.items()
    run = pw.fit(folders, out=tmp_path / "vgg", model="vgg16", **options).run
    recipe = Plan.load(run / "plan.yaml").recipe
    assert recipe.crop_size == (224, 224) and recipe.model_options["input_size"] == 224
    with pytest.raises(UnknownName, match="no classifier is called 'resnet81'; did you mean 'resnet18'"):
        pw.fit(folders, labels="folders", out=tmp_path / "b", model="resnet81")
    with pytest.raises(BadOption, match="name it with --model, as --model resnet18"):
        pw.fit(folders, labels="folders", out=tmp_path / "b", settings={"model": "unet"})
    with pytest.raises(BadOption, match="input_size must be a whole number"):
        pw.fit(folders, labels="folders", out=tmp_path / "b", settings={"model_options": {"input_size": 0}})
    assert not (tmp_path / "b").exists()


def test_the_window_that_was_set_is_told_as_such_and_is_the_crop(folders, tmp_path):
    options = {"labels": "folders", "plan_only": True, "steps": 3}
    for number, settings in enumerate(
        (
            {"model_options.input_size": 64, "model_options.shrink": 2},
            {"model_options.shrink": 2, "model_options": {"input_size": 64}, "crop_size": [64, 64]},
        )
    ):
        plan = Plan.load(pw.fit(folders, out=tmp_path / f"{number}", settings=settings, **options).run / "plan.yaml")
        assert plan.recipe.crop_size == (64, 64)
        assert plan.recipe.model_options["shrink"] == 2 and plan.recipe.model_options["width"] == 0.25
        assert "resnet18 at width 0.25" in plan.reasons["model"] and "input_size" in plan.reasons["model"]
        if not number:
            assert (
                "; reduced 2 times, as you set it, a window of 64 × 64, as you set it, and" in plan.reasons["crop_size"]
            )
    assert "shows most of a picture" in choose_window(Counter({(99, 99): 1}), options={"shrink": 1}).reason
    for settings in (
        {"crop_size": [32, 64]},
        {"crop_size": [32, 32], "model_options.input_size": 64},
    ):
        with pytest.raises(BadOption, match="a crop is the classifier's window, .* set model_options.input_size"):
            pw.fit(folders, out=tmp_path / "no", settings=settings, **options)
    with pytest.raises(BadOption, match="name it with --model, as --model resnet18"):
        pw.fit(folders, out=tmp_path / "no", settings={"model_options.classifier": "vgg16"}, **options)
    run = pw.fit(folders, out=tmp_path / "later", **options).run
    plan = pw.fit(folders, out=run, resume=True, plan_only=True, settings={"model_options.input_size": 96}).run
    assert Plan.load(plan / "plan.yaml").recipe.crop_size == (96, 96)
    with pytest.raises(BadOption, match="a crop is the classifier's window, 96 × 96, and crop_size is 32 × 32"):
        pw.fit(folders, out=run, resume=True, plan_only=True, settings={"crop_size": [32, 32]})


def test_an_option_with_a_dot_reduces_the_pictures_that_are_trained_on(tmp_path, monkeypatch):
    from pixelwise.flow import fit as fit_module

    seen = []
    monkeypatch.setattr(fit_module, "train_stages", lambda folder, run, found, plan, parts, *more: seen.append(parts))
    draw_folders(tmp_path / "data", count=3, size=(120, 140))
    whole = {"model_options": {"input_size": 32, "width": 0.0625}}
    for number, settings in enumerate(({"model_options.shrink": 3}, {"model_options.shrink": 3} | whole)):
        pw.fit(tmp_path / "data", labels="folders", out=tmp_path / f"{number}", steps=1, settings=settings)
        assert seen[number].train[0].size == seen[number].validation[0].size == (40, 46)


def test_an_empty_class_folder_stops_nothing(tmp_path):
    draw_folders(tmp_path / "data", count=3)
    (tmp_path / "data" / "nothing").mkdir()
    run = pw.fit(tmp_path / "data", labels="folders", out=tmp_path / "run", steps=1, plan_only=True).run
    plan = Plan.load(run / "plan.yaml")
    assert plan.labels.names == ("lying", "standing")
    assert [fault["severity"] for fault in plan.data["faults"]] == ["warning"]


# the run


def test_it_learns_and_counts_pictures(trained):
    _, result = trained
    assert isinstance(result.scores, PictureScores)
    assert result.split == "test" and result.scores.confusion.sum() == 10
    assert result.scores.accuracy >= 0.9
    record = json.loads((result.run / "result.json").read_text())
    assert record["scores"]["counted"] == "pictures"
    assert record["scores"]["picture_accuracy"] == pytest.approx(result.scores.accuracy)
    assert "iou" not in json.dumps(record["scores"]) and "pixel" not in json.dumps(record["scores"])
    logged = [json.loads(line) for line in (result.run / "log.jsonl").read_text().splitlines()]
    validations = [entry for entry in logged if entry["event"] == "validation"]
    assert len(validations) == 4
    assert {"mean_picture_accuracy", "picture_accuracy", "mean_probability"} <= validations[0].keys()
    assert "mean_iou" not in validations[0]


def test_the_model_file_knows_what_it_is_and_predicts_coarse_maps(trained, tmp_path):
    _, result = trained
    segmenter = pw.load(result.run / "model.safetensors")
    assert segmenter.architecture["builder"] == BUILDER
    assert segmenter.scores["counted"] == "pictures" and "mean_iou" not in segmenter.scores
    assert "where in a picture a class is, was not measured" in segmenter.scores["protocol"]
    image = np.random.default_rng(5).integers(0, 90, (64, 200, 3)).astype(np.uint8)
    image[20:44, 20:28, 2] += 150
    image[28:36, 160:184, 0] += 150
    prediction = segmenter.predict(image)
    assert prediction.labels.shape == (64, 200)
    assert segmenter.labels.names[prediction.labels[32, 24]] == "standing"
    assert segmenter.labels.names[prediction.labels[32, 172]] == "lying"


def test_the_report_says_what_was_measured_and_what_was_not(trained):
    _, result = trained
    text = re.sub(r"\s+", " ", (result.run / "report.html").read_text())
    for said in (
        "The maps are coarse.",
        "no label of a pixel was seen",
        "how good the maps are was not measured",
        "accuracy by picture",
        "Validation accuracy by picture",
        "taken for",
        "Where it sees",
        "The window is 32 × 32 pixels",
        "Share of the pictures",
    ):
        assert said in text, said
    assert not re.search(r"IoU|\bpx\b|% of all pixels", re.sub(r"data:[^\"]*", "", text))
    pictures = json.loads((result.run / "result.json").read_text())["pictures"]
    shown = [one for one in pictures if one["kind"] != "data"]
    assert all((one["kind"] == "worst") == (one["own_class"] != one["taken_for"]) for one in shown)
    assert len(shown) >= 2 and all((result.run / one["map"]).is_file() for one in shown)
    for one in shown:
        assert ("own_map" in one) == (one["own_class"] != one["taken_for"])
    assert next(one["name"] for one in pictures if one["kind"] == "data").startswith("lying: lying_1_")


@pytest.mark.parametrize(
    ("wrong", "chosen"),
    [
        ((), {"best": [7, 6, 5], "unsure": [0, 1, 2]}),
        ((3,), {"best": [7, 6, 5], "worst": [3]}),
        ((0, 1, 4, 5, 6), {"best": [7, 3, 2], "worst": [0, 1, 4]}),
        (tuple(range(8)), {"worst": [0, 1, 2]}),
    ],
)
def test_examples_are_the_surest_right_pictures_and_the_worst_wrong_ones(trained, tmp_path, wrong, chosen):
    data, result = trained
    pool = understand(data, labels_from="folders").datasets()["train"]
    pictures = tuple(
        ClassifiedPicture(i, f"{i}", 0, 1, 1 - i / 20, i / 20)
        if i in wrong
        else ClassifiedPicture(i, f"{i}", 0, 0, i / 10, i / 10)
        for i in range(8)
    )
    listed = coarse_maps(result.segmenter, Classification(result.scores, pictures, 1.0), pool, tmp_path)
    names = [pool[i].name for i in range(8)]
    assert [(one["kind"], names.index(one["name"])) for one in listed] == [
        (kind, index) for kind, indices in chosen.items() for index in indices
    ]
    for one in listed:
        index = names.index(one["name"])
        assert one["own_probability"] == (index / 20 if index in wrong else index / 10)
        assert ("own_map" in one) == (index in wrong)


def test_a_report_without_a_result_still_counts_pictures(trained, tmp_path):
    _, result = trained
    for name in ("plan.yaml", "log.jsonl"):
        (tmp_path / name).write_text((result.run / name).read_text())
    text = write_report(tmp_path).read_text()
    assert "The best accuracy by picture measured while training" in text and "IoU" not in text
    (tmp_path / "log.jsonl").unlink()
    assert "The maps are coarse." in write_report(tmp_path).read_text()


def test_same_plan_and_seed_same_bytes_and_a_killed_run_goes_on(folders, tmp_path):
    settings = SMALL | {"validate_every": 3, "log_every": 1}

    def stop(event):
        if isinstance(event, StepLogged) and event.step == 2:
            signal.raise_signal(signal.SIGINT)

    cut = pw.fit(folders, labels="folders", out=tmp_path / "a", steps=6, settings=settings, tell=stop)
    assert cut.outcome == "interrupted" and cut.split == "validation"
    followed = pw.fit(folders, out=tmp_path / "b", plan=cut.run / "plan.yaml")
    going_on = pw.fit(folders, out=tmp_path / "a", resume=True)
    assert going_on.outcome == "finished" and isinstance(going_on.scores, PictureScores)
    files = [(run / "model.safetensors").read_bytes() for run in (followed.run, going_on.run)]
    assert files[0] == files[1]


def test_a_plan_for_masks_is_not_followed_with_class_folders(folder, tmp_path, tiny):
    run = pw.fit(folder, out=tmp_path / "run", steps=2, settings=tiny, plan_only=True).run
    with pytest.raises(BadOption, match="the stored plan is for masks; leave out --labels folders"):
        pw.fit(folder, labels="folders", out=run, resume=True)


def test_large_pictures_are_trained_on_reduced_and_measured_whole(tmp_path):
    draw_folders(tmp_path / "data", count=4, size=(120, 140))
    settings = SMALL | {"model_options": {"width": 0.0625, "input_size": 32, "shrink": 3}}
    result = pw.fit(tmp_path / "data", labels="folders", out=tmp_path / "run", steps=3, settings=settings)
    again = evaluate_folder(result.segmenter, tmp_path / "data")
    assert result.segmenter.network.shrink == 3
    assert again[1].scores.confusion.tolist() == result.scores.confusion.tolist()
    assert result.segmenter.predict(tmp_path / "data" / "lying" / "lying_0_00.png").labels.shape == (120, 140)
    resumed = pw.fit(tmp_path / "data", out=tmp_path / "run", resume=True)
    assert resumed.scores.confusion.tolist() == result.scores.confusion.tolist()


# evaluate


def test_evaluate_counts_pictures_as_the_run_did(trained):
    data, result = trained
    part, found = evaluate_folder(result.segmenter, data)
    assert part == "test"
    assert found.scores.confusion.tolist() == result.scores.confusion.tolist()
    part, found = evaluate_folder(result.segmenter, data, split="train")
    assert part == "train" and found.scores.confusion.sum() == 24


def test_evaluate_goes_by_the_classes_names(trained, tmp_path):
    _, result = trained
    draw(tmp_path / "one" / "standing" / "a.png", STANDING, 3)
    _, found = evaluate_folder(result.segmenter, tmp_path / "one")
    assert found.scores.confusion.sum(1).tolist() == [0, 1] and found.scores.classes_left_out == 1
    draw(tmp_path / "two" / "standing" / "a.png", STANDING, 3)
    draw(tmp_path / "two" / "crooked" / "b.png", STANDING, 4)
    with pytest.raises(
        LabelError, match="has class folders crooked, which the model does not know; its classes are ly"
    ):
        evaluate_folder(result.segmenter, tmp_path / "two")
    (tmp_path / "two" / "heic").mkdir()
    (tmp_path / "two" / "heic" / "x.heic").write_bytes(b"0")
    with pytest.raises(LabelError, match="has class folders crooked, which"):  # before what is wrong with files
        evaluate_folder(result.segmenter, tmp_path / "two")
    draw(tmp_path / "three" / "standing" / "a.png", STANDING, 3)
    (tmp_path / "three" / "standing" / "b.png").write_bytes(b"")
    pointed = r"`pixelwise check \S+three --labels folders` lists all faults$"
    with pytest.raises(DataError, match=r"b\.png.*; " + pointed):
        evaluate_folder(result.segmenter, tmp_path / "three")
    (tmp_path / "three" / "standing" / "b.png").unlink()
    (tmp_path / "two" / "heic").rename(tmp_path / "three" / "lying")
    with pytest.raises(DataError, match=r"lying holds no picture that can be read.*; " + pointed):
        evaluate_folder(result.segmenter, tmp_path / "three")
    with pytest.raises(BadOption, match="leave out --dataset, --as and --classes, or give --labels masks"):
        evaluate_folder(result.segmenter, tmp_path / "one", answers=Answers.of(["snap"]))
    with pytest.raises(DataError, match="has no part 'val'; it has all"):
        evaluate_folder(result.segmenter, tmp_path / "one", split="val")


def test_masks_can_measure_the_coarse_maps_where_there_are_some(trained, make_folder, tmp_path):
    _, result = trained
    folder = make_folder(tmp_path / "masks", count=2, values=(0, 1, 2))
    with pytest.raises(
        LabelError, match=r"nothing names their classes; .* lying, standing: write \S+classes\.txt with .*--classes$"
    ):
        evaluate_folder(result.segmenter, folder, labels="masks")
    masks = [np.asarray(Image.open(file)) for file in (folder / "masks").iterdir()]
    pixels = [sum(int((mask == value).sum()) for mask in masks) for value in range(3)]
    names = tmp_path / "names.txt"
    names.write_text("ground\nStanding\nlying\n")
    for options in ({"classes": names}, {}):
        part, found = evaluate_folder(result.segmenter, folder, labels="masks", **options)
        assert part == "all" and found.scores.confusion.sum(1).tolist() == [pixels[2], pixels[1]]
        assert "; classes are matched by name; ground: the model has no such class" in found.protocol
        (folder / "classes.txt").write_bytes(names.read_bytes())
    names.write_text("ground\ncat\ndog\n")
    with pytest.raises(LabelError, match="have the classes ground, cat, dog, of which the model knows none"):
        evaluate_folder(result.segmenter, folder, labels="masks", classes=names)


def test_new_pictures_that_are_called_like_old_ones_are_all_counted(trained, tmp_path):
    _, result = trained
    for name, shape in (("lying", LYING), ("standing", STANDING)):
        for i in range(3):
            draw(tmp_path / name / f"{name}_1_{i:02}.png", shape, (77, i))
    part, found = evaluate_folder(result.segmenter, tmp_path)
    assert part == "all" and found.scores.confusion.sum() == 6


def test_a_run_may_begin_with_the_weights_of_another(trained, tmp_path):
    _, result = trained
    draw_folders(tmp_path / "data", count=4, seed=7)
    model = result.run / "model.safetensors"
    settings = {"batch_size": 4, "threads": 1, "rate": 1e-12}
    before = dict(result.segmenter.network.named_parameters())
    start = {"labels": "folders", "start": model, "steps": 1}
    for network in (None, "resnet18", BUILDER):
        run = tmp_path / f"{network}"
        begun = pw.fit(tmp_path / "data", out=run, model=network, settings=settings, **start)
        options = begun.segmenter.architecture["options"]
        assert (options["classifier"], options["input_size"], options["width"]) == ("resnet18", 32, 0.125)
        for name, weight in begun.segmenter.network.named_parameters():
            assert (weight - before[name]).abs().max() < 1e-6, name
        reasons = Plan.load(run / "plan.yaml").reasons
        assert reasons["model"] == f"as in {model}"
        assert f"not reduced, as in {model}, a window of 32 × 32, as in {model}, and" in reasons["crop_size"]
    other = pw.fit(tmp_path / "data", out=tmp_path / "34", model="resnet34", settings=settings, plan_only=True, **start)
    plan = Plan.load(other.run / "plan.yaml")
    assert plan.recipe.model_options["classifier"] == "resnet34" and plan.recipe.model_options["width"] == 0.125


def test_a_start_of_which_nothing_fits_says_what_helps_on_the_command_line(trained, folder, tmp_path, tiny):
    data, result = trained
    model = result.run / "model.safetensors"
    options = {"labels": "folders", "out": tmp_path / "run", "steps": 1}
    with pytest.raises(
        WeightsError,
        match=r"^resnet18 at width 0.25 cannot start from \S+, as no layer of it fits: the file's is resnet18 at width "
        r"0.125; leave out --model or take --set model_options.width=0.125$",
    ):
        pw.fit(data, start=model, model="resnet18", settings={"model_options.width": 0.25}, **options)
    unet = pw.fit(folder, out=tmp_path / "unet", steps=1, settings=tiny).run / "model.safetensors"
    with pytest.raises(
        WeightsError, match=r"is unet at width 0.0625; start from .* --labels folders, or leave out --st"
    ):
        pw.fit(data, start=unet, **options)


def test_masks_may_begin_with_a_classifier_that_shrinks(tmp_path, folder, monkeypatch):
    """There the pictures are whole, and the network that is timed is the one that is trained."""
    from pixelwise.flow import network_choice

    draw_folders(tmp_path / "data", count=3)
    settings = {"model_options": {"width": 0.0625, "input_size": 32, "shrink": 2}, "batch_size": 4, "threads": 1}
    run = pw.fit(tmp_path / "data", labels="folders", out=tmp_path / "run", steps=1, settings=settings).run
    timed = []
    monkeypatch.setattr(
        network_choice, "build", lambda *name, **options: timed.append(options) or pw.build(*name, **options)
    )
    plan = {"minutes": 0.3, "plan_only": True, "settings": {"batch_size": 2, "threads": 1}}
    pw.fit(folder, start=run / "model.safetensors", out=tmp_path / "masks", **plan)
    assert [options["shrink"] for options in timed] == [2, 2]


def test_with_a_time_the_end_is_planned_by_whole_pictures(tmp_path, monkeypatch):
    """Validations read pictures reduced before; the final scores need them whole, which takes longer."""
    from pixelwise.flow import network_choice, planner

    timed = []

    def picture(recipe, options, normalization, dataset, machine):
        timed.append((options.get("shrink"), dataset[0].size))
        return 0.5 if options.get("shrink") else 0.001

    for module in (planner, network_choice):
        monkeypatch.setattr(module, "time_prediction", picture)
    monkeypatch.setattr(network_choice, "time_step", lambda *args, **kwargs: 0.01)
    draw_folders(tmp_path / "data" / "train", count=6, size=(120, 140))
    draw_folders(tmp_path / "data" / "test", count=6, seed=1, size=(120, 140))
    settings = {"model_options": {"width": 0.0625, "input_size": 32, "shrink": 3}}
    run = pw.fit(
        tmp_path / "data", labels="folders", minutes=0.25, plan_only=True, settings=settings, out=tmp_path / "r"
    )
    plan = Plan.load(run.run / "plan.yaml")
    assert timed == [(None, (40, 46)), (3, (120, 140))]
    assert plan.validate_on == 2 and plan.evaluate_on < 12
    assert plan.training_seconds is not None and "budget" in plan.reasons


def test_validation_takes_a_sixth_of_each_class_and_keeps_what_is_alike_on_one_side():
    random = np.random.default_rng(0)
    for seed in range(5):
        classes = random.permutation([0] * 30 + [1] * 12 + [2] * 2 + [3] + [4] * 3).tolist()
        groups = list(range(len(classes)))
        one, other = (classes.index(0), len(classes) - 1 - classes[::-1].index(0))
        groups[other] = groups[one]
        inside, held = split_by_class(classes, seed, groups)
        assert sorted(inside + held) == list(range(len(classes)))
        assert Counter(classes[i] for i in held) == {0: 5, 1: 2, 2: 1, 4: 1}
        assert (one in held) == (other in held)
    assert split_by_class(classes, 0, groups) != split_by_class(classes, 1, groups)
    assert split_by_class(classes, 1, groups) == split_by_class(classes, 1, groups)
    assert len(split_by_class([0, 1] * 2000, 0, range(4000))[1]) == 200
    assert split_by_class([0, 0, 1, 1], 0, [7, 7, 7, 7]) is None
