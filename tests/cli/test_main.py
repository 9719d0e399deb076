"""The command as a user types it: what it prints, and one line for every mistake."""

import os
import resource
import shlex
import subprocess
import sys
import warnings
from importlib.resources import files
from typing import get_args, get_type_hints

import pytest

import vonenet
from tests.report.evaluations import measured
from vonenet import cli
from vonenet.cli import console
from vonenet.cli.console import parsed
from vonenet.cli.models import Models
from vonenet.errors import VOneNetWarning
from vonenet.results import append_jsonl

TINY = {"image_size": 32, "simple_channels": 8, "complex_channels": 8}
CHELSEA = files("vonenet.data") / "files" / "chelsea.jpg"
PUBLISHED = {"simple_channels": 8, "complex_channels": 8, "filters": "legacy"}


def run(capsys, *arguments):
    """Exit status, stdout and stderr of the command in this process."""
    try:
        cli.main([str(argument) for argument in arguments])
        status = 0
    except SystemExit as stop:
        status = stop.code
    printed = capsys.readouterr()
    return status, printed.out, printed.err


@pytest.fixture
def weights(tmp_path):
    path = tmp_path / "tiny.safetensors"
    vonenet.save_checkpoint(vonenet.create_model("voneresnet_small", num_classes=7, **TINY), path)
    return path


@pytest.mark.parametrize("arguments", [["predict", "--help"], ["--version"]])
def test_help_appears_within_a_second(arguments):
    """In processor time: what the wall clock says depends on the machine's other work."""
    command = [sys.executable, "-m", "vonenet", *arguments]
    seconds = []
    for _ in range(2):  # the first one may have to compile what the second one only loads
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    assert "vonenet" in done.stdout
    assert min(seconds) < 1


def test_models_lists_every_named_one(capsys):
    status, out, _ = run(capsys, "models")
    assert status == 0
    assert "voneresnet50 " in out
    assert "25.58 M" in out
    assert "published" in out
    assert run(capsys, "models", "vone_resnet10t")[1].splitlines()[1].startswith("vone_resnet10t ")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["predict", "voneresnet5", CHELSEA], "unknown model 'voneresnet5'; nearest: voneresnet50"),
        (["predict", "WEIGHTS"], "no image was given"),
        (["predict", "WEIGHTS", CHELSEA, "--top", "0"], "--top must be 1 to 1000000000, got 0"),
        (["predict", "WEIGHTS", CHELSEA, "--seed", "-1"], "--seed must be 0 to 92233720368547758"),
        (["evaluate", "WEIGHTS", "--data", "d", "--seed", str(2**63)], "got 9223372036854775808"),
        (["physiology", "WEIGHTS", "--degrees", "nan"], "--degrees must be 0.01 to 360, got nan"),
        (["predictivity", "W", "--responses", "r", "--images", "i", "--degrees", "1e999"], "inf"),
        (["predict", "two\nlines\x1b[2J", CHELSEA], r"two\nlines\x1b[2J"),
        (["convert", "none.pth.tar", "new.safetensors"], "no weights file none.pth.tar"),
        (["convert", "WEIGHTS", "no/such/folder.safetensors"], "No such file or directory"),
        (["models", "vone_nothing*"], "no model matches 'vone_nothing*'"),
        (["demo", "--out", "/proc/demo"], "/proc/demo"),
    ],
)
def test_mistakes_get_one_line_and_a_status(capsys, weights, arguments, message):
    arguments = [str(weights) if argument == "WEIGHTS" else argument for argument in arguments]
    status, _, err = run(capsys, *arguments)
    assert status == 1
    assert len(err.splitlines()) == 1
    assert err.startswith("vonenet: ")
    assert message in err


ROW = measured("m", 5, 9)


def test_a_page_replaces_a_page_and_nothing_else(capsys, tmp_path):
    rows, page = tmp_path / "results.jsonl", tmp_path / "page.html"
    append_jsonl(rows, [ROW])
    before = rows.read_bytes()
    status, _, err = run(capsys, "report", tmp_path, "--out", rows)
    assert (status, rows.read_bytes()) == (1, before)
    assert "results.jsonl is there and is no page; allowed: another name for --out" in err
    for _ in range(2):
        assert run(capsys, "report", tmp_path, "--out", page)[0] == 0
        assert page.read_bytes().startswith(b"<!doctype html>")


@pytest.mark.skipif(os.name != "posix", reason="no name for standard output")
def test_a_page_that_is_printed_is_all_that_is_printed(tmp_path):
    append_jsonl(tmp_path / "results.jsonl", [ROW])
    command = [sys.executable, "-m", "vonenet", "report", tmp_path, "--out", "/dev/stdout"]
    done = subprocess.run(command, capture_output=True, timeout=60, check=True)
    assert done.stdout.startswith(b"<!doctype html>")
    assert done.stdout.endswith(b"</html>")
    assert b"m " in done.stderr


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "no command was given; allowed: demo, models, predict, convert, train, evaluate, "),
        ("predcit", "unknown command 'predcit'; did you mean predict?; see vonenet --help"),
        ("predict", "missing MODEL; see vonenet predict --help"),
        ("data", "missing {inspect}, ADDRESS; see vonenet data --help"),
        ("evaluate m --data", "missing value for argument '--data'"),
        ("evaluate m --data d --limit x", "error parsing --limit: no type matching {None}|INT "),
        ("evaluate m --data d --limt 4", "options: --limt, 4; perhaps you meant --limit"),
        ("evaluate m --data d --suite all", "invalid choice 'all' for argument '--suite'"),
        ("models a " + 200 * "b", "unrecognized options: " + 200 * "b" + "; see vonenet models"),
    ],
)
def test_wrong_usage_is_explained_in_one_line(capsys, arguments, message):
    status, out, err = run(capsys, *arguments.split())
    assert (status, out) == (2, "")
    assert len(err.splitlines()) == 1
    assert err.startswith("vonenet: ")
    assert message in err


