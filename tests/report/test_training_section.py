"""What the page says of training: heading, curves, table, notes, beside evaluations or alone."""

import html
import re
from math import inf, nan
from pathlib import Path

import pytest

from tests.report.evaluations import full_suite, measured, write_folder
from tests.report.pages import Audit, tags
from tests.report.test_evaluation import words
from tests.report.training_runs import epoch, learning, recipe, start, write_run
from vonenet.errors import InputError
from vonenet.report.evaluation import write_evaluation_report
from vonenet.report.trained import read_runs
from vonenet.report.training_section import training_section

STORED = Path(__file__).parents[2] / "results" / "training"
HOSTILE = "<script>alert(1)<_script>\"'&\x1b[31m"


def render(tmp_path, *folders, base=None):
    table = write_evaluation_report(folders, tmp_path / "page.html", base)
    return (tmp_path / "page.html").read_text(), table


def section(*folders, models=()):
    return training_section(read_runs(folders), dict(models))


def styles(training):
    """Label -> style of the legend."""
    return {label: int(re.search(r"stroke s(\d)", str(sign))[1]) for label, sign in training.legend}


def panels(training):
    return {panel.name: panel for panel in training.panels}


@pytest.fixture
def two(tmp_path):
    base = write_run(tmp_path / "base", learning(3, 0.6), toml=recipe(base=True))
    vone = write_run(tmp_path / "vone", learning(3, 0.5), toml=recipe())
    return base, vone


def test_a_page_of_runs_alone_is_self_contained_and_well_formed(tmp_path, two):
    page, table = render(tmp_path, *two)
    audit = Audit()
    audit.feed(page)
    assert audit.open == []
    assert audit.addresses == []
    for outside in ("<script", "http:", "https:", "@import", "Robustness", "NeurIPS"):
        assert outside not in page
    assert "<h1>Training of 2 runs</h1>" in page
    assert "from log.jsonl, recipe.toml, run.json" in page
    assert [line.split()[:4] for line in table.splitlines()[1:]] == [
        ["base", "3", "of", "3"],
        ["vone", "3", "of", "3"],
    ]


def test_a_page_of_both_has_the_evaluation_first(tmp_path, two):
    folder = write_folder(tmp_path / "evaluation", full_suite("vone", 0.7, 0.5))
    page, table = render(tmp_path, *two, folder)
    body = page[page.index("<body>") :]
    landmarks = [
        "Robustness of 1 model on photos/val 224px; Training of 2 runs",
        "vone, accuracy: clean 70.0%",
        "base ends at 60.0% validation accuracy after 3 epochs",
        "Validation accuracy",
        "How it was measured",
        "from results.jsonl, log.jsonl, recipe.toml, run.json",
    ]
    places = [body.index(landmark) for landmark in landmarks]
    assert places == sorted(places)
    assert table.index("accuracy, %") < table.index("\n\ntraining ")
    audit = Audit()
    audit.feed(page)
    assert audit.open == []


def test_a_folder_may_hold_both(tmp_path, two):
    write_folder(two[1], full_suite("vone", 0.7, 0.5))
    page, _ = render(tmp_path, two[1])
    assert "Robustness of 1 model on photos/val 224px; Training of 1 run" in page


def test_a_run_has_the_style_of_the_model_of_its_name(tmp_path, two):
    rows = [measured(name, 500) for name in ("other", "third", "vone")]
    page, _ = render(tmp_path, *two, write_folder(tmp_path / "evaluation", rows))
    legend = page[page.index('id="training"') :]
    legend = legend[: legend.index("</ul>")]
    signs = re.findall(r"stroke s(\d).*?</svg>(\w+)</li>", legend)
    assert signs == [("3", "base"), ("2", "vone")]


def test_styles_are_distinct_and_the_bases_is_0(two, tmp_path):
    assert styles(section(*two)) == {"base": 0, "vone": 1}
    assert styles(section(*two[::-1])) == {"vone": 1, "base": 0}
    models = {"m0": 0, "m1": 1, "vone": 2}
    assert styles(section(*two, models=models)) == {"base": 3, "vone": 2}
    many = [write_run(tmp_path / f"m{n}", [epoch(1)], toml=recipe()) for n in range(8)]
    found = styles(section(*many, models={f"m{n}": n for n in range(0, 8, 3)}))
    assert sorted(found.values()) == list(range(8))
    assert (found["m0"], found["m3"], found["m6"]) == (0, 3, 6)


def test_a_base_of_the_evaluated_models_alone_can_be_named(tmp_path, two):
    with pytest.raises(InputError, match=r"base 'vone' is an evaluated model's; the folders hold"):
        render(tmp_path, *two, base="vone")
    assert not (tmp_path / "page.html").exists()
    folder = write_folder(tmp_path / "evaluation", [measured("a", 700), measured("b", 600)])
    _, table = render(tmp_path, *two, folder, base="b")
    assert "points more than b" in table


