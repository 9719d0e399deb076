"""The `vonenet` command: one file of this folder for each of its subcommands.

A subcommand is a dataclass: its fields are the options, with their help, and `run` does the work.
What is heavy is imported by the functions that need it, so that help appears at once.
"""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from dataclasses import fields
from difflib import get_close_matches
from importlib.metadata import version
from typing import Any, Protocol

from vonenet.cli.console import WRONG_USAGE, fail, parsed, robust_streams
from vonenet.cli.convert import Convert
from vonenet.cli.data import Data
from vonenet.cli.demo import Demo
from vonenet.cli.evaluate import Evaluate
from vonenet.cli.models import Models
from vonenet.cli.physiology import Physiology
from vonenet.cli.predict import Predict
from vonenet.cli.predictivity import Predictivity
from vonenet.cli.report import Report
from vonenet.errors import InputError, Preempted, VOneNetError

DESCRIPTION = "Neural networks with a fixed model of primary visual cortex in front."
RUN_AGAIN = 75  # EX_TEMPFAIL of sysexits.h: a scheduler may start the same command again
INTERRUPTED = 130  # as a shell says it of SIGINT
NEW_ISSUE = "send the lines above and the command to the issues of vonenet's repository"


class Command(Protocol):
    """A subcommand with its options."""

    def run(self) -> None:
        """Do the work and print what the user wants to know.

        Raises:
            VOneNetError: Something cannot be done; its message is one line.
        """


class Train:
    """Train a network by a recipe; started again, go on where it was stopped."""


COMMANDS: dict[str, type] = {
    "demo": Demo,
    "models": Models,
    "predict": Predict,
    "convert": Convert,
    "train": Train,
    "evaluate": Evaluate,
    "report": Report,
    "physiology": Physiology,
    "predictivity": Predictivity,
    "data": Data,
}
EXAMPLES = {
    "demo": ["vonenet demo --quick"],
    "models": ["vonenet models", "vonenet models 'vone_*resnet*'"],
    "predict": [
        "vonenet predict voneresnet50 cat.jpg dog.jpg",
        "vonenet predict runs/demo photos --top 3 --json",
    ],
    "convert": ["vonenet convert vonealexnet_e70.pth.tar vonealexnet.safetensors"],
    "train": [
        "vonenet train recipes/demo.toml --data embedded --epochs 2",
        "vonenet train recipes/demo.toml --data photos --out runs/photos",
    ],
    "evaluate": [
        "vonenet evaluate voneresnet50 timm/resnet50 --data imagenet/val --limit 1000",
        "vonenet evaluate runs/demo --data embedded --suite paper",
    ],
    "report": ["vonenet report evaluation runs/demo --out page.html"],
    "physiology": [
        "vonenet physiology untrained/voneresnet50",
        "vonenet physiology voneresnet50 --compare timm/resnet50@layer1",
    ],
    "predictivity": ["vonenet predictivity voneresnet50 --responses v4.npz --images stimuli"],
    "data": [
        "vonenet data inspect photos",
        "vonenet data inspect imagenet --split val --no-check-all",
    ],
}
# What each numeric option may be; options of one name mean the same in all commands
COUNT, SIZE, WHOLE = (1, 10**9), (1, 10**5), (-(2**63), 2**63 - 1)
LIMITS: dict[str, tuple[float, float]] = {
    "attack_limit": COUNT,
    "batch_size": COUNT,
    "components": COUNT,
    "decision_samples": COUNT,
    "degrees": (0.01, 360),
    "filter_seed": (0, 2**63 - 1),
    "folds": (2, 10**9),
    "image_degrees": (0.01, 360),
    "image_size": SIZE,
    "k_exc": (1e-6, 1e6),
    "limit": COUNT,
    "memory": (0.01, 1e6),
    "noise_level": (0, 1e6),
    "noise_scale": (1e-6, 1e6),
    "samples": COUNT,
    "seed": (0, 2**63 - 1),
    "simple_channels": (0, 2**31 - 1),
    "stride": SIZE,
    "top": COUNT,
    "trials": COUNT,
    "visual_degrees": (0.01, 360),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake gets one line on stderr and exit status 1 or 2.

    An error that nobody expected keeps its traceback, which helps to mend it.
    """
    with robust_streams():
        try:
            _run(sys.argv[1:] if arguments is None else list(arguments))
        except Preempted as error:
            fail(str(error), RUN_AGAIN)
        except VOneNetError as error:
            fail(str(error))
        except BrokenPipeError:
            raise
        except OSError as error:
            place = f": {error.filename}" if error.filename else ""
            fail(f"{error.strerror or error}{place}")
        except KeyboardInterrupt as interrupt:
            fail(str(interrupt) or "interrupted", INTERRUPTED)
        except Exception as error:
            if _is_lack_of_memory(error):
                fail("there is not enough memory; allowed: fewer or smaller images at a time")
            traceback.print_exc()
            fail(f"this is a mistake in vonenet, not in what you typed; please {NEW_ISSUE}")


def _run(arguments: list[str]) -> None:
    if arguments in (["--version"], ["-V"]):
        print(f"vonenet {version('vonenet')}")
        return
    if arguments in (["--help"], ["-h"]):
        print(help_text())
        return
    name = arguments[0] if arguments else ""
    if name not in COMMANDS:
        near = get_close_matches(name, COMMANDS, n=1)
        meant = f"did you mean {near[0]}?" if near else f"allowed: {', '.join(COMMANDS)}"
        what = f"unknown command {name!r}" if name else "no command was given"
        fail(f"{what}; {meant}; see vonenet --help", WRONG_USAGE)
    if name == "train":
        from vonenet.cli import train

        train.main(arguments[1:])
        return
    command: Command = parsed(COMMANDS[name], name, arguments[1:], EXAMPLES[name])
    check_numbers(command)
    command.run()


def help_text() -> str:
    """Return the commands, each in a line."""
    lines = [f"  {n:<13} {(c.__doc__ or '').splitlines()[0]}" for n, c in COMMANDS.items()]
    usage = f"usage: vonenet COMMAND ...\n\n{DESCRIPTION}\n\ncommands:"
    return "\n".join([usage, *lines, "", "the options of one: vonenet COMMAND --help"])


def check_numbers(command: Any) -> None:
    """Check each number among a command's options.

    Raises:
        InputError: One is not finite, or out of its range.
    """
    for name in (field.name for field in fields(command)):
        value = getattr(command, name)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        low, high = LIMITS.get(name, WHOLE)
        if not low <= value <= high:  # nan is in no range
            option = "--" + name.replace("_", "-")
            raise InputError(f"{option} must be {low} to {high}, got {value}")


def _is_lack_of_memory(error: Exception) -> bool:
    words = ("can't allocate memory", "out of memory")
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and any(each in str(error).lower() for each in words)
    )