def test_help_of_all_commands_shows_examples_that_can_be_typed(capsys):
    status, out, _ = run(capsys, "--help")
    assert status == 0
    for name, command in cli.COMMANDS.items():
        assert f"\n  {name} " in out
        examples = cli.EXAMPLES[name]
        for example in examples:
            program, *words = shlex.split(example)
            assert (program, words[0]) == ("vonenet", name)
            if name != "train":  # its options are those of a recipe
                cli.check_numbers(parsed(command, name, words[1:]))
        status, shown, _ = run(capsys, name, "--help")
        assert status == 0
        if name != "train":
            assert "\n".join(f"  {example}" for example in examples) in shown


def test_each_numeric_option_has_a_range():
    for command in cli.COMMANDS.values():
        kinds = get_type_hints(command)
        numeric = [n for n, kind in kinds.items() if {int, float} & {kind, *get_args(kind)}]
        assert set(numeric) <= cli.LIMITS.keys()


def test_a_mistake_of_ours_keeps_its_traceback_and_says_so(capsys, monkeypatch):
    def broken(self):
        raise KeyError("column")

    monkeypatch.setattr(Models, "run", broken)
    status, _, err = run(capsys, "models")
    assert status == 1
    assert "Traceback" in err
    assert err.splitlines()[-1].startswith("vonenet: this is a mistake in vonenet")


@pytest.mark.parametrize(
    ("error", "status", "line"),
    [
        (MemoryError(), 1, "there is not enough memory"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you"), 1, "not enough memory"),
        (KeyboardInterrupt(), 130, "interrupted"),
        (KeyboardInterrupt("stopped; the same command goes on"), 130, "the same command goes on"),
        (OSError(28, "No space left on device", "page.html"), 1, "No space left on device: page"),
    ],
)
def test_what_ends_a_command_from_outside_gets_one_line(capsys, monkeypatch, error, status, line):
    def fail(self):
        raise error

    monkeypatch.setattr(Models, "run", fail)
    found, _, err = run(capsys, "models")
    assert found == status
    assert len(err.splitlines()) == 1
    assert line in err


def test_warnings_are_one_line_without_source_code(capsys, monkeypatch):
    monkeypatch.setattr(
        Models, "run", lambda self: warnings.warn("odd", VOneNetWarning, stacklevel=1)
    )
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        assert run(capsys, "models") == (0, "", "vonenet: warning: odd\n")


SHELL = """
import sys
from vonenet.cli import main
from vonenet.cli.models import Models
Models.run = lambda self: print({text!a})
main(["models"])
"""


LONG = 100_000 * "x"


def in_shell(line, text):
    """Run a shell line in which $VONENET prints a text."""
    script = SHELL.format(text=text).replace("\n", "; ").strip("; ")
    command = shlex.join([sys.executable, "-c", script])
    return subprocess.run(
        ["bash", "-c", line.replace("$VONENET", command)], capture_output=True, timeout=60
    )


@pytest.mark.skipif(os.name != "posix", reason="the shell's ways to close a stream")
@pytest.mark.parametrize(
    ("line", "text", "status", "out", "err"),
    [
        ("PYTHONIOENCODING=ascii $VONENET", "L\u221e", 0, b"L\\u221e\n", b""),
        ("LC_ALL=C PYTHONUTF8=0 PYTHONCOERCECLOCALE=0 $VONENET", "é", 0, b"\\xe9\n", b""),
        ("$VONENET >&-", LONG, 0, b"", b""),
        ("$VONENET >&- 2>&-", LONG, 0, b"", b""),
        ("set -o pipefail; $VONENET | true", LONG, 141, b"", b""),
        ("PYTHONUNBUFFERED=1 $VONENET > /dev/full", "a", 1, b"", b"vonenet: No space left on dev"),
        ("PYTHONUNBUFFERED= $VONENET > /dev/full", "a", 1, b"", b"vonenet: standard output cannot"),
    ],
)
def test_streams_of_any_kind(line, text, status, out, err):
    done = in_shell(line, text)
    assert (done.returncode, done.stdout) == (status, out)
    assert done.stderr.startswith(err)
    assert done.stderr.count(b"\n") == bool(err)


def test_a_path_that_is_no_text_is_printed(capsys):
    with console.robust_streams():
        print(os.fsdecode(b"\xff.png"))
    assert capsys.readouterr().out == "\\udcff.png\n"
