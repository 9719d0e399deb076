"""What only POSIX has is missed by no module: Windows, simulated."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

WITHOUT_POSIX = """
import importlib, os, pkgutil, signal, sys
import torch, torchvision, timm, scipy, matplotlib.figure, tyro, filelock, pydantic, tqdm
import multiprocessing.connection, subprocess, tempfile  # these have their own ways on Windows

for name in ("EX_TEMPFAIL", "EX_OK", "EX_SOFTWARE", "O_DIRECTORY", "O_NOFOLLOW", "O_TMPFILE",
             "fork", "register_at_fork", "geteuid", "getuid", "fchmod", "mkfifo", "uname",
             "sched_getaffinity", "getpgid", "killpg"):
    vars(os).pop(name, None)
for name in ("SIGHUP", "SIGKILL", "SIGUSR1", "SIGUSR2", "SIGXFSZ", "pthread_sigmask", "alarm"):
    vars(signal).pop(name, None)
for name in ("fcntl", "resource", "termios", "pwd", "grp", "posix"):
    sys.modules[name] = None
sys.modules["msvcrt"] = type(sys)("msvcrt")

import vonenet
for module in pkgutil.walk_packages(vonenet.__path__, "vonenet."):
    if module.name != "vonenet.__main__":
        importlib.import_module(module.name)

vonenet.cli.main(["--version"])
"""


@pytest.mark.slow
def test_all_modules_are_imported_without_posix():
    command = [sys.executable, "-c", WITHOUT_POSIX]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.stderr == ""
    assert done.stdout.startswith("vonenet ")


# What multiprocessing itself uses on POSIX stays: here it is its start methods that are tried.
TRAINING = """
import os, signal, sys
import multiprocessing
import torch

method, recipe, data, out = sys.argv[1:]
if __name__ == "__main__":
    multiprocessing.set_start_method(method)
    if method == "spawn":
        for name in ("EX_TEMPFAIL", "O_DIRECTORY", "geteuid", "fchmod", "sched_getaffinity"):
            vars(os).pop(name, None)
        for name in ("SIGHUP", "SIGUSR1", "SIGUSR2", "SIGXFSZ"):
            vars(signal).pop(name, None)
        sys.platform = "darwin"  # no mallopt
    from vonenet.cli import main

    main(["train", recipe, "--data", data, "--out", out, "--device", "cpu", "--quiet",
          "--workers", "1"])
"""
RECIPE = """
[model]
name = "voneresnet_small"
[model.settings]
simple_channels = 2
complex_channels = 2
kernel_size = 15
sf_max = 4.0
visual_degrees = 2.0
[data]
image_size = 32
validation_split = "25%"
[optimization]
epochs = 2
batch_size = 4
"""


@pytest.mark.slow
def test_spawned_workers_train_to_the_same_bits_as_forked_ones(tmp_path):
    (tmp_path / "script.py").write_text(TRAINING)
    (tmp_path / "small.toml").write_text(RECIPE)
    rng = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for i in range(8):
            pixels = rng.integers(0, 256, (32, 32, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{i}.png")
    weights = {}
    for method in ("fork", "spawn"):
        out = tmp_path / method
        words = [tmp_path / "script.py", method, tmp_path / "small.toml", tmp_path / "photos", out]
        done = subprocess.run([sys.executable, *words], capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
        weights[method] = load_file(out / "model.safetensors")
    assert weights["fork"].keys() == weights["spawn"].keys()
    for name, tensor in weights["fork"].items():
        assert torch.equal(tensor, weights["spawn"][name]), name
