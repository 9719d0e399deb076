"""What only POSIX has is missed by no module: Windows, simulated."""

import subprocess
import sys

import pytest

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
