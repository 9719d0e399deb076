"""The page of an evaluation: folders, numbers from rows, self-contained, escaped, repeatable."""

import html
import io
import re
import time
from dataclasses import replace
from math import sqrt
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
from PIL import Image

from tests.report.evaluations import (
    PAPER,
    attacked,
    check,
    corrupted,
    full_suite,
    measured,
    write_folder,
)
from tests.report.pages import words
from tests.report.training_runs import epoch, recipe, write_run
from vonenet.errors import InputError
from vonenet.report.evaluation import (
    read_rows,
    sort_folders,
    write_evaluation_report,
)
from vonenet.report.page import points
from vonenet.report.tables import models_of
from vonenet.results import V1_FILTERS, V1_RESPONSES

MINUS = "\N{MINUS SIGN}"
README = Path(__file__).parents[2] / "README.md"
DEMO = README.parent / "results" / "demo"
STOCHASTIC = {"flags": {"stochastic": True}, "protocol": {"gradient_samples": 10}}
BASE = full_suite("resnet50", 0.756, 0.01)
VONE = full_suite("voneresnet50", 0.717, 0.6, **STOCHASTIC)
TRAINED = full_suite("voneresnet50_at", 0.624, 0.86, **STOCHASTIC)
ROWS = [*BASE, *VONE, *TRAINED]


def few_of(rows):
    """The rows of clean images, fog and L-infinity, which are drawn faster than all."""
    kinds = {"norm": "linf", "corruption": "fog"}
    return [r for r in rows if all(r.condition.get(k, kind) == kind for k, kind in kinds.items())]


CHECKS = [
    check("resnet50", "gradient_is_finite", True),
    check("voneresnet50", "random_noise", False),
    check("voneresnet50", "more_steps", True, expected="at most 7"),
]


