"""How the command talks with its user: options, messages of one line, streams of any kind."""

from __future__ import annotations

import io
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, redirect_stderr, suppress
from textwrap import dedent
from typing import Any, NoReturn, TypeVar

import tyro

from vonenet.errors import VOneNetWarning

Parsed = TypeVar("Parsed")
WRONG_USAGE, BROKEN_PIPE = 2, 141  # the latter as if by the signal, which Python turns off
STDERR = 2  # the last of the standard descriptors
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")  # these would break the line or steer the terminal
WIDE = "100000"  # columns: no line of tyro's is broken


def parsed(
    command: Callable[..., Parsed],
    name: str,
    arguments: Sequence[str],
    examples: Sequence[str] = (),
    **settings: Any,
) -> Parsed:
    """Return what the arguments make of a command; show its help, or what is wrong with them.

    Raises:
        SystemExit: After either.
    """
    asks_for_help = not {"-h", "--help", "-H", "--help-verbose"}.isdisjoint(arguments)
    complaint = io.StringIO()
    try:
        with redirect_stderr(complaint), nullcontext() if asks_for_help else _wide_terminal():
            found: Parsed = tyro.cli(command, prog=f"vonenet {name}", args=arguments, **settings)
            return found
    except SystemExit as stop:
        if stop.code == WRONG_USAGE and complaint.getvalue():
            text = one_line(complaint.getvalue())
            fail(f"{text}; see vonenet {name} --help", WRONG_USAGE)
        if asks_for_help and examples:
            print("\n".join(["examples:", *(f"  {each}" for each in examples)]))
        raise


@contextmanager
def _wide_terminal() -> Iterator[None]:
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = WIDE
    try:
        yield
    finally:
        del os.environ["COLUMNS"]
        if before is not None:
            os.environ["COLUMNS"] = before


def one_line(box: str) -> str:
    """Return what tyro draws a box around, without its help, as one line."""
    top, *lines = [line.rstrip() for line in COLOUR.sub("", box).replace("│", " ").splitlines()]
    text = dedent("\n".join(lines[:-1] if top.startswith("╭") else lines[1:]))  # or without frame
    said, *hints = re.split(r"\n[─-]{3,}\n", text)
    first, *more = said.split("\n\n")[0].splitlines() or ["wrong usage"]
    if first.startswith("Missing from"):  # then names at 4 spaces and their help at 8
        named = [line.strip() for line in more if re.match(r" {4}\S", line)]
        return f"missing {', '.join(named)}"
    hint = next((hint for hint in hints if hint.startswith("Perhaps you meant:")), "")
    suggested = [line.strip() for line in hint.splitlines() if re.match(r" {4}-", line)]
    advice = f"; perhaps you meant {' or '.join(suggested)}" if suggested else ""
    words = " ".join(" ".join([first, *more]).split()).rstrip(".")
    return words[:1].lower() + words[1:] + advice


def fail(message: str, status: int = 1) -> NoReturn:
    """Say what is wrong in one line and end the program.

    Raises:
        SystemExit: Always.
    """
    say(message)
    raise SystemExit(status)


def say(message: object) -> None:
    """Print one line to stderr."""
    line = CONTROL.sub(lambda found: repr(found[0])[1:-1], str(message))
    with suppress(OSError):  # nobody listens
        print(f"vonenet: {line}", file=sys.stderr, flush=True)


@contextmanager
def robust_streams() -> Iterator[None]:
    """Print whatever the terminal's encoding is, and if a standard stream is closed or closes.

    Raises:
        SystemExit: What was printed could not be written.
    """
    _open_closed_streams()
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    showwarning, warnings.showwarning = warnings.showwarning, _show_warning(warnings.showwarning)
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:  # `vonenet models | head` has read enough
        _forget_output()
        raise SystemExit(BROKEN_PIPE) from None
    except OSError as error:
        _forget_output()
        if isinstance(error.__context__, SystemExit) and error.__context__.code:
            raise error.__context__ from None
        fail(f"standard output cannot be written: {error.strerror}")
    finally:
        warnings.showwarning = showwarning


def _open_closed_streams() -> None:
    """Let no file that is opened later take the place of a standard stream that is closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= STDERR:
        pass
    os.close(descriptor)
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            setattr(sys, name, os.fdopen(os.open(os.devnull, os.O_WRONLY), "w"))


def _forget_output() -> None:
    """Throw away what is still to be printed; else Python fails to do so when it exits."""
    with suppress(OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _show_warning(usual: Callable[..., None]) -> Callable[..., None]:
    def show(message: Warning, category: type[Warning], *place: Any, **keywords: Any) -> None:
        if issubclass(category, VOneNetWarning):
            say(f"warning: {message}")
        else:
            usual(message, category, *place, **keywords)

    return show
