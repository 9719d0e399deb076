"""The paper's means from planted rows; what is missing is missing, nothing else."""

import pytest

from tests.report.evaluations import EVNETS, PAPER, attacked, corrupted, full_suite, measured
from vonenet.report.measured import models_of
from vonenet.report.scores import paper_attacks, score_difference, scores_of
from vonenet.report.setting import Setting
from vonenet.report.summary import Summary, summarise
from vonenet.robustness import attack_suite

ROWS = [
    measured("m", 900),
    corrupted("m", "gaussian_noise", 1, 800),
    corrupted("m", "gaussian_noise", 5, 600),
    corrupted("m", "shot_noise", 5, 100),
    corrupted("m", "contrast", 5, 500),
    corrupted("m", "saturate", 5, 990),
    attacked("m", "linf", 1 / 255, 200),
    attacked("m", "l2", 0.6, 400),
    attacked("m", "linf", 4 / 255, 10),
    attacked("m", "linf", 1 / 255, 0, attack="apgd"),
]


def scores(rows):
    (model,) = models_of(rows)
    return scores_of(model)


def values(rows):
    return {name: score.estimate.value for name, score in scores(rows).items()}


def test_planted_rows_have_the_papers_means():
    corruption = ((0.7 + 0.1) / 2 + 0.5) / 2
    assert values(ROWS) == pytest.approx(
        {
            "clean": 0.9,
            "noise": 0.4,
            "digital": 0.5,
            "extra": 0.99,
            "corruption": corruption,
            "linf": 0.2,
            "l2": 0.4,
            "white_box": 0.3,
            "perturbation": (corruption + 0.3) / 2,
            "overall": (0.9 + corruption + 0.3) / 3,
        }
    )


def test_a_full_suite_agrees_with_the_independent_summary():
    rows = full_suite("m", 0.7, 0.5)
    paper = {(norm, epsilon) for norm, radii in PAPER.items() for epsilon in radii}
    kept = [row for row in rows if row.condition.get("attack", "pgd") == "pgd"]
    kept = [
        row
        for row in kept
        if "attack" not in row.condition
        or (row.condition["norm"], row.condition["epsilon"]) in paper
    ]
    kept = [row for row in kept if row.condition.get("category") != "extra"]
    oracle = summarise(kept)
    assert isinstance(oracle, Summary)
    found = values(rows)
    for name in ("clean", "corruption", "white_box", "perturbation", "overall"):
        assert found[name] == pytest.approx(getattr(oracle, name)), name


@pytest.mark.parametrize("missing", ["clean", "corruption", "attack"])
def test_a_missing_kind_of_row_takes_only_its_means(missing):
    kinds = {"clean": ROWS[:1], "corruption": ROWS[1:6], "attack": ROWS[6:]}
    found = scores([row for kind, rows in kinds.items() if kind != missing for row in rows])
    assert "overall" not in found
    assert ("perturbation" in found) == (missing == "clean")
    assert ("white_box" in found) == (missing != "attack")


def scaled(side, suite):
    """Rows as the suite of that name writes them for images of that size."""
    return [
        attacked(
            "m",
            attack.norm,
            attack.epsilon,
            100 + 10 * ((attack.published_epsilon or attack.epsilon) == PAPER[attack.norm][1]),
            **({"published_epsilon": e} if (e := attack.published_epsilon) else {}),
            data=f"photos/val {side}px",
        )
        for attack in attack_suite(suite, (side, side))
    ]


@pytest.mark.parametrize("suite", ["paper", "evnets", "quick"])
@pytest.mark.parametrize("side", [32, 56, 64, 112, 224, 448])
def test_the_papers_settings_are_found_at_scaled_radii(side, suite):
    (model,) = models_of(scaled(side, suite))
    found = paper_attacks(model)
    seconds = {radii[1] for radii in PAPER.values()}
    wanted = {(n, e) for n in PAPER for e in PAPER[n] if suite != "quick" or e in seconds}
    assert {(s.group, s.strength) for s in found} == wanted
    for setting, accuracy in found.items():
        correct = round(accuracy.estimate.value * 1000)
        assert correct == 100 + 10 * (setting.strength in seconds)


@pytest.mark.parametrize("suite", [PAPER, EVNETS], ids=["paper", "evnets"])
@pytest.mark.parametrize("side", [32, 56, 112])
def test_published_radii_at_a_smaller_size_are_taken_as_they_are(side, suite):
    rows = [
        attacked("m", norm, epsilon, 100, data=f"photos/val {side}px")
        for norm, radii in suite.items()
        for epsilon in radii
    ]
    (model,) = models_of(rows)
    assert all(setting in model.accuracies for setting in paper_attacks(model))
    assert len(paper_attacks(model)) == 6


def test_radii_of_the_users_own_do_not_hide_the_papers():
    rows = [attacked("m", "l2", e, 100, data="photos/val 32px") for e in (0.15, 1.0)]
    assert scores(rows)["white_box"].over == {Setting("attack", "pgd", "l2", 0.15)}


def test_variants_of_pgd_are_attacks_of_their_own():
    row = attacked("m", "l2", 0.6, 100, restarts=5)
    setting = Setting.of(row)
    assert setting.label == "PGD, restarts 5 L2, ε 0.6"
    assert not setting.is_plain_pgd
    assert scores([row]) == {}


def test_other_radii_are_in_no_white_box_mean():
    rows = [attacked("m", "linf", 8 / 255, 10), attacked("m", "l2", 1.5, 10)]
    assert scores(rows) == {}


def test_means_over_different_settings_are_not_compared():
    all_of_it, less = scores(ROWS), scores(ROWS[:-3])
    assert score_difference(all_of_it["clean"], less["clean"]).value == 0
    assert score_difference(all_of_it["white_box"], less["white_box"]) is None
    assert score_difference(all_of_it["overall"], less["overall"]) is None
    assert score_difference(None, less["clean"]) is None
