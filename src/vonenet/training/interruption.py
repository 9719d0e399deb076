"""Signals that ask a training to stop, noted and obeyed when the step is finished."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType


@dataclass
class Signals:
    """What was asked for so far.

    Attributes:
        preempted: SIGTERM came, from a scheduler that wants the machine back.
        interrupted: SIGINT came, from a user's Ctrl-C.
    """

    preempted: bool = False
    interrupted: bool = False


@contextmanager
def noted_signals(wanted: bool) -> Iterator[Signals]:
    """Within: SIGTERM and the first Ctrl-C are noted; a second Ctrl-C acts at once.

    Outside of the main thread Python hands out no signals, and nothing is noted.

    Args:
        wanted: False leaves all signals as they are.
    """
    signals = Signals()
    if not wanted or threading.current_thread() is not threading.main_thread():
        yield signals
        return

    def note(number: int, frame: FrameType | None) -> None:
        if number == signal.SIGTERM:
            signals.preempted = True
        else:
            signals.interrupted = True
            signal.signal(signal.SIGINT, before[signal.SIGINT])

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        for number in before:
            signal.signal(number, note)
        yield signals
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
