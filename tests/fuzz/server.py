"""Runs commands of vonenet, one a line of JSON, in one process, which imports torch once.

Beside the commands of users it knows three of its own, to which the same rules apply: `fuzz-recipe`
reads a recipe, writes it and builds its network; `fuzz-settings` builds a network of given settings
and shows it an image; `fuzz-load` loads a weights file.
"""

import contextlib
import faulthandler
import io
import json
import os
import resource
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
from tyro.conf import Positional, arg

import vonenet
from vonenet import cli
from vonenet.cli.train import build_model
from vonenet.training import TrainingRecipe

MEMORY_BYTES, FILE_BYTES = 3 * 2**30, 200 * 2**20
SMALL_PX = 64  # images are shown to networks for no more than these


@dataclass(frozen=True)
class FuzzRecipe:
    """Read a recipe, write it, read it again, and build its network."""

    path: Annotated[Positional[Path], arg(metavar="PATH")]

    def run(self):
        recipe = TrainingRecipe.read(self.path)
        again = self.path.with_name("again.toml")
        again.write_bytes(recipe.as_toml().encode())
        assert TrainingRecipe.read(again) == recipe
        if recipe.data.image_size <= SMALL_PX and recipe.model.backbone_weights is None:
            build_model(recipe, ["ant", "bee", "cow"])


@dataclass(frozen=True)
class FuzzSettings:
    """Build a network by settings of JSON, and show it an image of its size."""

    settings: Annotated[Positional[str], arg(metavar="JSON")]

    def run(self):
        settings = json.loads(self.settings)
        name = settings.pop("name", "voneresnet_small")
        build = (
            vonenet.VOneBlock
            if name == "VOneBlock"
            else lambda **s: vonenet.create_model(name, **s)
        )
        model = build(**settings).eval()
        config = model.config if name == "VOneBlock" else model.config.v1
        size, channels = config.image_size, settings.get("in_chans") or 3
        if isinstance(size, int) and size <= SMALL_PX:
            with torch.no_grad():
                answer = model(torch.full((1, channels, size, size), 0.25))
            if not answer.isfinite().all():
                raise AssertionError("a network of accepted settings answers with no number")


@dataclass(frozen=True)
class FuzzLoad:
    """Load a weights file."""

    path: Annotated[Positional[Path], arg(metavar="PATH")]

    def run(self):
        vonenet.load_checkpoint(self.path)


def refuse(*_):
    raise OSError("tests are offline")


def run(arguments):
    """Return the exit status and what was printed."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8") for _ in range(2))
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            cli.main(arguments)
            status = 0
        except SystemExit as stop:
            status = stop.code
        except BaseException:
            import traceback

            traceback.print_exc()
            status = "escaped"
        out.flush()
        err.flush()
    printed = (stream.buffer.getvalue().decode("utf-8", "replace") for stream in (out, err))
    return {"status": status, **dict(zip(("out", "err"), printed, strict=True))}


def limit(kind, most):
    resource.setrlimit(kind, (most, resource.getrlimit(kind)[1]))


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    socket.socket.connect = refuse
    torch.set_num_threads(1)
    cli.COMMANDS.update(
        {"fuzz-recipe": FuzzRecipe, "fuzz-settings": FuzzSettings, "fuzz-load": FuzzLoad}
    )
    cli.EXAMPLES.update({name: [] for name in cli.COMMANDS if name.startswith("fuzz-")})
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit(resource.RLIMIT_AS, used + MEMORY_BYTES)
    limit(resource.RLIMIT_FSIZE, FILE_BYTES)
    limit(resource.RLIMIT_CORE, 0)
    print("ready", file=answers, flush=True)
    for line in sys.stdin:
        case = json.loads(line)
        os.chdir(case["folder"])
        faulthandler.dump_traceback_later(case["timeout_s"], file=sys.__stderr__)
        start = time.monotonic()
        answer = run(case["arguments"])
        faulthandler.cancel_dump_traceback_later()
        print(json.dumps({**answer, "seconds": time.monotonic() - start}), file=answers, flush=True)


if __name__ == "__main__":
    main()