def picture():
    buffer = io.BytesIO()
    Image.fromarray(np.zeros((4, 8, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def render(tmp_path, rows, checks=(), image=None, base=None, name="run"):
    folder = write_folder(tmp_path / name, rows, checks, image)
    for name in (V1_FILTERS, V1_RESPONSES) if image else ():
        (folder / name).write_bytes(image)
    table = write_evaluation_report([folder], tmp_path / "out" / "page.html", base)
    return (tmp_path / "out" / "page.html").read_text(), table


def said(part):
    """The words of a part of a page."""
    return " ".join(html.unescape(re.sub(r"<[^>]*>", " ", part.replace("<wbr>", ""))).split())


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("evaluation")
    found = render(folder, ROWS, CHECKS, picture())[0]
    assert [path.name for path in (folder / "out").iterdir()] == ["page.html"]
    return found


def test_the_page_is_self_contained_and_the_same_for_the_same_rows(page, tmp_path):
    words(page)
    assert page.count("data:image/png;base64,") == 3
    for outside in ("<script", "http:", "https:", "@import"):
        assert outside not in page
    assert render(tmp_path, ROWS, CHECKS, picture())[0] == page


def nested_mean(tree):
    return fmean(nested_mean(branch) for branch in tree) if isinstance(tree, list) else tree


def expected_numbers(rows):
    """Name -> (value, low, high) of every number of a model, by formulas of this test's own."""
    ends = [(row.value, row.ci_low, row.ci_high) for row in rows]
    found = {f"row {i}": numbers for i, numbers in enumerate(ends)}
    paper = {(norm, epsilon) for norm, radii in PAPER.items() for epsilon in radii}
    means = {}
    for part in range(3):
        by_type, by_norm = {}, {}
        for row, numbers in zip(rows, ends, strict=True):
            c = row.condition
            if "corruption" in c:
                by_type.setdefault((c["category"], c["corruption"]), []).append(numbers[part])
            elif c.get("attack") == "pgd" and (c["norm"], c["epsilon"]) in paper:
                by_norm.setdefault(c["norm"], []).append(numbers[part])
        categories = {}
        for (category, _), values in by_type.items():
            categories.setdefault(category, []).append(values)
        parts = {f"type {name}": values for (_, name), values in by_type.items()}
        parts |= {f"category {name}": values for name, values in categories.items()}
        parts |= {f"norm {name}": values for name, values in by_norm.items()}
        corruption = [values for name, values in categories.items() if name != "extra"]
        white_box = list(by_norm.values())
        parts["corruption"], parts["white box"] = corruption, white_box
        parts["perturbation"] = [corruption, white_box]
        parts["overall"] = [ends[0][part], corruption, white_box]
        for name, tree in parts.items():
            means.setdefault(name, []).append(nested_mean(tree))
    return found | {name: tuple(numbers) for name, numbers in means.items()}


def newcombe(model, base):
    (p, low, high), (q, base_low, base_high) = model, base
    gain = p - q
    return (
        gain,
        gain - sqrt((p - low) ** 2 + (base_high - q) ** 2),
        gain + sqrt((high - p) ** 2 + (q - base_low) ** 2),
    )


def test_every_number_on_the_page_comes_from_rows(page):
    numbers = [expected_numbers(rows) for rows in (BASE, VONE, TRAINED)]
    values = np.array([triple for each in numbers for triple in each.values()])
    gains = [newcombe(each[name], numbers[0][name]) for each in numbers[1:] for name in each]
    shown = set(re.findall(rf"(?<![\w.-])[+{MINUS}]?\d+(?:\.\d+)+", words(page)))
    shown -= {"2.15.0", "0.1.0", "3.11.7", "0.15", "0.6", "2.4", "9.6", "0.31", "0.3"}
    for number in shown:
        known = np.array(gains) if number[0] in "+" + MINUS or number == "0.0" else values
        off = np.abs(100 * known - float(number.replace(MINUS, "-"))).min()
        assert off <= 0.05 + 1e-9, number
    assert len(shown) > 300


def test_every_row_is_told_with_its_own_numbers(page):
    details = page[page.index("Every number") :].split("<details>")[1:]
    for rows, table in zip((VONE, TRAINED), details, strict=True):
        told = [said(line).split() for line in table.split("</table>")[0].split("<tr>")[2:]]
        for row, base, line in zip(rows, BASE, told, strict=True):
            ends = [(r.value, r.ci_low, r.ci_high) for r in (base, row)]
            numbers = [f"{100 * x:.1f}" for triple in ends for x in triple]
            gains = [round(100 * x, 1) for x in newcombe(*reversed(ends))]
            numbers += [f"{x:+.1f}".replace("-", MINUS) if x else "0.0" for x in gains]
            assert [word.strip("[],") for word in line[-10:]] == [*numbers, "1,000"]
            name = row.condition.get("corruption", row.condition.get("attack", "clean"))
            assert line[0].lower().strip(",") in name


def cells(page):
    """Model -> text of its row in the first table."""
    table = page[page.index('<table class="cards">') : page.index("</table>")]
    rows = (said(row) for row in table.split("<tr>")[2:])
    return {row.split(" ", 1)[0]: row for row in rows}


def test_the_table_has_the_planted_means_and_differences(tmp_path):
    base, vone = (
        [
            measured(name, clean),
            corrupted(name, "fog", 3, fog),
            *(attacked(name, norm, e, attack) for norm, radii in PAPER.items() for e in radii),
        ]
        for name, clean, fog, attack in (("base", 800, 400, 100), ("vone", 790, 500, 600))
    )
    page, table = render(tmp_path, [*base, *vone])
    found = cells(page)
    outside_brackets = re.sub(r"\[.*?\]", "", found["base"])
    assert outside_brackets.split() == ["base", "80.0", "40.0", "10.0", "25.0", "43.3"]
    ends = [(row.value, row.ci_low, row.ci_high) for row in (vone[0], base[0])]
    low, high = (f"{100 * x:+.1f}" for x in newcombe(*ends)[1:])
    assert f"79.0 {MINUS}1.0 [{low}, {high}]".replace("-", MINUS) in found["vone"]
    assert "55.0 +30.0" in found["vone"]
    marked = re.findall(r'<span class="sure">([^<]*)</span>', page[: page.index("</table>")])
    assert marked == ["+10.0", "+50.0", "+30.0", "+19.7"]
    assert "Mean over corruptions 1 of 15 types, severity 3" in words(page)
    assert " 1 condition (" in words(render(tmp_path, vone[:1], name="one")[0])
    assert re.search(rf"vone +79\.0 \({MINUS}1\.0\) +50\.0 \(\+10\.0\) +60\.0", table)


def test_a_failed_check_marks_the_model_of_these_weights_alone(page, tmp_path):
    assert "✗ audit failed" in cells(page)["voneresnet50"]
    assert "✗" not in cells(page)["resnet50"] + cells(page)["voneresnet50_at"]
    failed = check("resnet50", "random_noise", False, model_hash="another")
    page, table = render(tmp_path, few_of(BASE), [failed])
    assert "✗ audit failed" not in cells(page)["resnet50"]
    assert "✗ failed: random noise, resnet50." in page
    assert "AUDIT" not in table
    assert "in brackets" not in table  # one model alone is compared with nothing


@pytest.mark.parametrize("kind", ["clean", "corruption", "attack"])
def test_missing_kinds_of_rows_leave_dashes_and_no_section(tmp_path, kind):
    kinds = {"corruption", "attack"}
    rows = [row for row in few_of(ROWS) if (kinds & row.condition.keys() or {"clean"}) != {kind}]
    page, table = render(tmp_path, rows)
    dashes = 2 if kind == "clean" else 3  # its mean, the overall mean, the perturbation mean
    assert cells(page)["resnet50"].count("—") == dashes
    assert table.count("—") == 3 * dashes
    assert ("Other attacks" in page) == (kind != "attack")
    assert ("Mild (1) to severe (5)" in page) == (kind != "corruption")


def test_what_differs_beside_the_models_is_told(tmp_path):
    small = full_suite("small", 0.7, 0.5, data="photos/val 64px", protocol={"steps": 10})
    mild = [row for row in small if row.condition.get("severity") != 5]
    page, table = render(tmp_path, few_of([*BASE, *mild]))
    assert cells(page)["small"].count("other conditions") == 3
    assert "(conditions)" in table
    caution = said(page[page.index("Take care") :].split("</p>")[0])
    assert "Steps of PGD: 64 (resnet50); 10 (small)." in caution
    assert "photos/val 64px: 1,000 of 50,000 (small)." in caution
    assert (
        "Take care" not in render(tmp_path, few_of(ROWS), name="alike")[0]
    )  # noise is no difference


def test_stronger_attacks_are_marked(tmp_path):
    rows = [
        attacked("m", "linf", 1 / 255, 500),
        attacked("m", "linf", 1 / 255, 300, attack="square"),
        attacked("m", "linf", 1 / 255, 480, attack="apgd"),
    ]
    page, _ = render(tmp_path, rows)
    found = dict(
        re.findall(r'scope="row">(\w+) L∞, ε 1/255</th>.*?<span(.*?)>PGD 50.0', page, re.S)
    )
    assert found == {"Square": ' class="sure"', "APGD": ""}


@pytest.mark.parametrize(("images", "sure"), [(50, False), (2000, True)])
def test_verdicts_follow_intervals(tmp_path, images, sure):
    """+16 points, +4 and -4: of 50 images the first alone is more than luck may be."""
    rows = [
        row(model, round(share * images))
        for model, shares in {"base": (0.8, 0.4, 0.1), "vone": (0.76, 0.44, 0.36)}.items()
        for share, row in zip(
            shares,
            (
                lambda model, correct: measured(model, correct, images),
                lambda model, correct: corrupted(model, "fog", 3, correct, n=images),
                lambda model, correct: attacked(model, "linf", 1 / 255, correct, n=images),
            ),
            strict=True,
        )
    ]
    page, table = render(tmp_path, rows)
    unsure = "no difference that the images can show"
    expected = [
        ("white-box attacks", "more robust (not audited)", "+26.0"),
        ("corruptions", "more robust" if sure else unsure, "+4.0"),
        ("clean images", "less accurate" if sure else unsure, f"{MINUS}4.0"),
    ]
    told = re.search(r'class="verdict">vone against base:</p>\n<ul.*?><li>(.*?)</li></ul>', page)[1]
    for part, (where, word, number) in zip(told.split("</li><li>"), expected, strict=True):
        assert part.startswith(f"{where}: {word}, {number} points [")
        assert f"  {part}\n" in f"{table}\n"
    assert "say nothing of another training" in page
    both = [*rows, *(replace(row, model="third", model_hash="3") for row in rows[:3])]
    assert "vone (best of 2 by overall mean) against base" in render(tmp_path, both, name="b")[0]


def test_a_mean_says_what_it_is_over(tmp_path):
    whole = [row for row in BASE if row.condition.get("category") != "extra"]
    said_of = {
        "Mean over corruptions: 15 of 15 types, severities 1, 2, 3, 4, 5": whole,
        "PGD at 6 radii, the paper's 6: L∞ 1/1020, 1/255; L2 0.15, 0.6; L1 40, 160": whole,
        "15 of 15 types, severities 1, 2, 3, 4, 5; 1 of these 75 conditions are missing": [
            row for row in whole if row.condition.items() & {("corruption", "fog")} == set()
            or row.condition["severity"] != 4
        ],
        "12 of 15 types": [row for row in whole if row.condition.get("category") != "noise"],
        "PGD at 3 radii, not the paper's 6: L∞ 1/255; L2 0.6; L1 160": [
            row for row in whole if row.condition.get("epsilon", 160) in (1 / 255, 0.6, 160)
        ],
    }  # fmt: skip
    for number, (expected, rows) in enumerate(said_of.items()):
        page, table = render(tmp_path, rows, name=str(number))
        assert expected in table
        assert expected in html.unescape(page[: page.index("</header>")])


def test_rows_that_differ_in_what_was_measured_are_told(tmp_path):
    def told(name, *rows):
        page, table = render(tmp_path, rows, name=name)
        return said(page[: page.index("</header>")]), table

    a, b = measured("a", 500), measured("b", 600)
    header, table = told("alike", a, b)
    assert "Take care" not in header + table
    assert "Not compared" not in header
    header, table = told("images", replace(a, data_hash="1"), replace(b, data_hash="2"))
    assert "Not compared. b: measured on other images than a" in header
    assert "(images)" in table
    assert "+10.0" not in header + table
    matched = {"a": "10 classes of 10 outputs, by name", "b": "10 classes of 1000 outputs, by name"}
    a, b = (replace(row, classes=matched[row.model], preprocessing="224 px") for row in (a, b))
    header, _ = told("classes", a, b)
    assert f"Classes: {matched['a']} (a); {matched['b']} (b)." in header
    header, table = told("twice", a, replace(a, value=0.501))
    assert "of which the last counts: clean" in table
    assert "Rows of the same condition, seed and number of images say different" in header
    page, _ = render(tmp_path, [a, b], name="facts")
    assert "Preprocessing 224 px" in words(page)


def test_the_base_is_the_first_model_or_the_named_one(tmp_path):
    page, table = render(tmp_path, few_of(ROWS), base="voneresnet50_at")
    assert list(cells(page)) == ["voneresnet50_at", "resnet50", "voneresnet50"]
    assert "in brackets: points more than voneresnet50_at" in table
    with pytest.raises(
        InputError, match=r"'nobody' is not among .*: resnet50, voneresnet50, voneresnet50_at"
    ):
        render(tmp_path, few_of(ROWS), base="nobody", name="again")
    twice = [measured("m", 1, model_hash=f"{i}" * 16) for i in range(2)]
    with pytest.raises(InputError, match=r"several models; allowed: m \(weights 000000\), m"):
        render(tmp_path, twice, base="m", name="twice")
    page, _ = render(tmp_path, twice, base="m (weights 111111)", name="thrice")
    assert "m (weights 111111)" in page


def test_an_audit_that_cannot_tell_is_not_one_that_passed(tmp_path):
    rows, name = few_of(BASE), "resnet50"
    page, table = render(tmp_path, rows, [check(name, "a", True), check(name, "more_steps", None)])
    assert "audit inconclusive: 1 check" in table
    assert f"? Audit inconclusive for {name}:" in said(page)
    assert "Audit of the attacks: 1 of 2 checks inconclusive" in page
    assert "? more steps" in page
    page, _ = render(tmp_path, rows, [check(name, "a", None), check(name, "b", False)], name="two")
    assert "Audit of the attacks: 1 of 2 checks failed, 1 inconclusive" in page
    page, _ = render(tmp_path, rows, [check(name, "a", True)], name="three")
    assert "Audit of the attacks: all 1 checks passed" in page
    assert "nconclusive" not in said(page)
    for passed, doubt in ((True, ""), (None, " (audit inconclusive)"), (False, " (audit failed)")):
        checks = [check("voneresnet50", "a", True), check("voneresnet50", "b", passed)]
        page, _ = render(tmp_path, few_of([*BASE, *VONE]), checks, name=f"verdict {passed}")
        assert f"white-box attacks: more robust{doubt}, +" in page


def test_of_several_audits_of_a_model_the_one_on_most_images_counts(tmp_path):
    rows, name = few_of(BASE), "resnet50"
    checks = [check(name, "a", passed, settings={"n": n}) for n, passed in ((50, True), (20, None))]
    for order in (checks, checks[::-1]):
        page, _ = render(tmp_path, rows, order)
        assert "all 1 checks passed" in page
    again = check(name, "a", False, settings={"n": 50})
    page, _ = render(tmp_path, rows, [*checks, again])
    assert "1 of 1 checks failed" in page


HOSTILE = "<script>alert(1)</script>\"'&\x1b[31m"


def test_hostile_words_are_escaped_everywhere(tmp_path):
    rows = few_of(full_suite(HOSTILE, 0.7, 0.5, data=f"{HOSTILE}/val 224px"))
    odd = measured(HOSTILE, 5, corruption=HOSTILE, category="noise", severity=2)
    odd_attack = attacked(HOSTILE, "linf", 1 / 255, 5, attack=HOSTILE, momentum=HOSTILE)
    failed = check(HOSTILE, HOSTILE, False, expected=HOSTILE, explanation=HOSTILE)
    page, table = render(tmp_path, [*rows, odd, odd_attack], [failed], picture())
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    words(page)
    assert "\x1b" not in table


def test_many_models_are_drawn_as_the_best_eight_in_time(tmp_path):
    models = [full_suite(f"m{i:02}", 0.5 + i / 80, 0.1 + i / 30) for i in range(20)]
    rows = [row for model in models for row in few_of(model)]
    seconds = []
    for name, part in (("few", rows[: len(rows) // 10]), ("run", rows)):
        folder = write_folder(tmp_path / name, part)
        start = time.process_time()
        table = write_evaluation_report([folder], tmp_path / "page.html")
        seconds.append(time.process_time() - start)
    page = (tmp_path / "page.html").read_text()
    legend = re.search(r'<ul class="legend">.*?</ul>', page, re.S)[0]
    assert said(legend).split() == ["m00", *(f"m{i}" for i in range(13, 20))]
    assert len(cells(page)) == 20
    assert len(re.findall(r"^m\d\d  ", table, re.M)) == 20
    assert seconds[1] < 25 * seconds[0]  # of ten times as many rows


def test_the_readmes_numbers_are_those_of_the_report(tmp_path):
    """The table is what `vonenet report results/demo` prints; the sentence is of earlier rows."""
    readme = README.read_text()
    table = write_evaluation_report([DEMO], tmp_path / "page.html")
    assert f"```text\n{table}\n```" in readme
    gains = []
    for seed in range(3):
        base, vone = models_of(read_rows(DEMO / "76db9ad" / f"seed{seed}.jsonl"))
        gains.append([points(vone.gain(base, each).value) for each in ("white_box", "corruption")])
    for of_seeds in zip(*gains, strict=True):
        assert ", ".join(of_seeds) in readme


def test_folders_are_sorted_in_the_order_given_each_once(tmp_path):
    measured_one = write_folder(tmp_path / "measured", [measured("a", 1)])
    run = write_run(tmp_path / "run", [epoch(1)], toml=recipe())
    both = write_run(write_folder(tmp_path / "both", []), [epoch(1)])
    assert sort_folders([both, run, measured_one]) == ([both, measured_one], [both, run])
    (tmp_path / "link").symlink_to(run)
    found = sort_folders([run, measured_one, run / ".." / "measured", tmp_path / "link"])
    assert [[folder.resolve() for folder in each] for each in found] == [[measured_one], [run]]
    (run / "log.jsonl").unlink()  # a run is known by its recipe before it has a log
    assert sort_folders([run]) == ([], [run])


def test_what_cannot_be_read_or_written_is_named(tmp_path):
    folder = write_folder(tmp_path / "run", [measured("a", 1)])
    (tmp_path / "page.html").mkdir()
    with pytest.raises(InputError, match=r"page.html cannot be written"):
        write_evaluation_report([folder], tmp_path / "page.html")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["page.html", "run"]
    with pytest.raises(InputError, match="^no folder was given; give folders that"):
        sort_folders([])
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        words = rf"{name} holds neither results.jsonl of an evaluation nor log.jsonl of a training"
        with pytest.raises(InputError, match=words):
            sort_folders([folder, tmp_path / name])
    with pytest.raises(InputError, match=r"line 1 of .*audit.jsonl is not a row of model, "):
        render(tmp_path, [measured("a", 1)], [{"model": "a"}], name="audited")
    with pytest.raises(InputError, match=r"examples.png is not a PNG"):
        render(tmp_path, [measured("a", 1)], image=b"GIF89a", name="two")


def test_rows_of_other_metrics_are_left_alone_and_repeated_ones_counted(tmp_path):
    row, other = measured("a", 700), measured("a", 500, metric="orientation selectivity")
    page, table = render(tmp_path, [row, replace(row, n=1000, value=0.7), other])
    assert "50.0" not in table
    assert "1 left out" in page
    with pytest.raises(InputError, match="holds no row of accuracy"):
        render(tmp_path, [other], name="other")


def attack(**changes):
    columns = {"attack": "pgd", "norm": "l2", "epsilon": 0.6, "steps": 64, "gradient_samples": 1}
    return {"condition": columns | changes}


def fog(severity):
    return {"condition": {"corruption": "fog", "category": "weather", "severity": severity}}


BROKEN = {
    "value": ({"value": 7.5}, "accuracy 7.5"),
    "interval": ({"ci_low": 0.9}, "accuracy 0.001 with interval 0.9"),
    "words": ({"value": "high"}, "'high': Input should be a valid number"),
    "nan": ({"value": float("nan")}, "Out of range float values"),
    "no category": ({"condition": {"corruption": "fog", "severity": 1}}, "category"),
    "no radius": ({"condition": {"attack": "pgd", "norm": "l2"}}, "epsilon"),
    "no condition": ({"condition": 3}, "'3': Input should be an object"),
    "no image": ({"n": 0}, "n=0"),
    "more images than there are": ({"n": 50_001}, "n=50001"),
    "radius in words": (attack(epsilon="inf"), "epsilon=inf"),
    "radius of 0": (attack(epsilon=0.0), "epsilon=0"),
    "negative severity": (fog(-1), "severity=-1"),
    "severity of a name": (fog("mild"), "no measurement"),
    "no step": (attack(steps="nan"), "steps=nan"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_rows_that_are_none_are_refused_in_one_line(tmp_path, name):
    changes, told = BROKEN[name]
    with pytest.raises(InputError, match=rf"results.jsonl .*{told}") as error:
        render(tmp_path, [replace(measured("a", 1), **changes)])
    assert "\n" not in str(error.value)
