"""Files appear whole or not at all, writers do not harm each other, names sort as people count."""

import errno
import json
import os
import random
import re
import signal
import stat
import subprocess
import sys
import threading
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vonenet import files
from vonenet.errors import InputError
from vonenet.files import (
    append_lines,
    locked_folder,
    natural_key,
    read_whole,
    replace_whole,
    sync,
    write_whole,
)

POSIX = pytest.mark.skipif(os.name != "posix", reason="links, pipes and limits of POSIX")


def test_names_are_sorted_as_people_count() -> None:
    names = ["", "01", "1", "2", "10", "a", "stim1", "stim2", "stim10", "stim10b", "x" + "9" * 5000]
    shuffled = random.Random(0).sample(names, len(names))
    assert sorted(shuffled, key=natural_key) == names


@given(st.lists(st.text("019a-_/. \0\1\u0661\udcff", max_size=9), max_size=30))
def test_the_order_is_that_of_numbers_and_text_between_them(names) -> None:
    def parts(name):
        found = re.split("([0-9]+)", name)
        return [int(each or 0) if place % 2 else each for place, each in enumerate(found)], name

    assert sorted(names, key=natural_key) == sorted(names, key=parts)


@contextmanager
def full_disk(free_bytes):
    """No file grows beyond so many bytes."""
    import resource

    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (free_bytes, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@POSIX
def test_a_link_stays_a_link_and_its_target_is_replaced(tmp_path):
    (tmp_path / "store").mkdir()
    target, link = tmp_path / "store" / "page.html", tmp_path / "link.html"
    for old in (None, b"old"):
        if old:
            target.write_bytes(old)
        link.unlink(missing_ok=True)
        link.symlink_to(target)
        write_whole(link, b"new")
        assert link.is_symlink()
        assert target.read_bytes() == b"new"
        target.unlink()
    link.unlink()
    link.symlink_to(link)
    with pytest.raises(InputError, match="Too many levels of symbolic links"):
        write_whole(link, b"new")
    assert link.is_symlink()


@POSIX
def test_permissions_stay_and_new_files_have_usual_ones(tmp_path):
    old, new, usual = (tmp_path / name for name in ("old", "new", "usual"))
    old.touch()
    usual.touch()
    old.chmod(0o640)
    for path in (old, new):
        write_whole(path, b"content")
    assert stat.S_IMODE(old.stat().st_mode) == 0o640
    assert new.stat().st_mode == usual.stat().st_mode


@POSIX
def test_a_file_that_is_write_protected_is_not_replaced(tmp_path, monkeypatch):
    path = tmp_path / "page.html"
    path.write_bytes(b"old")
    path.chmod(0o444)
    monkeypatch.setattr(os, "access", lambda path, mode: False)  # root may always
    with pytest.raises(InputError, match="page.html cannot be written: Permission denied"):
        write_whole(path, b"new")
    assert path.read_bytes() == b"old"


@POSIX
def test_a_pipe_gets_the_content_and_stays_a_pipe(tmp_path):
    path, got = tmp_path / "pipe", []
    os.mkfifo(path)
    reader = threading.Thread(target=lambda: got.append(path.read_bytes()))
    reader.start()
    write_whole(path, b"content")
    reader.join(timeout=10)
    assert got == [b"content"]
    assert path.is_fifo()


PRINTER = """
import sys
from pathlib import Path
from vonenet.files import write_whole
print("before")
write_whole(Path(sys.argv[1]), b"content\\n")
print("after")
"""


@POSIX
@pytest.mark.parametrize("into", ["pipe", "file"])
def test_standard_output_gets_the_content_among_what_is_printed(tmp_path, into):
    with (tmp_path / "printed").open("w+b") as file:
        stdout = subprocess.PIPE if into == "pipe" else file
        command = [sys.executable, "-c", PRINTER, "/dev/stdout"]
        done = subprocess.run(command, stdout=stdout, check=True, timeout=60)
        file.seek(0)
        assert (done.stdout or file.read()) == b"before\ncontent\nafter\n"


@POSIX
def test_the_null_device_stays_one():
    write_whole(Path(os.devnull), b"content")
    assert Path(os.devnull).is_char_device()


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    for name in ("x" * 255, "x." + "y" * 253):
        write_whole(tmp_path / name, b"content")
        assert [path.name for path in tmp_path.iterdir()] == [name]
        (tmp_path / name).unlink()
    with pytest.raises(InputError, match="File name too long"):
        write_whole(tmp_path / ("x" * 256), b"content")


@pytest.mark.parametrize("name", ["a\0b", "a\ud800"])
def test_what_cannot_be_a_name_is_said(tmp_path, name):
    for use in (read_whole, partial(write_whole, content=b""), partial(append_lines, lines="{}\n")):
        with pytest.raises(InputError, match="cannot be the name of a file"):
            use(tmp_path / name)


@POSIX
def test_what_is_no_file_is_not_read(tmp_path):
    """A pipe that nobody writes to would be waited for."""
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe", Path(os.devnull)):
        with pytest.raises(InputError, match="cannot be read: it is a .*; allowed: a file"):
            read_whole(path)


@POSIX
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "page.html"
    write_whole(path, b"old")
    with full_disk(1000), pytest.raises(InputError, match=r"page.html cannot be written: File too"):
        write_whole(path, bytes(2000))
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


@POSIX
def test_a_full_disk_leaves_the_lines_that_were_there(tmp_path):
    path = tmp_path / "rows.jsonl"
    append_lines(path, '{"row": 1}\n')
    with full_disk(1000), pytest.raises(InputError, match=r"rows.jsonl cannot be written"):
        append_lines(path, '{"row": "' + 2000 * "x" + '"}\n')
    assert path.read_text() == '{"row": 1}\n'


def test_two_writers_of_one_file_do_not_use_the_same_temporary(tmp_path):
    path = tmp_path / "file.bin"

    def write(temporary):
        write_whole(path, b"inner")
        temporary.write_bytes(b"outer")

    replace_whole(path, write)
    assert path.read_bytes() == b"outer"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("refused_by", ["open", "fsync"])
def test_systems_that_cannot_sync_a_folder_are_passed_over(tmp_path, monkeypatch, refused_by):
    real_open, real_fsync, refused = os.open, os.fsync, []

    def refuse(error, path):
        refused.append(path)
        raise OSError(error, os.strerror(error))

    def windows_open(path, flags, *more, **keywords):
        if Path(path).is_dir():
            refuse(errno.EACCES, path)
        return real_open(path, flags, *more, **keywords)

    def mount_fsync(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            refuse(errno.EINVAL, descriptor)
        real_fsync(descriptor)

    monkeypatch.setattr(os, refused_by, {"open": windows_open, "fsync": mount_fsync}[refused_by])
    write_whole(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert refused


def test_a_disk_that_fails_is_not_passed_over(tmp_path, monkeypatch):
    def fail(descriptor):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(OSError, match="Input/output error"):
        sync(tmp_path)
    with pytest.raises(InputError, match="Input/output error"):
        append_lines(tmp_path / "rows.jsonl", "{}\n")


WRITER = """
import json, sys
from pathlib import Path
from vonenet.files import append_lines
for number in range(150):
    row = {"by": int(sys.argv[2]), "row": number, "text": "x" * number}
    append_lines(Path(sys.argv[1]), json.dumps(row) + "\\n")
"""


def test_three_processes_lose_no_row_of_450(tmp_path):
    path = tmp_path / "rows.jsonl"
    command = [sys.executable, "-c", WRITER, str(path)]
    processes = [subprocess.Popen([*command, str(number)]) for number in range(3)]
    assert [process.wait(timeout=60) for process in processes] == [0, 0, 0]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert sorted((row["by"], row["row"]) for row in rows) == [
        (by, row) for by in range(3) for row in range(150)
    ]
    assert list(tmp_path.iterdir()) == [path]


def test_lines_are_chosen_while_no_other_process_writes(tmp_path):
    path, done = tmp_path / "rows.jsonl", threading.Event()
    other = threading.Thread(target=lambda: (append_lines(path, '{"row": 2}\n'), done.set()))

    def choose():
        other.start()
        assert not done.wait(0.1)
        return '{"row": 1}\n'

    append_lines(path, choose)
    other.join(timeout=10)
    assert path.read_text() == '{"row": 1}\n{"row": 2}\n'


@pytest.mark.parametrize(
    ("end", "kept"),
    [(b'{"row": 2', b""), (b'{"row": 2}', b'{"row": 2}\n'), (b"[" * 100_000, b""), (b"1", b"")],
)
def test_only_an_unfinished_last_line_is_removed(tmp_path, end, kept):
    """Editors leave out the last line's end."""
    path = tmp_path / "rows.jsonl"
    for first in (b"", b'{"row": 1}\n'):
        path.write_bytes(first + end)
        append_lines(path, "{}\n")
        assert path.read_bytes() == first + kept + b"{}\n"


HOLDER = """
import sys, time
from pathlib import Path
from vonenet.files import locked_folder
with locked_folder(Path(sys.argv[1])):
    print("locked", flush=True)
    time.sleep(60)
"""


def test_a_folder_is_one_process_s_until_it_ends_or_is_killed(tmp_path):
    folder = tmp_path / "new" / "run"
    command = [sys.executable, "-c", HOLDER, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        assert holder.stdout.readline() == b"locked\n"
        with (
            pytest.raises(InputError, match=rf"run is in use by process {holder.pid} on "),
            locked_folder(folder, patience_s=0),
        ):
            pass
        holder.send_signal(signal.SIGKILL)
        holder.wait(timeout=10)
        with locked_folder(folder, patience_s=0):
            assert [path.name for path in folder.iterdir()] == [".lock"]
    assert not list(folder.iterdir())


def test_a_folder_s_error_is_that_of_the_work_in_it(tmp_path):
    with pytest.raises(BlockingIOError), locked_folder(tmp_path):
        raise BlockingIOError
    with locked_folder(tmp_path):
        pass
    (tmp_path / "file").touch()
    with (
        pytest.raises(InputError, match="file cannot be written: File exists"),
        locked_folder(tmp_path / "file"),
    ):
        pass


@pytest.mark.parametrize("answer", [errno.ENOLCK, errno.ENOSYS])
def test_mounts_without_locks_are_written_to_all_the_same(tmp_path, monkeypatch, answer):
    def refuse(descriptor, **how):
        raise OSError(answer, os.strerror(answer))

    monkeypatch.setattr("filelock.lock_descriptor", refuse)
    monkeypatch.setattr("filelock.unlock_descriptor", refuse)
    append_lines(tmp_path / "rows.jsonl", "{}\n")
    with locked_folder(tmp_path):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["rows.jsonl"]


def test_a_lock_that_fails_in_another_way_is_one_line(tmp_path, monkeypatch):
    def fail(descriptor, **how):
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    monkeypatch.setattr("filelock.lock_descriptor", fail)
    with pytest.raises(InputError, match="cannot be written: Input/output error"):
        append_lines(tmp_path / "rows.jsonl", "{}\n")


def test_where_a_locked_file_cannot_be_read_or_removed_work_goes_on(tmp_path, monkeypatch):
    """As on Windows: bytes that are locked can be read by nobody else, open files not removed."""
    path = tmp_path / "rows.jsonl"
    append_lines(path, '{"row": 1}\n')

    def refuse(self, **how):
        raise PermissionError(errno.EACCES, "in use", str(self))

    monkeypatch.setattr(Path, "unlink", refuse)
    with locked_folder(tmp_path), monkeypatch.context() as locked:
        append_lines(path, lambda: path.read_text().replace("1", "2"))
        locked.setattr(files, "_holder", lambda lock: "another process")
        with pytest.raises(InputError, match="is in use by another process; allowed: another"):
            locked_folder(tmp_path, patience_s=0).__enter__()
    with locked_folder(tmp_path):  # though the file of the first one is still there
        append_lines(path, "{}\n")
    assert path.read_text() == '{"row": 1}\n{"row": 2}\n{}\n'


@POSIX
def test_a_lock_ends_though_a_forked_process_has_the_file_open(tmp_path):
    children = []

    def forking():
        child = os.fork()
        if child == 0:
            signal.pause()
        children.append(child)
        return "{}\n"

    def too_long(*_):
        raise TimeoutError

    append_lines(tmp_path / "rows", forking)
    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(5)
    try:
        append_lines(tmp_path / "rows", "{}\n")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
        os.kill(children[0], signal.SIGKILL)
        os.waitpid(children[0], 0)
