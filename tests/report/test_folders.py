"""Folders are sorted by what they hold; one that holds nothing is refused in one line."""

import pytest

from tests.report.evaluations import measured, write_folder
from tests.report.training_runs import epoch, recipe, write_run
from vonenet.errors import InputError
from vonenet.report.folders import Folders


@pytest.fixture
def folders(tmp_path):
    measured_one = write_folder(tmp_path / "measured", [measured("a", 1)])
    run = write_run(tmp_path / "run", [epoch(1)], toml=recipe())
    return measured_one, run, write_run(write_folder(tmp_path / "both", []), [epoch(1)])


def test_folders_are_sorted_in_the_order_given(folders):
    measured_one, run, both = folders
    found = Folders.of([both, run, measured_one])
    assert found.evaluations == [both, measured_one]
    assert found.runs == [both, run]


def test_a_run_is_known_by_its_recipe_before_it_has_a_log_and_by_its_log_alone(folders):
    _, run, _ = folders
    (run / "log.jsonl").unlink()
    assert Folders.of([run]).runs == [run]
    (run / "recipe.toml").rename(run / "log.jsonl")
    assert Folders.of([run]).runs == [run]


def test_no_folder_counts_twice(folders, tmp_path):
    measured_one, run, _ = folders
    (tmp_path / "link").symlink_to(run)
    found = Folders.of([run, measured_one, run / ".." / "measured", tmp_path / "link"])
    assert [folder.resolve() for folder in found.evaluations] == [measured_one]
    assert [folder.resolve() for folder in found.runs] == [run]


def test_folders_of_neither_kind_are_named(folders, tmp_path):
    with pytest.raises(InputError, match="^no folder was given; give folders that"):
        Folders.of([])
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        words = rf"{name} holds neither results.jsonl of an evaluation nor log.jsonl of a training"
        with pytest.raises(InputError, match=words) as error:
            Folders.of([*folders, tmp_path / name])
        assert "\n" not in str(error.value)
