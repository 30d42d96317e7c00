"""`pixelwise benchmark`: lines, tables, JSON, exit codes."""

import io
import json
import os
import subprocess
import sys

import pytest
from rich.console import Console

from pixelwise.benchmark import comparisons
from pixelwise.benchmark.turns import Missing, ratio_of
from pixelwise.cli.main import main
from pixelwise.cli.show.ratios import print_ratios

MACHINE = {
    "processor": "One CPU", "instructions": "AVX2", "cores": 2, "threads": 1, "memory_gib": 15.5, "gpu": None,
    "system": "Linux", "python": "3.11.7", "torch": "2.13.0", "pixelwise": "0.1.0",
}  # fmt: skip


def run(capsys, *arguments):
    with pytest.raises(SystemExit) as ended:
        main(["benchmark", *arguments])
    captured = capsys.readouterr()
    return ended.value.code, captured.out, captured.err


def stand_in(monkeypatch, *, equal=True):
    """One comparison that takes no time, in place of all."""
    found = [
        ratio_of("sum", "ten", "numpy 2", [0.001], [0.004], equal=equal, answers="the sums", way="one thread"),
        Missing("sum", "pandas", "pip install pandas"),
    ]
    monkeypatch.setattr(comparisons, "COMPARISONS", {"sum": lambda quick: iter(found)})


def test_a_line_each_where_there_is_no_terminal(monkeypatch, capsys):
    stand_in(monkeypatch)
    code, out, _ = run(capsys)
    assert code == 0
    first, ratio, missing, last = out.splitlines()
    assert "torch 2." in first and "1 thread, pixelwise 0.1.0" in first
    assert ratio == "sum: ten, one thread: 1.00 ms, numpy 2 4.00 ms: 4.00× (4.00× to 4.00×), the sums"
    assert missing == "sum: pandas is not installed: pip install pandas"
    assert last == "Times are medians of turns taken one after the other; a ratio above 1: pixelwise is faster."


def test_json_is_one_object_with_machine_ratios_and_what_is_missing(monkeypatch, capsys):
    stand_in(monkeypatch)
    code, out, err = run(capsys, "--json", "--quick")
    record = json.loads(out)
    assert code == 0 and not err
    assert set(record) == {"machine", "quick", "ratios", "missing"} and record["quick"] is True
    assert set(MACHINE) == set(record["machine"])
    assert record["ratios"][0]["ratio"] == 4 and record["ratios"][0]["peer"] == "numpy 2"
    assert record["missing"] == [{"name": "sum", "what": "pandas", "install": "pip install pandas"}]


def test_answers_that_differ_are_an_error(monkeypatch, capsys):
    stand_in(monkeypatch, equal=False)
    code, out, _ = run(capsys)
    assert code == 1 and "sum: the answers differ: the sums" in out
    assert run(capsys, "--json")[0] == 1


def test_an_unknown_comparison_is_wrong_usage(capsys):
    code, out, err = run(capsys, "--only", "crff")
    assert (code, out) == (2, "")
    assert "no comparison is called 'crff'; did you mean 'crf'?" in err


def test_the_help_names_all_comparisons_and_imports_no_torch():
    code = (
        "import sys\nfrom pixelwise.cli.main import main\n"
        "try:\n    main(['benchmark', '--help'])\nexcept SystemExit as e:\n    assert e.code == 0, e.code\n"
        "assert 'torch' not in sys.modules and 'numpy' not in sys.modules\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, env=os.environ | {"COLUMNS": "200"}
    )
    assert ", ".join(comparisons.COMPARISONS) in done.stdout


def test_a_terminal_gets_a_table_for_each_peer():
    ratios = [
        ratio_of("sum", case, peer, [0.001], [0.004], equal=True, answers="equal sums", way="one thread")
        for case, peer in (("ten", "numpy 2"), ("two", "numpy 2"), ("ten", "pandas 3"))
    ]
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=100, highlight=False)
    print_ratios(console, MACHINE, ratios, quick=True)
    machine, heading, *rows, last = (line.rstrip() for line in console.file.getvalue().splitlines())
    assert machine == (
        "One CPU (AVX2), 2 cores, 15.5 GiB, no GPU; Linux, Python 3.11.7, torch 2.13.0 with 1 thread, pixelwise 0.1.0"
    )
    assert heading.split() == ["pixelwise", "peer", "ratio"]
    assert rows[0] == "sum, peer: numpy 2" and rows[3] == "sum, peer: pandas 3"
    assert rows[1].split() == ["ten,", "one", "thread", "1.00", "ms", "4.00", "ms", "4.00×", "equal", "sums"]
    assert heading.index("ratio") + len("ratio") == rows[1].index("4.00×") + len("4.00×")  # columns stand under it
    assert last.endswith("so that these ratios say little.")


def test_a_terminal_without_any_peer_is_told_so():
    console = Console(file=io.StringIO(), force_terminal=True, color_system=None, width=100, highlight=False)
    print_ratios(console, MACHINE, [Missing("crf", "pydensecrf", "pip install it")])
    assert "crf: pydensecrf is not installed: pip install it" in console.file.getvalue()