def test_curves_show_what_was_logged(tmp_path):
    lines = [epoch(1, 2.0, 0.2, 0.3), epoch(2, 1.0, 0.4, 0.6, learning_rate=0.05)]
    found = panels(section(write_run(tmp_path / "a", lines, toml=recipe())))
    titles = {name: [e.text for e in tags(p.picture, "title")] for name, p in found.items()}
    assert titles == {
        "Training loss": ["a, epoch 1: 2.00", "a, epoch 2: 1.00"],
        "Validation accuracy": ["a", "a, epoch 1: 30.0%", "a, epoch 2: 60.0%"],
        "Learning rate": ["a, epoch 1: 0.1", "a, epoch 2: 0.05"],
    }
    assert len(tags(found["Validation accuracy"].picture, "path", "lead")) == 1


def test_runs_without_validation_show_training_accuracy(tmp_path, two):
    lines = [epoch(n, 1.0, 0.4, None) for n in (1, 2)]
    folder = write_run(tmp_path / "a", lines, toml=recipe(epochs=2))
    alone = section(folder)
    assert alone.finding == "a ends at a training loss of 1.00 after 2 epochs"
    assert panels(alone)["Training accuracy"].finding == "No run was validated."
    assert [value for value, _ in alone.rows[0][2]][1:3] == ["\N{EM DASH}"] * 2
    mixed = panels(section(folder, *two))["Validation accuracy"].picture
    assert len(tags(mixed, "path", "lead")) == 3
    assert len(tags(mixed, "path", "stroke")) == 2


def test_losses_that_are_not_finite_leave_gaps_that_are_told(tmp_path):
    lines = [epoch(1), epoch(2, nan, nan, nan), epoch(3, inf), epoch(4)]
    training = section(write_run(tmp_path / "a", lines), write_run(tmp_path / "b", lines[:1]))
    loss = panels(training)["Training loss"]
    assert loss.finding.endswith("Not finite in some epochs, which are left out: a.")
    assert len(tags(loss.picture, "path", "mark")) == 3
    nothing = write_run(tmp_path / "c", [epoch(1, nan, nan, None)])
    found = section(nothing)
    assert [panel.name for panel in found.panels] == ["Learning rate"]
    assert found.rows[0][2][3] == ("not finite", "")


def test_wide_ranges_have_a_logarithmic_axis(tmp_path):
    near = write_run(tmp_path / "near", learning(9, 0.9, floor=0.2))
    far = write_run(tmp_path / "far", learning(9, 0.9, floor=0.001))
    assert "logarithmic" not in str(panels(section(near))["Training loss"].picture)
    assert "logarithmic" in str(panels(section(near, far))["Training loss"].picture)


@pytest.mark.parametrize(("schedule", "logarithmic"), [("step", True), ("cosine", False)])
def test_rates_that_fall_by_steps_have_a_logarithmic_axis(tmp_path, schedule, logarithmic):
    lines = learning(9, 0.9, rate=lambda share: 0.1 ** (1 + int(3 * share)))
    folder = write_run(tmp_path / "a", lines, toml=recipe(epochs=9, schedule=schedule))
    picture = panels(section(folder))["Learning rate"].picture
    assert ("logarithmic" in str(picture)) == logarithmic


def test_a_run_under_way_is_told_so(tmp_path):
    lines = [epoch(n, validation=0.2 + n / 10) for n in (1, 2, 3)]
    folder = write_run(tmp_path / "a", lines, toml=recipe(epochs=9), finished=None)
    training = section(folder)
    assert training.finding == "a stands at 50.0% validation accuracy after 3 of 9 epochs"
    assert training.rows[0][2][0] == ("3 of 9", "not finished")
    fresh = write_run(tmp_path / "b", [], toml=recipe(epochs=9), finished=None)
    page, table = render(tmp_path, fresh)
    assert "b has not finished an epoch." in page
    assert "<svg" not in page
    assert table.splitlines()[1].split() == ["b", "0", "of", "9", *["\N{EM DASH}"] * 5]


def test_the_table_says_how_a_run_went(tmp_path):
    lines = [
        epoch(1, validation=0.7, images_per_second=100.0, seconds=3000.0),
        epoch(2, 0.25, validation=0.6, images_per_second=900.0, seconds=900.0),
        epoch(3, 0.125, validation=None, images_per_second=200.0, seconds=300.0),
    ]
    starts = [start(1), start(2, commit="f" * 40, gpu="H100", git=None)]
    folder = write_run(tmp_path / "a", lines, toml=recipe(), starts=starts)
    training = section(folder)
    ending = "a ends at 60.0% validation accuracy after 3 epochs (validated after 2)"
    assert training.finding == ending
    ((label, network, cells),) = training.rows
    assert (label, network) == ("a", "voneresnet18")
    assert cells == [
        ("3 of 3", "finished, 2 starts"),
        ("60.0", "epoch 2"),
        ("70.0", "epoch 1"),
        ("0.125", ""),
        ("200", ""),
        ("1 h 10 min", ""),
        ("1 and 2", "x86_64, 2 cores and H100"),
        ("234ed69, changed", "vonenet 0.1.0, torch 2.15.0"),
    ]


