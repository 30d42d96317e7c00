"""The page of a check says what the record says, shows what can be decoded, and stays one file of bounded size."""

import base64
import io
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelwise.data.folder import PairDataset
from pixelwise.data.sample import Pair
from pixelwise.errors import DataError
from pixelwise.labels import LabelSet
from pixelwise.report.check import MARK, write_check
from pixelwise.report.check_classes import ranges
from pixelwise.report.contact_sheet import choose
from pixelwise.report.html import percent
from pixelwise.report.plots import size_plot
from pixelwise.report.thumbnails import colored_values, small_classes, small_image, standing_out

VOID_ELEMENTS = {"br", "hr", "img", "input", "meta"}
FOUR = LabelSet(("sky", "ground", "tree", "bird"), ((90, 160, 220), (120, 90, 60), (30, 120, 40), (220, 40, 40)))


class Page(HTMLParser):
    """What a browser would see; fails where an element is not closed or anything comes from outside."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == []
        anchors = {attributes.get("id") for _, attributes in self.elements}
        for tag, attributes in self.elements:
            assert tag not in {"script", "link", "iframe", "object", "embed", "base"}
            for key, value in attributes.items():
                assert not key.startswith("on") and key not in {"srcset", "action", "xlink:href"}
                assert key != "src" or (value or "").startswith("data:image/")
                assert key != "href" or ((value or "")[:1] == "#" and (value or "")[1:] in anchors)
        style = text[text.index("<style>") : text.index("</style>")]
        assert "url(" not in style and "@import" not in style and "http" not in style

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
        return re.sub(r"\s+", " ", "".join(self.words).replace("\u202f", " ").replace("\u00a0", " "))

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.elements if name == tag]

    def with_class(self, name: str) -> list[dict[str, str | None]]:
        return [attributes for _, attributes in self.elements if name in (attributes.get("class") or "").split()]


def draw_pairs(root: Path, count: int, labels: LabelSet = FOUR, size: tuple[int, int] = (24, 32)) -> list[Pair]:
    """Pictures with masks; class 3 and above are only in few: picture i holds 0, 1, 2 and, if it exists, class i."""
    random = np.random.default_rng(0)
    pairs = []
    for i in range(count):
        mask = np.zeros(size, np.uint8)
        mask[8:], mask[16:, 8:] = 1, 2
        if i < labels.num_classes:
            mask[:4, :4] = i
        pair = Pair(root / "images" / f"p{i:03}.png", root / "masks" / f"p{i:03}.png", f"p{i:03}")
        for path, values in ((pair.image, random.integers(0, 255, (*size, 3), np.uint8)), (pair.mask, mask)):
            assert isinstance(path, Path)
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(values).save(path)
        pairs.append(pair)
    return pairs


def counted(pairs: list[Pair], labels: LabelSet) -> dict[Any, np.ndarray]:
    counts = {}
    for pair in pairs:
        assert isinstance(pair.mask, Path)
        values = np.asarray(Image.open(pair.mask))
        counts[pair.mask] = np.array([(values == i).sum() for i in range(labels.num_classes)])
    return counts


def record_of(root: Path, splits: dict[str, list[Pair]], labels: LabelSet = FOUR) -> dict[str, Any]:
    """What `Understanding.to_record` gives, counted naively."""
    counts = {split: [*counted(pairs, labels).values()] for split, pairs in splits.items()}
    everything = [one for ones in counts.values() for one in ones] or [np.zeros(labels.num_classes)]
    return {
        "root": str(root),
        "layout": "images/ with masks/",
        "rule": "the same name",
        "told": "Four classes of landscape.",
        "splits": {split: len(pairs) for split, pairs in splits.items()},
        "labels": labels.to_record(),
        "encoding": "numbers",
        "pixel_counts": [int(n) for n in np.sum(everything, 0)],
        "void_pixels": 0,
        "image_counts": [int(n) for n in np.sum([one > 0 for one in everything], 0)],
        "class_splits": {s: [int(n) for n in np.sum([one > 0 for one in ones], 0)] for s, ones in counts.items()},
        "sizes": [[24, 32, len(everything)]],
        "channels": 3,
        "channel_names": ["red", "green", "blue"],
        "dtype": "uint8",
        "faults": [],
        "notes": [],
        "read_as": [],
    }


def fault(path: Path | None, kind: str = "value", severity: str = "error", **parts: str) -> dict[str, Any]:
    said = {"reason": f"{path} holds the value 9", "remedy": "correct the mask"} | parts
    message = f"{said['reason']}; {said['remedy']}"
    return {"severity": severity, "kind": kind, "path": path and str(path), "message": message, **said}


def datasets_of(splits: dict[str, list[Pair]], root: Path, labels: LabelSet = FOUR) -> dict[str, PairDataset]:
    return {split: PairDataset(pairs, labels, root, split, channels=3) for split, pairs in splits.items()}


def read(path: Path) -> Page:
    assert not list(path.parent.glob(".*part")), "a partial file was left"
    return Page(path.read_text(encoding="utf-8"))


def test_a_sound_folder_says_every_number(tmp_path: Path) -> None:
    pairs = draw_pairs(tmp_path / "land", 6)
    splits = {"train": pairs[:4], "val": pairs[4:]}
    record = record_of(tmp_path / "land", splits) | {"void_pixels": 512, "notes": ["a note"], "read_as": ["255=void"]}
    out = tmp_path / "page.html"
    data = datasets_of(splits, tmp_path / "land")
    assert write_check(record, data, out, mask_counts=counted(pairs, FOUR)) == out
    page = read(out)
    total = sum(record["pixel_counts"]) + 512
    expected = [
        "land",
        "6 pictures, 4 classes",
        "Ready for fit",
        "Four classes of landscape.",
        "4in train",
        "2in val",
    ]
    expected += [*FOUR.names, "24 × 32", "3: red, green, blue", "uint8", "a note", "No faults were found", "255=void"]
    expected += [f"{n / total * 100:.1f} %" for n in record["pixel_counts"] if n / total > 0.001]
    expected += [f"{512 / total * 100:.1f} % never counted", "images/ with masks/", "the same name", "numbers"]
    expected += [f"pixelwise fit {tmp_path}/land --as 255=void"]
    expected += [f"pixelwise check {tmp_path}/land --as 255=void --write-classes classes.yaml"]
    expected += [f"pixelwise check {tmp_path}/land --as 255=void --classes classes.yaml"]
    assert [item for item in expected if item not in page.text] == []
    assert "--fix" not in page.text and "What stops a fit" not in page.text
    rows = re.findall(r"<tr><td class=\"name\">.*?</tr>", out.read_text(encoding="utf-8"), re.DOTALL)
    for i, row in enumerate(rows):
        numbers = re.findall(r"</span>(\d+)</td>", row)
        per_split = [record["class_splits"][split][i] for split in ("train", "val")]
        assert numbers == [str(n) for n in (record["image_counts"][i], *per_split)]
    assert len(rows) == 4
    assert len(page.with_class("lacking")) == sum(n == 0 for s in record["class_splits"].values() for n in s) > 0


def test_nothing_but_the_least_of_a_record_is_needed(tmp_path: Path) -> None:
    write_check({"root": str(tmp_path / "empty")}, {}, tmp_path / "page.html")
    text = read(tmp_path / "page.html").text
    assert "0 pictures, no masks" in text and "no classes" in text and "no picture to show" in text


def test_pictures_without_masks_are_shown_as_they_are(tmp_path: Path) -> None:
    pairs = [Pair(pair.image, None, pair.name) for pair in draw_pairs(tmp_path, 3)]
    record = {"root": str(tmp_path), "splits": {"all": 3}, "sizes": [[24, 32, 3]]}
    write_check(record, {"all": PairDataset(pairs, FOUR, tmp_path, "all")}, tmp_path / "page.html")
    assert len(read(tmp_path / "page.html").all("img")) == 3


def test_one_class_in_one_picture(tmp_path: Path) -> None:
    labels = LabelSet(("all",))
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    pair = Pair(tmp_path / "images/a.png", tmp_path / "masks/a.png", "a")
    Image.new("RGB", (1, 1)).save(tmp_path / "images/a.png")
    Image.new("L", (1, 1)).save(tmp_path / "masks/a.png")
    record = record_of(tmp_path, {"all": [pair]}, labels) | {"sizes": [[1, 1, 1]]}
    write_check(record, datasets_of({"all": [pair]}, tmp_path, labels), tmp_path / "page.html")
    assert "1 picture, 1 class" in read(tmp_path / "page.html").text


def test_faults_come_first_by_kind_with_both_files(tmp_path: Path) -> None:
    pairs = draw_pairs(tmp_path, 8)
    wrong, cut, other = pairs[0], pairs[1], pairs[2]
    assert isinstance(wrong.mask, Path) and isinstance(cut.image, Path) and isinstance(other.mask, Path)
    values = np.asarray(Image.open(wrong.mask)).copy()
    values[5, 6] = 9
    Image.fromarray(values).save(wrong.mask)
    cut.image.write_bytes(cut.image.read_bytes()[:60])
    Image.fromarray(np.zeros((12, 16), np.uint8)).save(other.mask)
    lone = tmp_path / "images" / "lone.png"
    Image.new("RGB", (32, 24)).save(lone)
    faults = [
        fault(wrong.mask),
        fault(cut.image, "unreadable", reason=f"{cut.image} is truncated", remedy="copy it again"),
        fault(other.mask, "size", reason=f"{other.mask} is 12 × 16 but {other.image} is 24 × 32", remedy="export it"),
        fault(lone, "orphan", reason=f"{lone} has no mask", remedy="draw one"),
        fault(None, "classes", "warning", reason="bird is rare", remedy="label more"),
        fault(tmp_path / "gone.png", "missing", "warning", reason="list.txt, line 3, names it", remedy="add it"),
    ]
    record = record_of(tmp_path, {"all": pairs[3:]}) | {"faults": faults}
    out = write_check(record, datasets_of({"all": pairs[3:]}, tmp_path), tmp_path / "page.html", pairs=pairs[:3])
    page = read(out)
    text = page.text
    assert "4 errors stop a fit" in text and f"--fix {tmp_path.name}-clean" in text
    assert text.index("masks/p000.png holds the value 9") < text.index("Worth a look") < text.index("Classes What the")
    for said in (
        "correct the mask",
        "images/p001.png is truncated",
        "masks/p002.png is 12 × 16 but images/p002.png is 24 × 32",
        "images/lone.png has no mask",
        "bird is rare",
        "gone.png: list.txt, line 3, names it",
    ):
        assert said in text
    assert str(tmp_path) + "/masks" not in text  # the folder's own path is said once
    blanks = re.findall(r'<span class="blank"[^>]*>([^<]*)', out.read_text(encoding="utf-8"))
    assert blanks == ["no mask", "cannot be read"]
    shown = {image["alt"]: image for image in page.all("img") if " of " in (image["alt"] or "")}
    mask = decoded(shown["mask of masks/p000.png"]["src"])
    assert (mask[5, 6] == standing_out(FOUR)).all()
    assert shown["mask of masks/p002.png"]["style"] == "aspect-ratio:16/12"
    assert "whose value no class has" in text


def decoded(uri: str | None) -> np.ndarray:
    assert uri is not None
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(uri.split(",")[1]))))


def test_the_same_picture_twice_shows_both(tmp_path: Path) -> None:
    pairs = draw_pairs(tmp_path, 3)
    reason = f"{pairs[2].image} is the same picture as {pairs[0].image}"
    assert isinstance(pairs[2].image, Path)
    faults = [fault(pairs[2].image, "duplicate", "warning", reason=reason)]
    record = record_of(tmp_path, {"all": pairs}) | {"faults": faults}
    write_check(record, datasets_of({"all": pairs}, tmp_path), tmp_path / "page.html")
    assert len(read(tmp_path / "page.html").with_class("tiles-row")) == 1
    shown = [i for i in read(tmp_path / "page.html").all("img") if " of images/p002" in (i["alt"] or "")]
    assert [decoded(i["src"]).tolist() for i in shown] == [
        np.asarray(Image.open(path)).tolist() for path in (pairs[0].image, pairs[2].image)
    ]


def test_broken_pictures_are_skipped_in_the_contact_sheet(tmp_path: Path) -> None:
    pairs = draw_pairs(tmp_path, 5)
    record = record_of(tmp_path, {"all": pairs})
    assert isinstance(pairs[1].image, Path) and isinstance(pairs[3].mask, Path)
    pairs[1].image.write_bytes(b"")
    pairs[3].mask.unlink()
    write_check(record, datasets_of({"all": pairs}, tmp_path), tmp_path / "page.html")
    assert [i["alt"] for i in read(tmp_path / "page.html").all("img")] == ["p000", "p002", "p004"]


HOSTILE = ["<script>alert(1)</script>", "&lt;b&gt; \"q\" 'x'", "{{ 7*7 }}{% raw %}", "n" * 300, "葉\u202e\u0007"]


def test_hostile_names_are_text(tmp_path: Path) -> None:
    root = tmp_path / "<b>&'dir"
    pairs = draw_pairs(root, 3)
    labels = LabelSet(tuple(HOSTILE))
    odd = [Pair(pairs[0].image, pairs[0].mask, '"><img src=http://example.com/x onerror=alert(1)>'), *pairs[1:]]
    split = "</bdi><script>"
    record = record_of(root, {split: odd}, labels)
    record |= {"notes": ["<svg/onload=alert(3)>"], "read_as": ["masks=<i>'x"], "told": "</p><b>", "dtype": "<x>"}
    record["faults"] = [fault(root / "masks/</p>.png", kind="<kind>", reason="<img src=x>", remedy="\udcff</div>")]
    write_check(record, datasets_of({split: odd}, root, labels), tmp_path / "page.html")
    text = read(tmp_path / "page.html").text  # no script, no handler, no address outside, everything closed
    for said in (*HOSTILE[:4], "<svg/onload=alert(3)>", "masks=<i>'x", "</p><b>", "<img src=x>", odd[0].name, split):
        assert re.sub(r"\s+", " ", said) in text


def test_thousand_faults_and_two_hundred_classes_stay_small(tmp_path: Path) -> None:
    labels = LabelSet(tuple(f"a class with a rather long name, number {i}" for i in range(200)))
    pairs = draw_pairs(tmp_path, 30, labels, size=(300, 400))
    random = np.random.default_rng(0)
    record = record_of(tmp_path, {"all": pairs}, labels) | {"sizes": [[300 + i, 400, 1] for i in range(30)]}
    record["pixel_counts"] = [int(n) for n in random.integers(1, 1000, 200)]
    record["faults"] = [
        fault(tmp_path / f"masks/p{i % 30:03}.png", kind, severity, reason=f"fault {i} of a file " + "long " * 30)
        for kind in ("value", "size", "unreadable", "orphan", "void", "object")
        for severity in ("error", "warning")
        for i in range(1000)
    ]
    out = write_check(record, datasets_of({"all": pairs}, tmp_path, labels), tmp_path / "page.html")
    assert out.stat().st_size < 6_000_000  # noise, which compresses as badly as any picture
    page = read(out)
    assert "1 000" in page.text and "160 more classes" in page.text and "588 more, which" in page.text
    assert len([i for i in page.all("label") if i.get("class", "").startswith("zoom")]) == 24  # type: ignore[union-attr]
    assert "no mask " not in page.text
    fine = page.text.count("fault 11 of a file")
    assert fine == 12


def test_writing_again_gives_the_same_bytes(tmp_path: Path) -> None:
    pairs = draw_pairs(tmp_path, 30)
    record = record_of(tmp_path, {"all": pairs}) | {"faults": [fault(tmp_path / "masks/p001.png")]}
    data = datasets_of({"all": pairs}, tmp_path)
    first = write_check(record, data, tmp_path / "a.html", mask_counts=counted(pairs, FOUR)).read_bytes()
    assert write_check(record, data, tmp_path / "b.html", mask_counts=counted(pairs, FOUR)).read_bytes() == first
    assert MARK.encode() in first[:2000]


def test_page_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "page.html").mkdir()
    with pytest.raises(DataError, match=r"cannot write .*page\.html: .*; make room or allow writing there"):
        write_check({"root": str(tmp_path)}, {}, tmp_path / "page.html")


def test_the_title_is_what_was_named_not_where_it_was_unpacked(tmp_path: Path) -> None:
    (tmp_path / "my data.zip").write_bytes(b"PK")
    write_check({"root": "/cache/1f2e"}, {}, tmp_path / "page.html", folder=tmp_path / "my data.zip")
    page = read(tmp_path / "page.html")
    assert "my data – pixelwise check" in page.text
    assert f"pixelwise fit '{tmp_path}/my data.zip'" in page.text


def test_deep_pictures_say_how_they_are_shown(tmp_path: Path) -> None:
    image, mask = tmp_path / "images" / "a.tif", tmp_path / "masks" / "a.png"
    image.parent.mkdir()
    mask.parent.mkdir()
    values = np.random.default_rng(0).integers(1000, 3000, (24, 32, 5)).astype(np.uint16)
    tifffile.imwrite(image, values, photometric="minisblack", planarconfig="contig")
    Image.fromarray(np.zeros((24, 32), np.uint8)).save(mask)
    pairs = [Pair(image, mask, "a")]
    record = record_of(tmp_path, {"all": pairs})
    record |= {"channels": 5, "channel_names": ["b2", "b3", "b4", "b8", "b11"], "dtype": "uint16"}
    data = {"all": PairDataset(pairs, FOUR, tmp_path, "all", channels=5)}
    write_check(record, data, tmp_path / "page.html")
    page = read(tmp_path / "page.html")
    assert "of 5 channels, the first three channels as red, green and blue (b2, b3, b4)" in page.text
    assert "uint16 values stretched from each picture's darkest to its brightest" in page.text
    assert len(page.all("img")) == 1


# which pictures are shown


def test_every_class_is_seen_and_parts_have_their_share() -> None:
    random = np.random.default_rng(0)
    shares = np.zeros((1000, 15))
    shares[:, 0] = 1
    rare = random.choice(1000, 14, replace=False)
    for cls, picture in enumerate(rare, 1):
        shares[picture, cls] = 0.0001 * cls
    chosen = choose([700, 200, 100], shares, 24)
    assert len(set(chosen)) == 24 and chosen == sorted(chosen)
    assert {int(i) for i in rare} <= set(chosen)
    parts = np.digitize(choose([700, 200, 100], None, 24), [700, 900])
    assert np.bincount(parts).tolist() == [8, 8, 8]


def test_more_classes_than_pictures_to_show() -> None:
    shares = np.eye(60)
    assert len(choose([60], shares, 24)) == 24
    shares[7, 30:] = 0.01  # one picture with half of the classes
    assert 7 in choose([60], shares, 24)


@pytest.mark.parametrize("lengths", [[], [0], [3], [24], [1, 30], [0, 40, 2]])
def test_all_lengths(lengths: list[int]) -> None:
    chosen = choose(lengths, None, 24)
    assert len(set(chosen)) == min(sum(lengths), 24) and all(0 <= i < sum(lengths) for i in chosen)


# thumbnails and plots


def test_a_single_wrong_pixel_is_seen_in_a_large_mask() -> None:
    values = np.zeros((2000, 3000), np.uint8)
    values[1234, 777] = 200
    picture, wrong = colored_values(values, FOUR, 260)
    marked = (picture == standing_out(FOUR)).all(2)
    assert wrong and picture.shape == (173, 260, 3) and 9 <= marked.sum() <= 100
    assert marked[1234 * 173 // 2000, 777 * 260 // 3000]
    picture, wrong = colored_values(np.full((50, 50), 2, np.uint8), FOUR, 260)
    assert not wrong and (picture == FOUR.palette[2]).all()


def test_numbers_among_colors_are_wrong_everywhere() -> None:
    labels = LabelSet(("a",), table={0: 0}, colors=True)
    picture, wrong = colored_values(np.zeros((4, 4), np.uint8), labels, 260)
    assert wrong and (picture == standing_out(labels)).all()


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.float32])
@pytest.mark.parametrize("channels", [1, 2, 3, 7])
def test_any_picture_becomes_small(dtype: Any, channels: int) -> None:
    image = (np.random.default_rng(0).random((90, 120, channels)) * 200).astype(dtype)
    small = small_image(image, 40)
    assert small.shape == (30, 40, 3) and small.dtype == np.uint8
    assert small_image(image[:1, :1], 40).shape == (1, 1, 3)
    assert set(np.unique(small_classes((image[..., 0] > 100).astype(np.uint16) * 300, 40))) <= {0, 300}


def test_size_plot_shows_every_size() -> None:
    svg = size_plot([(375, 500, 90), (500, 375, 30), (333, 500, 1)])
    assert svg is not None and svg.count("<circle") == 3 and "375 × 500: 90 pictures" in svg
    assert size_plot([(375, 500, 90)]) is None and size_plot([]) is None
    random = np.random.default_rng(0)
    many = [(int(h), int(w), 1) for h, w in random.integers(100, 4000, (5000, 2))]
    svg = size_plot(many)
    assert svg is not None and svg.count("<circle") < 2000
    assert sum(int(n) for n in re.findall(r": (\d+) pictures?<", svg)) == 5000


def test_small_shares_keep_a_digit() -> None:
    shares = (1.0, 0.0314, 0.00096, 0.000341, 4e-6, 1e-9, 0.0)
    told = ["100.0 %", "3.1 %", "0.1 %", "0.03 %", "0.0004 %", "0.0000001 %", "0 %"]
    assert [percent(share, least=0).replace("\u202f", " ") for share in shares] == told


def test_values_are_drawn_together() -> None:
    assert ranges([0]) == "0"
    assert ranges([0, 1]) == "0, 1"
    assert ranges([0, 1, 2, 5]) == "0–2, 5"
    assert ranges([-1, 4]) == "−1, 4"
    assert ranges(list(range(0, 40, 2))).endswith("14 and 12 more")
