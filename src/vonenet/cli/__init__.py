"""The `vonenet` command: one file of this folder for each of its subcommands.

A subcommand is a dataclass: its fields are the options, with their help, and `run` does the work.
What is heavy is imported by the functions that need it, so that help appears at once.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Protocol

import tyro

from vonenet.cli.convert import Convert
from vonenet.cli.data import Data
from vonenet.cli.demo import Demo
from vonenet.cli.evaluate import Evaluate
from vonenet.cli.models import Models
from vonenet.cli.physiology import Physiology
from vonenet.cli.predict import Predict
from vonenet.cli.predictivity import Predictivity
from vonenet.cli.report import Report
from vonenet.errors import Preempted, VOneNetError

RUN_AGAIN = os.EX_TEMPFAIL  # 75: a scheduler may start the same command again


class Command(Protocol):
    """A subcommand with its options."""

    def run(self) -> None:
        """Do the work and print what the user wants to know.

        Raises:
            VOneNetError: Something cannot be done; its message is one line.
        """


@dataclass(frozen=True)
class Train:
    """Train a network by a recipe; started again, go on where it was stopped."""


COMMANDS: dict[str, Any] = {
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


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line; a mistake gets one line on stderr and exit status 1 or 2."""
    arguments = sys.argv[1:] if arguments is None else list(arguments)
    if arguments in (["--version"], ["-V"]):
        print(f"vonenet {version('vonenet')}")
        return
    try:
        if arguments[:1] == ["train"]:
            from vonenet.cli import train

            train.main(arguments[1:])
            return
        command: Command = tyro.extras.subcommand_cli_from_dict(
            COMMANDS,
            prog="vonenet",
            description="Neural networks with a fixed model of primary visual cortex in front.",
            args=arguments,
        )
        command.run()
    except Preempted as error:
        _fail(str(error), status=RUN_AGAIN)
    except VOneNetError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.strerror or error}: {error.filename}" if error.filename else str(error))
    except KeyboardInterrupt:
        _fail("interrupted", status=130)


def _fail(message: str, status: int = 1) -> None:
    print(f"vonenet: {message}", file=sys.stderr)
    raise SystemExit(status)
