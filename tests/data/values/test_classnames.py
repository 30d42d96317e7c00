"""Files of class names in every form that people write them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pixelwise.data.values.classnames import find_class_names, read_class_names, unread_lists, write_classes
from pixelwise.errors import DataError
from pixelwise.labels import VOID, LabelSet, pack_color, voc_color


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


@pytest.mark.parametrize(
    "name, text, names, ids, colors",
    [
        (
            "class_dict.csv",
            "name,r,g,b\nAnimal,64,128,64\nArchway, 192, 0, 128",
            ("Animal", "Archway"),
            None,
            ((64, 128, 64), (192, 0, 128)),
        ),
        ("classes.csv", "id;name\n0;sky\n7;old road", ("sky", "old road"), (0, 7), None),
        ("classes.txt", '\ufeff"name","id"\r\n"a, b",1\r\n"c",0\r\n', ("a, b", "c"), (1, 0), None),
        ("classes.csv", "name,red,green,blue,id\nsky,1,2,3,4", ("sky",), (4,), ((1, 2, 3),)),
        (
            "label_colors.txt",
            "64 128 64\tAnimal\n192 0 128\tArchway",
            ("Animal", "Archway"),
            None,
            ((64, 128, 64), (192, 0, 128)),
        ),
        ("id2label.json", '{"0": "sky", "7": "road"}', ("sky", "road"), (0, 7), None),
        ("id2label.json", '{"sky": 0, "road": 7}', ("sky", "road"), (0, 7), None),
        ("classes.txt", "name\nvalue", ("name", "value"), None, None),
    ],
)
def test_tables_with_a_first_line_and_json(tmp_path, name, text, names, ids, colors):
    (tmp_path / name).write_text(text, encoding="utf-8", newline="")
    found = find_class_names({tmp_path}, tmp_path)
    assert (found.names, found.ids, found.colors, found.labels) == (names, ids, colors, None)


@pytest.mark.parametrize(
    "name, text, message",
    [
        ("classes.csv", "id,name\nx,sky", r"classes\.csv has the line 'x,sky'; expected id,name"),
        ("classes.csv", "name,r,g,b\nsky,1,2", r"has the line 'sky,1,2'; expected name,red,green,blue"),
        ("classes.csv", "id,name\n1,a\n1,b", r"gives the number 1 twice"),
        ("id2label.json", "{", r"id2label\.json is no JSON"),
        ("id2label.json", '["a"]', r'does not tell names by number; expected \{"0": "name"'),
        ("id2label.json", '{"a": "b"}', r"does not tell names by number"),
        ("id2label.json", "{}", r"does not tell names by number"),
    ],
)
def test_refused_tables(tmp_path, name, text, message):
    (tmp_path / name).write_text(text)
    with pytest.raises(DataError, match=message):
        read_class_names(tmp_path / name)


class TestYaml:
    def read(self, folder, text):
        (folder / "classes.yaml").write_text(text, encoding="utf-8")
        return read_class_names(folder / "classes.yaml")

    def test_the_form(self, tmp_path):
        found = self.read(
            tmp_path,
            "masks: numbers   # or colors\nclasses:\n  - name: background\n    color: [0, 0, 9]\n    values: [0]\n"
            "  - name: road\n    values: [7, 8]\nvoid: [255, -1]\n",
        )
        assert found.labels == LabelSet(
            ("background", "road"), ((0, 0, 9), voc_color(1)), {0: 0, 7: 1, 8: 1, 255: VOID, -1: VOID}
        )
        assert (found.names, found.ids, found.colors, found.classes) == (("background", "road"), None, None, [0, 1])

    def test_colors(self, tmp_path):
        found = self.read(
            tmp_path, "masks: colors\nsnap: true\nclasses:\n- {name: a, values: [[1, 2, 3], [4, 5, 6]]}\nvoid:\n"
        )
        assert found.labels.table == {pack_color((1, 2, 3)): 0, pack_color((4, 5, 6)): 0}
        assert found.labels.colors and found.labels.snap

    @pytest.mark.parametrize(
        "text, message",
        [
            ("", r"classes\.yaml: the file is None; expected classes, masks, snap, void"),
            ("- a", r"the file is \['a'\]; expected classes"),
            ("{", r"classes\.yaml is no YAML \(.*\); correct it"),
            ("names: [a]", r"the file has the unknown key 'names'; expected classes, masks, snap, void"),
            ("masks: numbers", r"the file has no classes; expected classes"),
            ("masks: both\nclasses: [{name: a, values: [0]}]", r"masks is 'both'; expected numbers, colors or names"),
            ("snap: maybe\nclasses: [{name: a, values: [0]}]", r"snap is 'maybe'; expected true or false"),
            ("classes: []", r"classes is \[\]; expected a list of classes"),
            ("classes: {a: 1}", r"classes is \{'a': 1\}; expected a list of classes"),
            ("classes: [a]", r"classes, 1 is 'a'; expected color, name, values"),
            ("classes: [{name: a}]", r"classes, 1 has no values; expected name, values"),
            (
                "classes: [{name: a, value: [0]}]",
                r"classes, 1 has the unknown key 'value'; expected color, name, values",
            ),
            ("classes: [{name: 7, values: [0]}]", r"classes, 1: name is 7; expected text, in quotes"),
            ("classes: [{name: no, values: [0]}]", r"classes, 1: name is False; expected text, in quotes"),
            ("classes: [{name: a, values: [0]}, {name: a, values: [1]}]", r"classes, 2: name is 'a', which was there"),
            ("classes: [{name: a, values: 0}]", r"classes, 1 \(a\): values is 0; expected a list of whole numbers"),
            ("classes: [{name: a, values: [0.5]}]", r"classes, 1 \(a\): values holds 0\.5; expected a list of whole"),
            ("classes: [{name: a, values: [true]}]", r"values holds True; expected a list of whole numbers"),
            (
                "classes: [{name: a, values: [[1, 2, 3]]}]",
                r"values holds \[1, 2, 3\]; .*; for colors write 'masks: colors'",
            ),
            ("masks: colors\nclasses: [{name: a, values: [7]}]", r"values holds 7; expected a list of colors \[red"),
            (
                "classes: [{name: a, values: [0], color: red}]",
                r"classes, 1 \(a\): color is 'red'; expected \[red, green",
            ),
            ("classes: [{name: a, values: [0], color: [0, 0, 256]}]", r"color is \[0, 0, 256\]; expected"),
            ("classes: [{name: a, values: [0, 0]}]", r"\(a\): values holds 0, which a has already; give it to one"),
            (
                "classes: [{name: a, values: [0]}, {name: b, values: [0]}]",
                r"classes, 2 \(b\): values holds 0, which a has",
            ),
            ("classes: [{name: a, values: [0]}]\nvoid: [0]", r"void holds 0, which a has already"),
            ("classes: [{name: a, values: [0]}]\nvoid: 255", r"void is 255; expected a list of whole numbers"),
            ("classes: [{name: a, values: []}]", r"no class has values; expected the values in the masks"),
            ("classes: [{name: a, values: [0]}]\nclasses: []", r"is no YAML \(the key classes stands twice"),
            ("classes: [{name: a, name: b, values: [0]}]", r"is no YAML \(the key name stands twice"),
        ],
    )
    def test_refused(self, tmp_path, text, message):
        with pytest.raises(DataError, match=message) as caught:
            self.read(tmp_path, text)
        assert "\n" not in str(caught.value) and "classes.yaml" in str(caught.value)

    def test_it_is_read_before_all_others(self, tmp_path):
        (tmp_path / "masks").mkdir()
        (tmp_path / "masks/classes.txt").write_text("a\nb")
        self.read(tmp_path, "classes: [{name: x, values: [0]}]")
        assert find_class_names({tmp_path / "masks"}, tmp_path).names == ("x",)
        (tmp_path / "masks/classes.yml").write_text("classes: [{name: y, values: [0]}]")
        assert find_class_names({tmp_path / "masks"}, tmp_path).names == ("y",)

    def test_two_must_agree_in_all(self, tmp_path):
        self.read(tmp_path, "classes: [{name: x, values: [0]}]")
        (tmp_path / "classes.yml").write_text("classes: [{name: x, values: [1]}]")
        with pytest.raises(DataError, match="name different classes; which one is right"):
            find_class_names({tmp_path}, tmp_path)


names = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=8).filter(str.strip)


@settings(max_examples=150, deadline=None)
@given(st.data(), st.booleans(), st.booleans())
def test_what_is_written_is_read_again(tmp_path_factory, data, colors, snap):
    listed = data.draw(
        st.lists(
            st.one_of(names, st.sampled_from(["no", "7", "~", "a: b", "- x", "1e3", "#a", "é"])),
            min_size=1,
            max_size=4,
            unique=True,
        )
    )
    color = st.tuples(*[st.integers(0, 255)] * 3)
    value = color.map(pack_color) if colors else st.integers(-5, 70_000)
    table = data.draw(st.dictionaries(value, st.sampled_from([*range(len(listed)), VOID]), min_size=1))
    table[next(iter(table))] = 0
    palette = tuple(data.draw(color) for _ in listed)
    labels = LabelSet(tuple(listed), palette, table, colors, snap)
    path = tmp_path_factory.mktemp("y") / "classes.yaml"
    write_classes(labels, path)
    assert read_class_names(path).labels == labels


HEX = """{"classes": [{"title": "Water", "color": "#50E3C2"}, {"name": "Unlabeled", "color": [155, 155, 155]}]}"""


@pytest.mark.parametrize(
    "name, text, names, ids, colors",
    [
        ("class_dict_seg.csv", "name, r, g, b\nsky, 1, 2, 3", ("sky",), None, ((1, 2, 3),)),
        ("label_class_dict.csv", "name,r,g,b\nsky,1,2,3", ("sky",), None, ((1, 2, 3),)),
        ("_classes.csv", "Pixel Value, Class\n0, background\n7, cat", ("background", "cat"), (0, 7), None),
        ("classes.json", HEX, ("Water", "Unlabeled"), None, ((80, 227, 194), (155, 155, 155))),
        ("classes.json", HEX[12:-1], ("Water", "Unlabeled"), None, ((80, 227, 194), (155, 155, 155))),
        ("classes.json", '{"0": "sky", "2": "road"}', ("sky", "road"), (0, 2), None),
        ("label_names.txt", "_background_\ncat", ("background", "cat"), None, None),
    ],
)
def test_other_programs_files_are_found(tmp_path, name, text, names, ids, colors):
    (tmp_path / name).write_text(text, encoding="utf-8")
    found = find_class_names([tmp_path], tmp_path)
    assert (found.path.name, found.names, found.ids, found.colors) == (name, names, ids, colors)
    assert not unread_lists([tmp_path])


@pytest.mark.parametrize(
    "name, text",
    [
        ("_classes.csv", "filename, cat, dog\na.jpg, 1, 0"),  # labels of whole pictures
        ("classes.json", '["a", 7]'),
        ("classes.json", '[{"name": "a", "color": "red"}]'),
        ("classes.json", "{"),
        ("my_labels.xml", "<a/>"),
        ("palette.json", "{}"),
    ],
)
def test_files_of_other_forms_are_passed_over_and_told(tmp_path, name, text):
    (tmp_path / name).write_text(text, encoding="utf-8")
    assert find_class_names([tmp_path], tmp_path) is None
    assert unread_lists([tmp_path, tmp_path / "none"]) == [tmp_path / name]


@pytest.mark.parametrize("name", ["Unknown", "conflicting", "nodata", "no-data", "No Data"])
def test_more_names_of_void(tmp_path, name):
    (tmp_path / "classes.txt").write_text(f"{name}\ncat")
    assert read_class_names(tmp_path / "classes.txt").classes == [1]
