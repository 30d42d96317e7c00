"""Files of class names in every form that people write them."""

import pytest

from pixelwise.data.classnames import find_class_names, read_class_names
from pixelwise.errors import DataError


@pytest.mark.parametrize(
    "text, names, ids, colors",
    [
        ("sky\nroad\n\ntree house\n", ("sky", "road", "tree house"), None, None),
        ("\ufeffsky\r\nroad\r\n", ("sky", "road"), None, None),
        ("0 sky\n7 road", ("sky", "road"), (0, 7), None),
        ("0: sky\n7: road", ("sky", "road"), (0, 7), None),
        ("0,sky\n-1,void", ("sky", "void"), (0, -1), None),
        ("sky 1 2 3\nmain road 4 5 6", ("sky", "main road"), None, ((1, 2, 3), (4, 5, 6))),
        ("sky,1,2,3\nroad, 4, 5, 6", ("sky", "road"), None, ((1, 2, 3), (4, 5, 6))),
        ("1 2 3 sky\n4 5 6\troad", ("sky", "road"), None, ((1, 2, 3), (4, 5, 6))),
        ("0 sky 1 2 3\n2 road 4 5 6", ("sky", "road"), (0, 2), ((1, 2, 3), (4, 5, 6))),
        (
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\ncar:1,2,3:door:drive\n",
            ("background", "car"),
            None,
            ((0, 0, 0), (1, 2, 3)),
        ),
        ("__ignore__\n_background_\ncar", ("background", "car"), None, None),
    ],
)
def test_forms(tmp_path, text, names, ids, colors):
    path = tmp_path / "classes.txt"
    path.write_text(text, encoding="utf-8", newline="")
    found = read_class_names(path)
    assert (found.names, found.ids, found.colors) == (names, ids, colors)


def test_void_is_no_class(tmp_path):
    (tmp_path / "codes.txt").write_text("sky\nVoid\nroad\nunlabeled")
    assert read_class_names(tmp_path / "codes.txt").classes == [0, 2]


@pytest.mark.parametrize(
    "text, message",
    [
        ("\n# nothing\n", r"classes\.txt is empty; expected one class name a line"),
        ("sky 1 2 3\nroad", r"has colors on some lines but not on 'road'; give every class one or none"),
        ("sky 1 2 300", r"has a color above 255; expected red, green and blue"),
        ("1 sky\n1 road", r"gives the number 1 twice; give every class its own"),
        ("sky\nsky", r"names 'sky' twice; give every class its own name"),
        ("void", r"names no class besides void"),
    ],
)
def test_refused(tmp_path, text, message):
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / "classes.txt")


def test_not_utf8(tmp_path):
    (tmp_path / "classes.txt").write_bytes(b"stra\xdfe")
    with pytest.raises(DataError, match=r"classes\.txt is no UTF-8 text .*; save it as UTF-8"):
        read_class_names(tmp_path / "classes.txt")


def test_the_nearest_file_counts(tmp_path):
    (tmp_path / "set" / "masks").mkdir(parents=True)
    (tmp_path / "classes.txt").write_text("outside")
    assert find_class_names({tmp_path / "set" / "masks"}, tmp_path / "set") is None
    (tmp_path / "set" / "Labels.TXT").write_text("above")
    assert find_class_names({tmp_path / "set" / "masks"}, tmp_path / "set").names == ("above",)
    (tmp_path / "set" / "masks" / "class_names.txt").write_text("beside")
    assert find_class_names({tmp_path / "set" / "masks"}, tmp_path / "set").names == ("beside",)


def test_two_files_must_agree(tmp_path):
    (tmp_path / "classes.txt").write_text("a\nb")
    (tmp_path / "labels.txt").write_text("a\nb\n")
    assert find_class_names({tmp_path}, tmp_path).names == ("a", "b")
    (tmp_path / "labels.txt").write_text("b\na")
    with pytest.raises(DataError, match=r"classes\.txt and .*labels\.txt name different classes; which one is right\?"):
        find_class_names({tmp_path}, tmp_path)
