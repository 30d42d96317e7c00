"""Taking turns: the order, what is counted, the median of the ratios, and what scripts print."""

import platform
import subprocess
import sys
from pathlib import Path

import pytest

from pixelwise.benchmark import machine
from pixelwise.benchmark.turns import Missing, milliseconds, print_all, ratio_of, share, take_turns, times, versioned


def test_ways_alternate_and_the_first_turn_is_not_counted():
    calls, ticks = [], iter(range(100))
    ways = {"ours": lambda: calls.append("ours") or len(calls), "peer": lambda: calls.append("peer") or len(calls)}
    found, seconds = take_turns(ways, 2, clock=lambda: next(ticks))
    assert calls == ["ours", "peer"] * 3
    assert found == {"ours": 5, "peer": 6}
    assert seconds == {"ours": [1, 1], "peer": [1, 1]}


def test_the_ratio_is_the_median_of_the_turns_ratios_and_not_the_ratio_of_medians():
    ratio = ratio_of("n", "c", "p", [1, 10, 4], [8, 20, 4], equal=True, answers="same")
    assert (ratio.ratio, ratio.lowest, ratio.highest) == (2, 1, 8)
    assert (ratio.seconds, ratio.peer_seconds, ratio.turns) == (4, 8, 3)
    assert ratio.to_record()["answers"] == "same"


def test_scripts_print_a_line_each_and_end_where_answers_differ(capsys):
    right = ratio_of("n", "ten", "numpy 2", [0.001], [0.004], equal=True, answers="equal sums", way="one thread")
    wrong = ratio_of("n", "two", "numpy 2", [0.001], [0.004], equal=False, answers="other sums")
    with pytest.raises(SystemExit, match="the answers differ"):
        print_all([Missing("n", "that", "pip install that"), right, wrong])
    assert capsys.readouterr().out.splitlines() == [
        "that is not installed: pip install that",
        "ten, one thread: 1.00 ms, numpy 2 4.00 ms: 4.00× (4.00× to 4.00×), equal sums",
        "two: 1.00 ms, numpy 2 4.00 ms: 4.00× (4.00× to 4.00×), other sums",
    ]


def test_numbers_are_told_with_the_digits_that_matter():
    assert [milliseconds(s) for s in (0.0005, 0.0123, 0.4, 12)] == ["0.50 ms", "12.3 ms", "400 ms", "12.0 s"]
    assert [times(r) for r in (0.5, 12.34)] == ["0.50×", "12.3×"]
    assert share(1 - 1e-9) == "99.9999 %"  # not all of them
    assert versioned("no-such-library") == "no-such-library"


@pytest.mark.parametrize(
    ("system", "listed", "told", "expected"),
    [
        ("linux", "processor: 0\nmodel name\t: One CPU\n", "", "One CPU"),
        ("linux", "processor: 0\n", "", "x86"),
        ("darwin", None, "Another CPU\n", "Another CPU"),
        ("darwin", None, "", "x86"),
    ],
)
def test_the_processor_is_named_as_the_system_names_it(monkeypatch, tmp_path, system, listed, told, expected):
    file = tmp_path / "cpuinfo"
    if listed is not None:
        file.write_text(listed)
    monkeypatch.setattr(machine, "Path", lambda place: file if place == "/proc/cpuinfo" else Path(place))
    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(platform, "processor", lambda: "x86")
    monkeypatch.setattr(subprocess, "run", lambda *a, **k: subprocess.CompletedProcess(a, 0, stdout=told))
    assert machine.processor() == expected


def test_the_machine_is_described_with_what_ratios_depend_on():
    found = machine.described()
    assert found["cores"] >= 1 and found["threads"] == 1 and found["processor"]
    assert found["torch"].startswith("2.")
