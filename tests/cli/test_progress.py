"""What long work shows: lines now and then, a bar on a terminal, nothing of other processes."""

import io

import pytest
from rich.console import Console

from pixelwise.cli.show import progress
from pixelwise.weights.cache import place_of
from pixelwise.weights.catalogue import CATALOGUE


@pytest.fixture
def clock(monkeypatch):
    """Seconds that pass when a test says so."""
    now = [0.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def terminal(monkeypatch):
    """What is written to a terminal of 100 characters."""
    written = io.StringIO()
    monkeypatch.setattr(
        progress,
        "Console",
        lambda **options: Console(file=written, force_terminal=True, color_system=None, width=100, highlight=False),
    )
    return written


def test_a_line_every_ten_seconds_with_rate_and_time_left(clock, capsys):
    with progress.progress_bar("evaluating") as move:
        for clock[0], done in ((2, 1), (11, 22), (15, 30), (22, 44)):
            move(done, 88)
    assert capsys.readouterr().err.splitlines() == [
        "evaluating: 22 of 88, 2.0/s, 0:33 left",
        "evaluating: 44 of 88, 2.0/s, 0:22 left",
    ]


def test_slow_work_is_told_in_seconds_each_and_none_without_a_rate(clock, capsys):
    with progress.progress_bar("training") as move:
        clock[0] = 11
        move(0, 4)
        clock[0] = 40
        move(2, 4)
    assert capsys.readouterr().err.splitlines() == [
        "training: 0 of 4",
        "training: 2 of 4, 20.0 s each, 0:40 left",
    ]


def test_pictures_are_counted_from_where_an_earlier_run_ended_and_preparation_costs_no_rate(clock, capsys):
    with progress.segmenting_bar(quiet=False) as move:
        clock[0] = 100  # the model was loaded
        move(50, 100)
        clock[0] = 111
        move(72, 100)
    assert capsys.readouterr().err == "segmenting: 72 of 100, 2.0 images/s, 0:14 left\n"


@pytest.mark.parametrize(
    ("total", "told"), [(80_000_000, "22.0 MB of 80.0 MB, 2.0 MB/s, 0:29 left"), (0, "22.0 MB, 2.0 MB/s")]
)
def test_a_download_is_counted_in_bytes_also_where_nobody_knows_of_how_many(clock, capsys, total, told):
    name = next(name for name, record in CATALOGUE.items() if record.addresses)
    with progress.download_bar(name) as move:
        move(0, total)
        clock[0] = 11
        move(22_000_000, total)
    place = place_of(CATALOGUE[name])
    first, line = capsys.readouterr().err.splitlines()
    assert first == f"Downloading {place.name} into {place.parent}/; after Ctrl-C the next time goes on from there"
    assert line == f"downloading: {told}"


@pytest.mark.parametrize(
    ("what", "parts"),
    [("evaluating", ("evaluating", "3/4")), ("segmenting", ("3/4",)), ("downloading", ("3/4 bytes",))],
)
def test_a_terminal_shows_a_bar(monkeypatch, what, parts):
    written = terminal(monkeypatch)
    with progress.progress_bar(what) as move:
        move(1, 4)
        move(3, 4)
    assert all(part in written.getvalue() for part in parts)
    assert ("images/s" in written.getvalue()) == (what == "segmenting" and "/s" in written.getvalue())


def test_a_second_process_and_a_command_that_prints_json_show_nothing(clock, monkeypatch, capsys):
    with progress.progress_bar("evaluating", quiet=True) as move:
        clock[0] = 11
        move(1, 2)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("RANK", "1")
    with progress.progress_bar("evaluating") as move, progress.download_bar(next(iter(CATALOGUE))) as download:
        clock[0] = 22
        move(1, 2)
        download(1, 2)
    assert capsys.readouterr() == ("", "")