def test_what_differs_between_recipes_is_told_field_by_field(tmp_path, two):
    toml = recipe(rate=0.2, smoothing=0.1).replace("stride = 2", "stride = 4")
    other = write_run(tmp_path / "c", learning(3, 0.4), toml=toml)
    training = section(*two, other, write_run(tmp_path / "d", [epoch(1)]))
    assert training.recipes.labels == ["base", "vone", "c"]
    assert training.recipes.rows == [
        ("model.base", ["true", "false", "false"]),
        ("model.settings.stride", ["2", "2", "4"]),
        ("optimization.learning_rate", ["0.1", "0.1", "0.2"]),
        ("optimization.label_smoothing", ["0", "0", "0.1"]),
    ]
    told = [note for note in training.notes if note.startswith("Recipes differ")]
    assert told == [
        "Recipes differ in optimization.label_smoothing: training loss and accuracy are not of "
        "the same task."
    ]
    page, _ = render(tmp_path, two[0])
    assert "How the recipes differ" not in page
    assert "single run" not in page
    assert "single run" in " ".join(training.notes)


def test_other_validation_images_are_told_and_attacks_that_are_none_are_not(tmp_path):
    def noted(*additions):
        names = (tmp_path / f"{n}" for n in range(len(additions)))
        folders = [
            write_run(folder, [epoch(1)], toml=recipe() + addition)
            for folder, addition in zip(names, additions, strict=True)
        ]
        return " ".join(section(*folders).notes)

    attack = "[adversarial]\nepsilon = {}\nsteps = {}\n"
    assert "Recipes differ" not in noted(attack.format(0.0, 3), attack.format(0.0, 5))
    assert "in adversarial.steps: training" in noted(attack.format(0.1, 3), attack.format(0.1, 5))
    fewer = recipe().replace("image_size", "validation_limit")
    folders = [write_run(tmp_path / f"x{n}", [epoch(1)], toml=t) for n, t in ((1, fewer),)]
    folders.append(write_run(tmp_path / "x2", [epoch(1)], toml=recipe()))
    notes = " ".join(section(*folders).notes)
    assert "data.validation_limit and data.image_size: validation accuracies are not" in notes


def test_many_runs_are_drawn_as_the_best_eight(tmp_path):
    runs = [
        write_run(tmp_path / f"r{n:02}", learning(5, 0.3 + n / 100), toml=recipe(epochs=5))
        for n in range(40)
    ]
    page, table = render(tmp_path, *runs)
    legend = re.search(r'<ul class="legend">.*?</ul>', page, re.S)[0]
    assert words(legend).split() == [f"r{n}" for n in range(32, 40)]
    assert "Charts show the 8 runs of the highest last validation accuracy" in page
    assert "the table shows all 40." in page
    assert "r39 ends at 69.0% validation accuracy after 5 epochs, the highest of 40 runs" in page
    assert "the others are at 30.0 to 68.0%." in words(page)
    assert page.count('<th scope="row">') == 40
    assert len(table.splitlines()) == 41


def test_runs_of_a_common_end_and_runs_without_validation_are_told(tmp_path):
    def finding(*validations):
        folders = [
            write_run(tmp_path / f"{n}", [epoch(1, validation=v)])
            for n, v in enumerate(validations)
        ]
        return section(*folders).finding

    assert finding(0.5, 0.4, 0.4, 0.4).endswith("the highest of 4 runs; the others are at 40.0%")
    assert finding(0.5, 0.4, 0.3, None).endswith(
        "; the others with validation are at 30.0 to 40.0%"
    )
    assert finding(None, 0.4, None, None).endswith("after 1 epoch, the highest of 4 runs")
    assert finding(None, None, None, None) == "4 training runs, none of them validated"


def test_hostile_words_are_escaped_everywhere(tmp_path):
    quoted = HOSTILE.replace('"', '\\"').replace("\x1b", "\\u001b")
    told = start(commit=HOSTILE, gpu=HOSTILE, command=HOSTILE, versions={"torch": HOSTILE})
    hostile = write_run(
        tmp_path / HOSTILE, [epoch(1), epoch(2)], toml=recipe(quoted), starts=[told]
    )
    page, table = render(tmp_path, hostile, write_run(tmp_path / "b", [epoch(1)], toml=recipe()))
    assert "<script" not in page
    assert html.escape(HOSTILE).split("_")[0].replace("&#x27;", "&#39;") in page
    audit = Audit()
    audit.feed(page)
    assert audit.open == []
    assert "\x1b" not in table


def test_the_same_folders_make_the_same_page(tmp_path, two):
    assert render(tmp_path, *two) == render(tmp_path, *two)


def test_the_stored_runs_make_a_page_that_says_their_numbers(tmp_path):
    page, table = render(tmp_path, *sorted(STORED.iterdir()))
    assert "cifar10_resnet_small_base ends at 54.0% validation accuracy after 6 epochs" in page
    assert "and data.validation_limit: validation accuracies are not of the same images" in page
    assert len({len(line) for line in table.splitlines()}) == 1  # columns stand beneath their heads
    rows = {line.split()[0]: " ".join(line.split()[1:]) for line in table.splitlines()[1:]}
    assert rows["cifar10_voneresnet_small"] == "6 of 6 51.0 51.8 (5) 1.35 102 19 min"
