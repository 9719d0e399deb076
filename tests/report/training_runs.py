"""Folders as `vonenet train` writes them, with planted numbers."""

import json
from math import exp, sin

RECIPE = """[model]
name = "{name}"
base = {base}
settings = {{stride = 2}}

[data]
image_size = 32

[optimization]
epochs = {epochs}
learning_rate = {rate}
schedule = "{schedule}"
label_smoothing = {smoothing}
"""


def recipe(
    name="voneresnet18", *, base=False, epochs=3, rate=0.1, schedule="cosine", smoothing=0.0
):
    """Text of recipe.toml; the name as TOML writes it within quotes."""
    return RECIPE.format(
        name=name,
        base="true" if base else "false",
        epochs=epochs,
        rate=rate,
        schedule=schedule,
        smoothing=smoothing,
    )


def start(processes=1, commit="234ed69ee169c788050307453cad2377a3412005", gpu=None, **changes):
    """A start as run.json tells it."""
    return {
        "started": "2026-11-24T00:12:39+00:00",
        "command": "vonenet train recipe.toml --data photos",
        "folder": "/work",
        "processes": processes,
        "machine": {"processor": "x86_64", "cores": 2, "threads": 1, "gpu": gpu},
        "versions": {"python": "3.11.7", "torch": "2.15.0", "vonenet": "0.1.0"},
        "git": {"folder": "/work", "commit": commit, "changed": True},
        **changes,
    }


START = start()


def epoch(number, loss=1.5, accuracy=0.5, validation=0.6, **changes):
    """A line of an epoch."""
    entry = {
        "kind": "epoch",
        "step": 100 * number,
        "epoch": number,
        "loss": loss,
        "accuracy": accuracy,
        "learning_rate": 0.1,
        "images_per_second": 500.0,
        "seconds": 60.0,
        "validation_accuracy": validation,
        **changes,
    }
    return {name: value for name, value in entry.items() if value is not None}


def step(number):
    """A line of a step."""
    numbers = {"loss": 9.9, "learning_rate": 0.7, "images_per_second": 1.0, "gradient_norm": 2.0}
    return {"kind": "step", "step": 50 * number, "epoch": 1, **numbers}


def learning(epochs, best, *, floor=0.02, top=2.3, rate=lambda share: 0.1 * (1 - share), **changes):
    """Lines of a training that gets better and better and ends at a validation of `best`."""
    lines = []
    for n in range(1, epochs + 1):
        share = n / epochs
        validation = 0.1 + (best - 0.1) * (1 - exp(-6 * share)) / (1 - exp(-6))
        lines.append(
            epoch(
                n,
                loss=floor + top * exp(-5 * share),
                accuracy=0.1 + 0.9 * (1 - exp(-4 * share)),
                validation=validation + 0.01 * sin(7 * n) * (1 - share),
                learning_rate=rate(share),
                images_per_second=500 + 20 * sin(n),
                **changes,
            )
        )
    return lines


def write_run(folder, lines, *, toml=None, starts=(START,), finished="2026-11-24T01:00:00+00:00"):
    """A folder of a run; without recipe.toml or run.json where they are given as None."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if toml is not None:
        (folder / "recipe.toml").write_text(toml)
    if starts is not None:
        described = {"starts": list(starts), "finished": finished}
        (folder / "run.json").write_text(json.dumps(described))
    return folder
