"""A converted folder says the same as the one it came from; a clean copy has no errors and lists what it changed."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from pixelwise.errors import BadOption, DataError
from pixelwise.flow.convert import convert
from pixelwise.flow.doctor import understand


def write(path, array, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path, **options)
    return path


def noise(seed, size=(40, 60), channels=3):
    return np.random.default_rng(seed).integers(0, 256, (*size, channels), np.uint8)


def mask(seed, values=(0, 255), size=(40, 60)):
    """Solid blocks of the values."""
    blocks = np.random.default_rng(seed).permutation(np.resize(np.array(values), 6)).reshape(2, 3)
    return np.kron(blocks, np.ones((size[0] // 2, size[1] // 3))).astype(np.uint8)


def plain(root, count=4, values=(0, 255)):
    for i in range(count):
        write(root / "images" / f"p{i}.jpg", noise(i))
        write(root / "masks" / f"p{i}.png", mask(i, values))
    return root


def samples(understanding):
    return {
        (split, sample.name): (sample.image, sample.targets["labels"])
        for split, data in understanding.datasets().items()
        for sample in data
    }


def same(one, other):
    """The same classes and samples."""
    assert one.labels.names == other.labels.names and one.labels.palette == other.labels.palette
    first, second = samples(one), samples(other)
    assert first.keys() == second.keys()
    for key, (image, target) in first.items():
        assert np.array_equal(image, second[key][0]) and np.array_equal(target, second[key][1])


def files(root):
    return sorted(file.relative_to(root).as_posix() for file in root.rglob("*") if file.is_file())


@pytest.mark.parametrize("to", ["folder", "voc"])
@pytest.mark.parametrize("values", [(0, 255), (0, 1, 2, 255), (3, 40, 7)])
def test_both_forms_read_back_as_they_were(tmp_path, to, values):
    before = understand(plain(tmp_path / "a", values=values))
    done = convert(before, tmp_path / "b", to=to)
    assert done.splits == {"all": 4} and done.changes == ()
    after = understand(tmp_path / "b")
    same(before, after)
    assert not after.faults and after.void_pixels == before.void_pixels


def test_a_converted_folder_converts_to_itself(tmp_path):
    convert(understand(plain(tmp_path / "a")), tmp_path / "b")
    convert(understand(tmp_path / "b"), tmp_path / "c")
    assert files(tmp_path / "b") == files(tmp_path / "c")
    for name in files(tmp_path / "b"):
        assert (tmp_path / "b" / name).read_bytes() == (tmp_path / "c" / name).read_bytes(), name


def test_splits_and_bytes_are_kept(tmp_path):
    for split, start in (("train", 0), ("val", 4), ("test", 6)):
        for i in range(start, start + 2):
            write(tmp_path / "a" / split / "images" / f"{i}.jpg", noise(i))
            write(tmp_path / "a" / split / "masks" / f"{i}.png", mask(i))
    before = understand(tmp_path / "a")
    convert(before, tmp_path / "b")
    assert (tmp_path / "b/images/val/4.jpg").read_bytes() == (tmp_path / "a/val/images/4.jpg").read_bytes()
    same(before, understand(tmp_path / "b"))
    convert(before, tmp_path / "c", to="voc")
    assert files(tmp_path / "c")[:2] == ["ImageSets/Segmentation/test.txt", "ImageSets/Segmentation/train.txt"]
    same(before, understand(tmp_path / "c"))


def test_one_name_in_two_splits(tmp_path):
    for number, split in enumerate(("train", "val")):
        for i in range(2):
            write(tmp_path / "a" / split / "images" / f"{i}.jpg", noise(10 * number + i))
            write(tmp_path / "a" / split / "masks" / f"{i}.png", mask(i))
    done = convert(understand(tmp_path / "a"), tmp_path / "b", to="voc")
    assert done.splits == {"train": 2, "val": 2}
    assert files(tmp_path / "b" / "JPEGImages") == ["train_0.jpg", "train_1.jpg", "val_0.jpg", "val_1.jpg"]


def test_an_exif_rotation_is_written_upright(tmp_path):
    exif = Image.Exif()
    exif[274] = 6
    root = plain(tmp_path / "a")
    write(root / "images" / "p0.jpg", noise(0, (60, 40)), exif=exif)
    before = understand(root)
    done = convert(before, tmp_path / "b")
    same(before, understand(tmp_path / "b"))
    assert (tmp_path / "b" / "images" / "p0.png").exists()
    assert done.changes == (f"{root}/images/p0.jpg is written upright: it had the EXIF rotation 6",)


def test_many_channels(tmp_path):
    for i in range(3):
        (tmp_path / "a" / "images").mkdir(parents=True, exist_ok=True)
        bands = np.random.default_rng(i).integers(0, 4096, (5, 40, 60), np.uint16)
        tifffile.imwrite(tmp_path / "a" / "images" / f"{i}.tif", bands, photometric="minisblack")
        write(tmp_path / "a" / "masks" / f"{i}.png", mask(i))
    before = understand(tmp_path / "a")
    convert(before, tmp_path / "b")
    same(before, understand(tmp_path / "b"))


def test_more_than_255_classes(tmp_path):
    values = np.arange(300, dtype=np.uint16)
    for i in range(2):
        write(tmp_path / "a" / "images" / f"{i}.png", noise(i, (40, 1200)))
        write(tmp_path / "a" / "masks" / f"{i}.png", np.kron(values, np.ones((40, 4))).astype(np.uint16))
    (tmp_path / "a" / "classes.txt").write_text("\n".join(f"kind {i}" for i in range(300)))
    before = understand(tmp_path / "a")
    assert before.labels.num_classes == 300
    convert(before, tmp_path / "b")
    same(before, understand(tmp_path / "b"))


def test_nothing_is_overwritten(tmp_path):
    before = understand(plain(tmp_path / "a"))
    (tmp_path / "b").mkdir()
    (tmp_path / "b" / "mine.txt").touch()
    with pytest.raises(BadOption, match=r"b exists already; choose a new folder, so that nothing is overwritten"):
        convert(before, tmp_path / "b")
    with pytest.raises(BadOption, match=r"a exists already"):
        convert(before, tmp_path / "a")
    assert files(tmp_path / "b") == ["mine.txt"]


def test_it_appears_whole_or_not_at_all(tmp_path):
    before = understand(plain(tmp_path / "a"))

    def stop(done, total):
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(before, tmp_path / "b", progress=stop)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a"]
    (tmp_path / ".b.part").mkdir()  # a kill leaves this
    (tmp_path / ".b.part" / "old").touch()
    convert(before, tmp_path / "b")
    assert "old" not in files(tmp_path / "b") and not (tmp_path / ".b.part").exists()


def test_errors_are_refused_without_repair(tmp_path):
    root = plain(tmp_path / "a")
    (root / "images" / "p0.jpg").write_bytes(b"")
    with pytest.raises(
        DataError, match=r"p0\.jpg is empty .* \(1 errors? in all\); mend them, or let `pixelwise check"
    ):
        convert(understand(root), tmp_path / "b")


class TestRepair:
    def repaired(self, root):
        out = root.with_name("clean")
        done = convert(understand(root), out, repair=True)
        after = understand(out)
        assert not after.errors
        assert (out / "CHANGES.txt").read_text().splitlines() == list(done.changes or ("nothing was changed",))
        return after, [change.replace(f"{root}/", "") for change in done.changes]

    def test_a_sound_folder(self, tmp_path):
        after, changes = self.repaired(plain(tmp_path / "a"))
        assert changes == [] and len(after.pairs) == 4

    def test_unreadable_files_and_orphans_are_left_out(self, tmp_path):
        root = plain(tmp_path / "a", 6)
        (root / "images" / "p0.jpg").write_bytes(b"")
        (root / "masks" / "p1.png").unlink()
        after, changes = self.repaired(root)
        assert [pair.name for pair in after.pairs] == ["p2", "p3", "p4", "p5"]
        assert changes == [
            "images/p0.jpg is left out: images/p0.jpg is empty (0 bytes)",
            "images/p1.jpg has no mask and is left out",
        ]

    def test_half_the_size(self, tmp_path):
        root = plain(tmp_path / "a")
        small = mask(0)[::2, ::2]
        write(root / "masks" / "p0.png", small)
        after, changes = self.repaired(root)
        assert changes == ["masks/p0.png is resampled from 20 × 30 to 40 × 60, to the nearest pixel"]
        assert np.array_equal(samples(after)["all", "p0"][1] * 255, np.kron(small, np.ones((2, 2))))

    def test_off_by_one(self, tmp_path):
        root = plain(tmp_path / "a")
        write(root / "masks" / "p0.png", mask(0)[:-1])
        _, changes = self.repaired(root)
        assert changes == ["masks/p0.png is resampled from 39 × 60 to 40 × 60, to the nearest pixel"]

    @pytest.mark.parametrize("orientation", [5, 6, 7, 8])
    def test_a_rotation_that_the_mask_misses(self, tmp_path, orientation):
        root = plain(tmp_path / "a")
        exif = Image.Exif()
        exif[274] = orientation
        raw = mask(1, size=(40, 60))
        (root / "images" / "p0.jpg").unlink()
        write(root / "images" / "p0.png", np.stack([raw] * 3, -1), exif=exif)
        write(root / "masks" / "p0.png", raw)
        after, changes = self.repaired(root)
        assert "masks/p0.png is turned as its picture is" in changes
        image, target = samples(after)["all", "p0"]
        assert np.array_equal(image[:, :, 0], target * 255)

    def test_another_shape_is_left_out(self, tmp_path):
        root = plain(tmp_path / "a")
        write(root / "masks" / "p0.png", mask(0, size=(60, 60)))
        after, changes = self.repaired(root)
        assert len(after.pairs) == 3 and "p0.jpg is left out: masks/p0.png is 60 × 60 but" in changes[0]

    def test_stray_values_become_void(self, tmp_path):
        root = plain(tmp_path / "a", values=(0, 1, 2))
        (root / "classes.yaml").write_text(
            "masks: numbers\nclasses:\n- {name: a, values: [0]}\n- {name: b, values: [1]}\n- {name: c, values: [2]}\n"
        )
        dirty = mask(0, (0, 1, 2))
        dirty[3, 5] = dirty[3, 6] = 77
        write(root / "masks" / "p0.png", dirty)
        after, changes = self.repaired(root)
        assert changes == [
            "masks/p0.png: 2 pixels with values that no class has are void now (the first at row 3, column 5)"
        ]
        target = samples(after)["all", "p0"][1]
        assert (target == 255).sum() == 2 and target[3, 5] == 255

    def test_void_masks_and_copies_are_left_out(self, tmp_path):
        root = plain(tmp_path / "a", values=(0, 1, 2, 255))
        write(root / "masks" / "p1.png", np.full((40, 60), 255, np.uint8))
        for name in ("images/p{}.jpg", "masks/p{}.png"):
            (root / name.format(3)).write_bytes((root / name.format(2)).read_bytes())
        after, changes = self.repaired(root)
        assert [pair.name for pair in after.pairs] == ["p0", "p2"]
        assert changes == [
            "images/p3.jpg is left out: the same picture as images/p2.jpg",
            "images/p1.jpg is left out: its mask masks/p1.png is void everywhere",
        ]

    def test_of_a_picture_in_two_parts_the_one_to_train_on_goes(self, tmp_path):
        for split, seeds in (("train", (0, 1, 2)), ("test", (2, 3))):
            for i in seeds:
                write(tmp_path / "a" / split / "images" / f"{i}.png", noise(i))
                write(tmp_path / "a" / split / "masks" / f"{i}.png", mask(i))
        after, changes = self.repaired(tmp_path / "a")
        assert {split: [p.name for p in pairs] for split, pairs in after.splits.items()} == {
            "train": ["0", "1"],
            "test": ["3", "test_2"],
        }
        assert changes == ["train/images/2.png is left out: test/images/2.png of another part shows (nearly) the same"]

    def test_nothing_left(self, tmp_path):
        root = plain(tmp_path / "a", 2, values=(255,))
        (root / "classes.txt").write_text("0 a\n1 b\n255 void\n")
        with pytest.raises(DataError, match=r"nothing of .* is left for a clean copy; see `pixelwise check`"):
            convert(understand(root), tmp_path / "b", repair=True)

    def test_all_masks_with_one_fault(self, tmp_path):
        """One wrong setting of an export spoils all masks alike."""
        root = plain(tmp_path / "a")
        for i in range(4):
            write(root / "masks" / f"p{i}.png", mask(i)[::2, ::2])
        found = understand(root)
        assert len(found.errors) == 4 and not found.splits and "none of which can be used as it is" in found.told
        after, changes = self.repaired(root)
        assert len(after.pairs) == 4 and len(changes) == 4

    def test_one_picture_with_two_masks(self, tmp_path):
        root = plain(tmp_path / "a")
        (root / "images" / "p3.jpg").write_bytes((root / "images" / "p2.jpg").read_bytes())
        after, changes = self.repaired(root)
        assert [pair.name for pair in after.pairs] == ["p0", "p1"]
        assert changes == ["images/p2.jpg and images/p3.jpg are left out: the same picture with different masks"]

    def test_a_mask_that_is_no_scale_of_its_picture(self, tmp_path):
        root = plain(tmp_path / "a")
        write(root / "masks" / "p0.png", np.array([[0, 255, 0], [255, 0, 0]], np.uint8))
        after, changes = self.repaired(root)
        assert len(after.pairs) == 3 and "p0.jpg is left out: " in changes[0]


def test_not_into_the_folder_itself(tmp_path):
    found = understand(plain(tmp_path / "a"))
    with pytest.raises(BadOption, match=r"a/sub/b lies inside .*a; choose a folder outside, which is not read with it"):
        convert(found, tmp_path / "a" / "sub" / "b")


@pytest.mark.parametrize("to", ["folder", "voc"])
def test_names_in_no_encoding(tmp_path, to):
    root = tmp_path / "a"
    for i in range(2):
        name = f"caf{chr(0xDCE9)} {i}\n{i}"  # Latin-1 bytes, a line break
        write(root / "images" / f"{name}.png", noise(i))
        write(root / "masks" / f"{name}.png", mask(i))
    convert(understand(root), tmp_path / "b", to=to, repair=True)
    after = understand(tmp_path / "b")
    assert not after.errors and len(after.pairs) == 2
