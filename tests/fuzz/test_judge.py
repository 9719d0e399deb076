"""The judge of the fuzz tests sees what is wrong, and a server that is lost is replaced."""

import os

import pytest

from tests.fuzz import harness
from tests.fuzz.harness import Case, Server, complaint, digests, lost

LINE = "vonenet: no weights file x"
TRACEBACK = "Traceback (most recent call last):\n  ...\nKeyError: 'x'\n"


@pytest.mark.parametrize(
    ("status", "err", "found"),
    [
        (0, "", None),
        (0, "Traceback of a PDF", None),
        (1, f"a progress bar\n{LINE}\n", None),
        (1, "", "refused without a line"),
        (2, "╭─ Required options ─╮", "refused without a line"),
        (1, f"{TRACEBACK}{LINE}", "traceback"),
        ("escaped", "", "traceback"),
        (139, LINE, "traceback"),
        ("hang", "", "hang"),
    ],
)
def test_answers_are_judged(status, err, found):
    assert complaint({"status": status, "err": err}) == found


def test_files_that_are_gone_or_changed_are_found(tmp_path):
    for name in ("thesis.txt", "out.html", "gone.txt"):
        (tmp_path / name).write_text("old")
    (tmp_path / "link").symlink_to("thesis.txt")
    before = digests(tmp_path)
    assert lost(before, digests(tmp_path), ()) is None
    (tmp_path / "out.html").write_text("new")
    (tmp_path / "new.html").write_text("new")
    assert lost(before, digests(tmp_path), ["out.html"]) is None
    assert lost(before, digests(tmp_path), []) == "lost out.html"
    (tmp_path / "link").unlink()
    (tmp_path / "link").write_text("old")
    assert lost(before, digests(tmp_path), ["out.html"]) == "lost link"
    (tmp_path / ".new-1").touch()
    assert lost({}, digests(tmp_path), []) == "left .new-1"


@pytest.mark.slow
@pytest.mark.skipif(os.name != "posix", reason="signals of POSIX")
def test_a_server_that_hangs_or_dies_is_replaced(tmp_path, monkeypatch):
    with Server(tmp_path) as server:
        server.start()
        monkeypatch.setattr(harness, "TIMEOUT_S", 2.0)
        os.kill(server.process.pid, 19)  # SIGSTOP
        assert server.run(Case(["models"]), tmp_path)["status"] == "hang"
        monkeypatch.setattr(harness, "TIMEOUT_S", 60.0)
        server.start()
        server.process.kill()
        server.process.wait(timeout=10)
        assert server.run(Case(["models"]), tmp_path)["status"] == "crash"
        assert server.run(Case(["models"]), tmp_path)["status"] == 0
