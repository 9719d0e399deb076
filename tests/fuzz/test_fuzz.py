"""Whatever is in a file or on the command line: done, or refused in one line; nothing is lost.

`pytest tests/fuzz --fuzz-times 10 --fuzz-seed 1 -s` tries ten times as many other cases.
"""

import json
import tomllib
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import tomli_w
import torch
from PIL import Image

import vonenet
from tests.data.pictures import encoded, noise_image
from tests.fuzz.harness import Case, Server, run_cases
from tests.fuzz.mutations import (
    WILD_NUMBERS,
    WILD_VALUES,
    WILD_WORDS,
    as_json,
    changed_bytes,
    changed_value,
)
from tests.report.evaluations import check, measured, write_folder

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="limits and pipes of Linux"),
]
RECIPES = sorted((Path(__file__).parents[2] / "recipes").glob("*.toml"))
SETTINGS = {
    "image_size": 32,
    "simple_channels": 4,
    "complex_channels": 4,
    "kernel_size": 15,
    "sf_max": 5.6,
    "visual_degrees": 2.0,
    "stride": 2,
    "seed": 0,
    "noise": "neuronal",
}
MORE_SETTINGS = [
    *("in_chans", "num_classes", "k_exc", "noise_scale", "noise_level", "sf_min", "sf_max_cpd"),
    *("sf_corr", "filters", "front_end", "color_seed", "gabor_seed", "ksize", "pretrained"),
    *("backbone_weights", "dtype", "device", "drop_rate", "checkpoint", "rand_param"),
]
PHOTO = noise_image(24, 20)
FORMATS = ["PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP", "PPM", "ICO", "TGA", "EPS", "PDF", "PCX"]
SUFFIXES = [".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".webp", ".ppm", ".pgm", ".JPEG"]
CONDITIONS = [
    {},
    {"corruption": "contrast", "category": "digital", "severity": 3},
    {"corruption": "fog", "category": "weather", "severity": 5},
    {"attack": "pgd", "norm": "linf", "epsilon": 4 / 255, "steps": 10, "gradient_samples": 1},
]


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    with Server(tmp_path_factory.mktemp("home")) as server:
        yield server


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    """A small network's weights file, as bytes: ours, a base network's, and the original's."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    model = vonenet.create_model("voneresnet_small", num_classes=3, **SETTINGS)
    vonenet.save_checkpoint(model, folder / "tiny.safetensors", classes=["ant", "bee", "cow"])
    weights = {f"module.{name}": value for name, value in model.state_dict().items()}
    flags = {"arch": "resnet", "stride": 2, "simple_channels": 4, "complex_channels": 4}
    flags |= {"k_exc": 25, "noise_mode": "neuronal", "noise_scale": 0.35, "noise_level": 0.07}
    torch.save({"flags": flags, "state_dict": weights, "epoch": 70}, folder / "old.pth.tar")
    torch.save(model.state_dict(), folder / "bare.pt")
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def template(tiny, tmp_path_factory):
    """A user's folder: weights, images, an evaluation, a run, a recipe, and a thesis."""
    folder = tmp_path_factory.mktemp("template")
    (folder / "tiny.safetensors").write_bytes(tiny["tiny.safetensors"])
    for number, name in enumerate(["ant", "bee", "cow"]):
        for part in ("train", "test"):
            (folder / "photos" / part / name).mkdir(parents=True)
            for image in range(2):
                path = folder / "photos" / part / name / f"{image}.png"
                path.write_bytes(encoded(noise_image(9 + number, 8 + image, image)))
    (folder / "cat.png").write_bytes(encoded(PHOTO))
    (folder / "thesis.txt").write_text("years of work")
    (folder / "link.html").symlink_to("page.html")
    (folder / "page.html").write_text("<!doctype html>an old page")
    rows = [measured(model, 3, 6, **each) for model in ("base", "vone") for each in CONDITIONS]
    checks = [check("vone", name, True) for name in ("steps", "restarts")]
    write_folder(folder / "eval", rows, checks)
    write_run(folder / "run")
    (folder / "recipe.toml").write_bytes((folder / "run" / "recipe.toml").read_bytes())
    return folder


def write_run(folder):
    folder.mkdir()
    (folder / "recipe.toml").write_bytes(
        RECIPES[[p.stem for p in RECIPES].index("demo")].read_bytes()
    )
    epochs = [
        {"kind": "epoch", "step": 9 * n, "epoch": n, "loss": 2.0 / n, "accuracy": 0.1 * n}
        | {"learning_rate": 0.1, "images_per_second": 99.0, "seconds": 1.0}
        | {"validation_accuracy": 0.1 * n}
        for n in (1, 2, 3)
    ]
    steps = [{"kind": "step", "step": 9, "loss": 2.1, "learning_rate": 0.1}]
    lines = [json.dumps(entry) for entry in [steps[0], *epochs]]
    (folder / "log.jsonl").write_text("\n".join(lines) + "\n")
    start = {"started": "2026-11-28T00:00:00+00:00", "command": "vonenet train", "processes": 1}
    start |= {"versions": {"torch": "2"}, "machine": {"processor": "x", "gpu": None}, "git": None}
    about = {"identity": "a", "starts": [start], "finished": None}
    (folder / "run.json").write_text(json.dumps(about))


def recipes(rng, folder):
    """Recipes with changed values, changed bytes, or both."""
    content = rng.choice(RECIPES).read_bytes()
    if rng.random() < 0.7:
        tables = tomllib.loads(content.decode())
        for _ in range(rng.choice([1, 1, 2, 5])):
            tables = changed_value(rng, tables)
        try:
            content = tomli_w.dumps(tables).encode()
        except (TypeError, ValueError, AttributeError):  # None and half characters are no TOML
            content = repr(tables).encode("utf-8", "replace")
    if rng.random() < 0.4:
        content = changed_bytes(rng, content)
    (folder / "recipe.toml").write_bytes(content)
    command = rng.choice([["fuzz-recipe"], ["fuzz-recipe"], ["train", "--data", "nowhere"]])
    return Case([command[0], "recipe.toml", *command[1:]], outputs=("again.toml",))


def settings(rng, folder):
    """Keywords of create_model and VOneBlock of any type and size."""
    chosen = dict(SETTINGS)
    for _ in range(rng.choice([1, 1, 2, 4])):
        name = rng.choice([*SETTINGS, *MORE_SETTINGS])
        chosen[name] = rng.choice(WILD_NUMBERS if rng.random() < 0.5 else WILD_VALUES)
    chosen["name"] = rng.choice(
        ["VOneBlock", "voneresnet_small", "voneresnet_small", "vonecornet_s"]
    )
    if chosen["name"] == "VOneBlock":
        chosen = {name: value for name, value in chosen.items() if name != "num_classes"}
    return Case(["fuzz-settings", json.dumps(chosen)])


def weights(tiny):
    def make(rng, folder):
        """Weights files with changed bytes, or a header that says something else."""
        name = rng.choice(list(tiny))
        content = tiny[name]
        if name.endswith(".safetensors") and rng.random() < 0.6:
            length = int.from_bytes(content[:8], "little")
            header = json.loads(content[8 : 8 + length])
            if rng.random() < 0.6 and "__metadata__" in header:
                about = {k: _loaded(v) for k, v in header["__metadata__"].items()}
                changed = changed_value(rng, about)
                if isinstance(changed, dict):
                    changed = {
                        k: v if isinstance(v, str) else json.dumps(v) for k, v in changed.items()
                    }
                header["__metadata__"] = changed
            else:
                header = changed_value(rng, header)
            text = as_json(rng, header)
            content = len(text).to_bytes(8, "little") + text + content[8 + length :]
        if rng.random() < 0.5 or content == tiny[name]:
            content = changed_bytes(rng, content)
        path = folder / f"changed{Path(name).suffix}"
        path.write_bytes(content)
        commands = [
            ["fuzz-load", path.name],
            ["predict", path.name, "cat.png", "--samples", "1"],
            ["convert", path.name, "new.safetensors"],
        ]
        return Case(rng.choice(commands), outputs=("new.safetensors",))

    return make


def _loaded(text):
    try:
        return json.loads(text)
    except ValueError:
        return text


def images(rng, folder):
    """Image files with changed bytes, other formats under other suffixes, odd sizes and modes."""
    for number in range(3):
        picture = odd_picture(rng)
        try:
            content = encoded(picture, rng.choice(FORMATS))
        except (OSError, ValueError, KeyError, SystemError):  # no such mode in this format
            content = encoded(picture.convert("RGB"))
        if rng.random() < 0.7:
            content = changed_bytes(rng, content)
        suffix = rng.choice(SUFFIXES)
        (folder / "photos" / "test" / "ant" / f"x{number}{suffix}").write_bytes(content)
    changed = [str(p.relative_to(folder)) for p in sorted((folder / "photos/test/ant").glob("x*"))]
    commands = [
        ["predict", "tiny.safetensors", *changed, "--samples", "1"],
        ["data", "inspect", "photos", "--split", "test"],
        ["evaluate", "tiny.safetensors", "--data", "photos", "--limit", "1", "--no-audit"],
    ]
    return Case(rng.choice(commands[:2]) if rng.random() < 0.95 else commands[2])


def odd_picture(rng):
    size = (rng.choice([1, 2, 9, 300]), rng.choice([1, 3, 17, 300]))
    mode = rng.choice(["RGB", "L", "RGBA", "P", "1", "LA", "CMYK", "I;16", "I", "F"])
    if mode == "I;16":
        return Image.fromarray(np.full(size, 40_000, np.uint16))
    return Image.new(mode, size, rng.choice([0, 1, 200]))


def results(rng, folder):
    """Results, audits, logs, run notes and recipes with changed values and bytes."""
    names = ["eval/results.jsonl", "eval/results.jsonl", "eval/audit.jsonl", "run/log.jsonl"]
    chosen = rng.sample([*names, "run/run.json", "run/recipe.toml"], rng.choice([1, 1, 2]))
    for name in dict.fromkeys(chosen):
        path = folder / name
        content = path.read_bytes()
        if name.endswith("l") and not name.endswith("toml") and rng.random() < 0.7:
            lines = [json.loads(line) for line in content.splitlines()]
            for _ in range(rng.choice([1, 1, 3])):
                place = rng.randrange(len(lines))
                lines[place] = changed_value(rng, lines[place])
            content = b"".join(as_json(rng, line) + b"\n" for line in lines)
        elif name.endswith(".json") and rng.random() < 0.7:
            content = as_json(rng, changed_value(rng, json.loads(content)))
        if rng.random() < 0.4:
            content = changed_bytes(rng, content)
        path.write_bytes(content)
    folders = rng.choice([["eval"], ["eval"], ["run"], ["eval", "run"]])
    out = rng.choice(["new.html", "page.html", "link.html", "thesis.txt", "photos", "no/new.html"])
    base = rng.choice([[], [], ["--base", rng.choice(["vone", "base", "x", ""])]])
    return Case(["report", *folders, "--out", out, *base], outputs=("new.html", "page.html", "no/"))


COMMANDS = {
    "predict": (["tiny.safetensors", "cat.png"], ["top", "samples", "seed"], []),
    "models": ([], [], []),
    "convert": (["tiny.safetensors", "new.safetensors"], [], []),
    "report": (["eval"], [], ["base", "out"]),
    "data": (["inspect", "photos"], [], ["split"]),
    "evaluate": (
        ["tiny.safetensors", "--data", "photos", "--no-audit", "--suite", "corruptions"],
        ["limit", "attack_limit", "image_size", "batch_size", "decision_samples", "seed"],
        ["split", "device", "suite"],
    ),
    "physiology": (["nowhere"], ["degrees", "trials", "seed"], ["layer", "out", "device"]),
    "predictivity": (
        ["tiny.safetensors", "--responses", "cat.png", "--images", "photos"],
        ["degrees", "image_degrees", "trials", "components", "folds", "seed"],
        ["layers", "device", "out"],
    ),
    "demo": (["--no-such-option"], ["seed"], ["out"]),
    "train": (
        ["recipe.toml", "--data", "nowhere"],
        ["epochs", "batch_size", "learning_rate", "image_size", "limit", "checkpoint_minutes"],
        ["device", "out", "track", "name", "schedule", "validation_split", "crop"],
    ),
}


def command_lines(rng, folder):
    """Options with wild values, options that are not there, words that are left out or added."""
    name = rng.choice(list(COMMANDS))
    given, numbers, words = COMMANDS[name]
    arguments = list(given)
    for option in rng.sample([*numbers, *words], min(len(numbers + words), rng.choice([1, 1, 2]))):
        value = rng.choice(WILD_WORDS)
        arguments += [f"--{option.replace('_', '-')}", value]
    action = rng.random()
    if action < 0.3 and arguments:
        arguments[rng.randrange(len(arguments))] = rng.choice(WILD_WORDS)
    elif action < 0.4:
        arguments.insert(rng.randrange(len(arguments) + 1), rng.choice(WILD_WORDS))
    elif action < 0.5 and arguments:
        del arguments[rng.randrange(len(arguments))]
    outputs = ["new.safetensors", "report.html", "again.toml"]
    outputs += [value for option, value in pairwise(arguments) if option == "--out"]
    return Case([name, *arguments], outputs=tuple(each for each in outputs if each))


KINDS = {"recipes": 120, "settings": 150, "images": 150, "results": 150, "command_lines": 200}
KINDS["weights"] = 150


@pytest.mark.parametrize("kind", KINDS)
def test_everything_is_done_or_refused_in_one_line(kind, server, template, tiny, tmp_path, request):
    makers = {"recipes": recipes, "settings": settings, "images": images, "results": results}
    makers |= {"command_lines": command_lines, "weights": weights(tiny)}
    seed, times = (request.config.getoption(name) for name in ("--fuzz-seed", "--fuzz-times"))
    count = round(KINDS[kind] * times)
    tally = run_cases(kind, server, template, makers[kind], seed, count, tmp_path)
    print(f"{tally}: vonenet {tally.slowest[1]}"[:300])
    assert not tally.faults, "\n\n".join([str(tally), *tally.faults])
