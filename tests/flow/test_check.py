"""What `check` writes: its page, the table of classes, a clean copy; and what it never overwrites."""

import json

import numpy as np
import pytest
import yaml
from PIL import Image

from pixelwise.cli.main import main
from pixelwise.errors import BadOption, DataError, UnknownName
from pixelwise.flow.check import check_folder, look_at


def command(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main([str(a) for a in arguments])
    out, err = capsys.readouterr()
    return ended.value.code, out, err


@pytest.fixture(autouse=True)
def own_place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def test_a_page_beside_the_user(folder, tmp_path, capsys):
    code, out, _ = command(capsys, "check", folder)
    assert code == 0 and "6 pictures with masks (6 in one part)" in " ".join(out.split()) and "No faults found." in out
    assert "Page: squares-check.html" in out
    assert (tmp_path / "squares-check.html").read_text().startswith("<!")


def test_the_page_is_replaced_and_nothing_else(folder, tmp_path):
    assert check_folder(folder).page == check_folder(folder).page
    (tmp_path / "squares-check.html").write_text("mine")
    assert str(check_folder(folder).page) == "squares-check-2.html"
    assert (tmp_path / "squares-check.html").read_text() == "mine"
    with pytest.raises(BadOption, match=r"squares-check\.html exists already and is no page of check"):
        check_folder(folder, page="squares-check.html")
    assert check_folder(folder, make_page=False).page is None


def test_the_page_is_kept_while_the_folder_is_the_same(folder, tmp_path):
    page = check_folder(folder).page
    before = page.stat().st_mtime_ns
    check_folder(folder)
    assert page.stat().st_mtime_ns == before
    file = folder / "images" / "img_00.png"
    Image.fromarray(255 - np.asarray(Image.open(file))).save(file)
    check_folder(folder)
    assert page.stat().st_mtime_ns != before


def test_classes_are_written_edited_and_used(make_folder, tmp_path, capsys):
    folder = make_folder(tmp_path / "three", values=(0, 3, 7))
    code, out, _ = command(capsys, "check", folder, "--write-classes", "classes.yaml", "--no-page")
    assert code == 0 and "Classes: classes.yaml; edit it, then use it with --classes classes.yaml" in out
    table = yaml.safe_load((tmp_path / "classes.yaml").read_text())
    assert [row["values"] for row in table["classes"]] == [[0], [3], [7]]
    table["classes"] = [{"name": "soil", "values": [0]}, {"name": "plant", "values": [3, 7]}]
    (tmp_path / "classes.yaml").write_text(yaml.safe_dump(table))
    code, out, _ = command(capsys, "check", folder, "--classes", "classes.yaml", "--no-page", "--json")
    record = json.loads(out)
    assert code == 0 and record["labels"]["names"] == ["soil", "plant"]
    assert record["classes_file"] == str(tmp_path / "classes.yaml")
    with pytest.raises(BadOption, match=r"classes\.yaml exists already; choose a new name"):
        check_folder(folder, write_classes="classes.yaml")


def test_classes_of_outlines_are_told_by_name(tmp_path):
    """So that a new name, which moves the numbers, does not change what the others mean."""

    def annotate(*labels):
        for i in range(3):
            box = [
                {"label": name, "shape_type": "rectangle", "points": [[4 * n, 0], [4 * n + 4, 9]]} for n, name in labels
            ]
            record = {"shapes": box, "imagePath": f"{i}.png", "imageHeight": 12, "imageWidth": 20}
            Image.fromarray(np.full((12, 20, 3), 40 * i, np.uint8)).save(folder / f"{i}.png")
            (folder / f"{i}.json").write_text(json.dumps(record))

    folder = tmp_path / "outlines"
    folder.mkdir()
    annotate((0, "cell"), (1, "dust"), (2, "7"))
    table = check_folder(folder, write_classes="classes.yaml", make_page=False).classes
    text = table.read_text()
    assert "masks: names" in text and "values: [cell]" in text and "values: ['7']".replace("'", '"') in text
    rows = yaml.safe_load(text)
    rows["classes"] = [{"name": "ground", "values": ["background", "dust"]}, {"name": "cell", "values": ["cell", "7"]}]
    table.write_text(yaml.safe_dump(rows))
    assert [int(n) for n in look_at(folder, classes=table).pixel_counts] == [3 * (240 - 72), 3 * 72]
    annotate((0, "cell"), (1, "bubble"), (2, "7"))
    with pytest.raises(DataError, match=r"the outlines are of .*, but .*classes\.yaml does not list bubble; add it to"):
        look_at(folder, classes=table)
    rows["void"] = ["bubble"]
    table.write_text(yaml.safe_dump(rows))
    found = look_at(folder, classes=table)
    assert [int(n) for n in found.pixel_counts] == [3 * (240 - 108), 3 * 72] and found.void_pixels == 3 * 36


def test_masks_beside_outlines_are_told(folder):
    for file in sorted((folder / "images").iterdir()):
        box = [{"label": "square", "shape_type": "rectangle", "points": [[2, 2], [9, 9]]}]
        record = {"shapes": box, "imagePath": file.name, "imageHeight": 32, "imageWidth": 40}
        file.with_suffix(".json").write_text(json.dumps(record))
    found = look_at(folder)
    assert found.labels.names == ("background", "square")
    assert "the masks in masks/ are passed over, since there are outlines; --as masks=masks takes them" in found.notes
    assert look_at(folder, read_as=["masks=masks"]).labels.names == ("background", "foreground")


def test_a_clean_copy(folder, tmp_path, capsys):
    (folder / "images" / "img_00.png").write_bytes(b"")
    code, out, _ = command(capsys, "check", folder, "--fix", "clean", "--no-page")
    assert code == 1  # of the folder as it is
    assert "Clean copy: clean/ with 5 pictures and masks; what was changed:" in out
    assert "img_00.png is left out: " in out
    code, out, _ = command(capsys, "check", "clean", "--no-page")
    assert code == 0 and "No faults found." in out
    code, _, err = command(capsys, "check", folder, "--fix", "clean")
    assert code == 2 and "clean exists already; choose a new name" in err


def test_a_question_with_its_answers_as_json(make_folder, tmp_path, capsys):
    folder = make_folder(tmp_path / "doubt", values=(0, 100, 255))
    code, out, err = command(capsys, "check", folder, "--json")
    record = json.loads(out)
    assert code == 1 and record["answers"] == ["255=void", "255=class"] and record["error"] in err
    code, out, _ = command(capsys, "check", folder, "--json", "--no-page", "--as", "255=void")
    assert code == 0 and json.loads(out)["read_as"] == ["255=void"] and json.loads(out)["page"] is None
    code, _, err = command(capsys, "check", folder, "--as", "nonsense")
    assert code == 2 and "--as takes masks=NAME" in err


def test_a_named_data_set(tmp_path):
    home = tmp_path / "CamVid"
    for part in ("train", "val"):
        lines = []
        for i in range(2):
            for kind, array in (("", np.full((6, 8, 3), 40 * i, np.uint8)), ("annot", np.full((6, 8), i, np.uint8))):
                (home / f"{part}{kind}").mkdir(parents=True, exist_ok=True)
                Image.fromarray(array).save(home / f"{part}{kind}" / f"{i}.png")
            lines.append(f"/SegNet/CamVid/{part}/{i}.png /SegNet/CamVid/{part}annot/{i}.png")
        (home / f"{part}.txt").write_text("\n".join(lines))
    found = look_at(home, dataset="camvid")
    assert found.labels.names[0] == "Sky" and {s: len(p) for s, p in found.splits.items()} == {"train": 2, "val": 2}
    assert found.layout == "the data set camvid"
    with pytest.raises(UnknownName, match="no data set is called 'camvit'; did you mean 'camvid'"):
        look_at(home, dataset="camvit")


def test_a_fit_with_answers_and_classes(make_folder, tmp_path, tiny):
    from pixelwise.flow.fit import fit

    folder = make_folder(tmp_path / "doubt", values=(0, 100, 255))
    result = fit(folder, out=tmp_path / "run", steps=2, settings=tiny, read_as=["255=void"])
    assert result.segmenter.labels.table[255] == 255
    assert fit(folder, out=tmp_path / "run", resume=True).outcome  # the answer is in the plan
    with pytest.raises(BadOption, match="a stored plan holds its own answers and classes; leave out --as"):
        fit(folder, out=tmp_path / "run", resume=True, read_as=["255=void"])


def test_a_run_keeps_the_classes_that_it_was_given(make_folder, tmp_path, tiny, monkeypatch):
    from pixelwise.flow.fit import fit

    folder = make_folder(tmp_path / "three", values=(0, 3, 7))
    check_folder(folder, write_classes="mine.yaml", make_page=False)
    fit(folder, out=tmp_path / "run", steps=2, settings=tiny, classes="mine.yaml", plan_only=True)
    (tmp_path / "mine.yaml").unlink()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    assert fit(folder, out=tmp_path / "run", resume=True).outcome == "finished"


def test_a_page_that_cannot_be_written_does_not_hide_what_was_found(folder, capsys, monkeypatch):
    def refuse(*arguments, **options):
        raise DataError("cannot write squares-check.html (Read-only file system)")

    monkeypatch.setattr("pixelwise.report.check.write_check", refuse)
    code, out, _ = command(capsys, "check", folder)
    assert code == 0 and "No faults found." in out and "No page: cannot write" in out and "--no-page" in out
    code, _, err = command(capsys, "check", folder, "--page", "asked.html")
    assert code == 1 and "Read-only" in err


def test_convert(folder, tmp_path, capsys):
    code, out, _ = command(capsys, "convert", folder, "voc", "--to", "voc")
    assert code == 0 and out == "6 pictures with masks written to voc/\n"
    code, out, _ = command(capsys, "check", "voc", "--json", "--no-page")
    assert code == 0 and json.loads(out)["labels"]["names"] == ["background", "foreground"]
    assert not sorted(tmp_path.glob(".*"))
