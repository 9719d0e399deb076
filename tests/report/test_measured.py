"""Reading folders: which row counts, what models are called, what is refused in one line."""

import json
from dataclasses import asdict, replace

import pytest

from tests.report.evaluations import attacked, check, corrupted, measured, write_folder
from vonenet.errors import InputError
from vonenet.report.measured import models_of, read_folders
from vonenet.report.setting import CLEAN


def only(rows):
    (model,) = models_of(rows)
    (accuracy,) = model.accuracies.values()
    return accuracy


def test_the_most_thorough_row_of_a_setting_counts_whatever_its_place():
    quick = attacked("m", "linf", 1 / 255, 500, steps=10, gradient_samples=4)
    full = attacked("m", "linf", 1 / 255, 300, gradient_samples=10)
    few = attacked("m", "linf", 1 / 255, 60, n=100, gradient_samples=10)
    for rows in ([quick, full, few], [few, full, quick]):
        assert only(rows).estimate.value == 0.3


def test_seeds_are_averaged_and_their_interval_is_not_narrowed():
    rows = [measured("m", 700, seed=0), measured("m", 720, seed=1), measured("m", 690, seed=1)]
    estimate = only(rows).estimate
    assert estimate.value == pytest.approx(0.695)  # of a repeated seed, the later row
    assert estimate.high - estimate.low == pytest.approx(rows[0].ci_high - rows[0].ci_low, rel=0.02)


def test_names_are_told_apart_only_where_they_must_be():
    rows = [
        measured("a", 1),
        measured("b", 1, model_hash="1234567890abcdef"),
        measured("b", 1, model_hash="fedcba0987654321"),
        measured("c", 1, data="x/val 32px"),
        measured("c", 1, data="y/val 32px"),
        measured("d", 1, decision_samples=1),
        measured("d", 1, decision_samples=10),
    ]
    assert [model.label for model in models_of(rows)] == [
        "a",
        "b (weights 123456)",
        "b (weights fedcba)",
        "c (x/val 32px)",
        "c (y/val 32px)",
        "d (1 draws per decision)",
        "d (10 draws per decision)",
    ]


def stored(name, severity, correct):
    row = corrupted("m", name, severity, correct, source="stored")
    return replace(row, data=f"imagenet-c/{name}/{severity}")


def test_stored_corruptions_join_the_models_other_rows():
    rows = [stored("fog", 1, 300), stored("fog", 2, 200)]
    (alone,) = models_of(rows)
    assert alone.data == "imagenet-c"
    (joined,) = models_of([*rows, measured("m", 700)])
    assert joined.data == "photos/val 224px"
    assert len(joined.accuracies) == 3
    other = measured("m", 700, model_hash="other")
    assert [len(model.accuracies) for model in models_of([*rows, other])] == [2, 1]


def test_folders_are_joined(tmp_path):
    one = write_folder(tmp_path / "one", [measured("a", 1)], [check("a", "steps", True)])
    two = write_folder(tmp_path / "two", [measured("b", 1)])
    found = read_folders([one, two])
    assert [model.label for model in found.models] == ["a", "b"]
    assert len(found.audit) == 1
    assert found.superseded == 0


def test_rows_of_other_metrics_are_left_alone(tmp_path):
    rows = [measured("a", 1), measured("a", 500, metric="orientation selectivity")]
    (model,) = read_folders([write_folder(tmp_path / "one", rows)]).models
    assert model.accuracies[CLEAN].estimate.value == 0.001


BROKEN = {
    "value": ({"value": 7.5}, "accuracy 7.5"),
    "interval": ({"ci_low": 0.9}, "accuracy 0.001 with interval 0.9"),
    "words": ({"value": "high"}, "no measurement"),
    "nan": ({"value": float("nan")}, "accuracy nan"),
    "no category": ({"condition": {"corruption": "fog", "severity": 1}}, "category"),
    "no radius": ({"condition": {"attack": "pgd", "norm": "l2"}}, "epsilon"),
    "no condition": ({"condition": 3}, "no measurement"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rows_that_are_none_are_refused_in_one_line(tmp_path, name):
    changes, words = BROKEN[name]
    folder = write_folder(tmp_path / "one", [])
    columns = asdict(measured("a", 1)) | changes
    (folder / "results.jsonl").write_text(json.dumps(columns) + "\n")
    with pytest.raises(InputError, match=words) as error:
        read_folders([folder])
    assert "\n" not in str(error.value)


def test_a_folder_without_rows_is_named(tmp_path):
    with pytest.raises(InputError, match="holds no row of accuracy"):
        read_folders([write_folder(tmp_path / "empty", [])])


def test_a_broken_audit_or_picture_is_named(tmp_path):
    folder = write_folder(tmp_path / "one", [measured("a", 1)], [{"model": "a"}])
    with pytest.raises(InputError, match=r"line 1 of .*audit.jsonl is not a check"):
        read_folders([folder])
    folder = write_folder(tmp_path / "two", [measured("a", 1)], picture=b"GIF89a")
    with pytest.raises(InputError, match=r"examples.png is not a PNG"):
        read_folders([folder])


def test_deterministic_and_repeated_rows_are_counted_as_left_out(tmp_path):
    row = measured("a", 700)
    folder = write_folder(tmp_path / "one", [row, replace(row, n=1000, value=0.7)])
    assert read_folders([folder]).superseded == 1
