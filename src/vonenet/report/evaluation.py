"""The page of a report: evaluations and training runs in folders -> one self-contained file."""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from matplotlib.ticker import MaxNLocator

from vonenet.errors import InputError
from vonenet.report.page import (
    DASH,
    Panel,
    count,
    duration,
    first_column,
    inline_svg,
    percent,
    points,
    printable,
    write_html,
)
from vonenet.report.plots import STYLES, accuracy_against_radius
from vonenet.report.tables import (
    CATEGORIES,
    CLEAN,
    EXTRA,
    IMAGENET_C_TYPES,
    NORMS,
    PAPER_RADII,
    Estimate,
    Model,
    Setting,
    models_of,
    radius_text,
)
from vonenet.report.training import read_runs, training_section, training_table
from vonenet.results import (
    AUDIT,
    EXAMPLES,
    LOG,
    RECIPE,
    RESULTS,
    RUN,
    V1_FILTERS,
    V1_RESPONSES,
    AuditRow,
    Result,
    read_jsonl,
)

ALLOWED = "give folders that vonenet evaluate or vonenet train wrote"
METRIC = "accuracy"
COLUMN_WIDTH = 19  # characters of the terminal's table
MEASURES = {
    "clean": "clean",
    "corruption": "corruptions",
    "white_box": "white box",
    "perturbation": "perturbation mean",
    "overall": "overall mean",
}
LEADING = tuple(reversed(MEASURES))  # the most telling mean first
CONTRASTS = {
    "clean": "clean",
    "corruption": "corruptions",
    **{category: f"\N{EN DASH} {category}" for category in CATEGORIES},
    "white_box": "white box",
    **{norm: f"\N{EN DASH} {name}" for norm, name in NORMS.items()},
    "perturbation": "perturbation",
    "overall": "overall",
}
FINDINGS = {
    "white_box": ("white-box attacks", "more robust", "less robust"),
    "corruption": ("corruptions", "more robust", "less robust"),
    "clean": ("clean images", "more accurate", "less accurate"),
}
DISPUTED = "Conditions with rows that differ, of which the last counts"
MEANS = ("Mean over corruptions", "Mean over white box")  # terms of the provenance
# Terms of the provenance that make models differ beside the models, unless all have the same
PROTOCOL_TERMS = (
    "Images",
    "Classes",
    "Radii",
    "Steps of PGD",
    "Step rule of PGD",
    "Noise draws per decision",
    "Corruptions made for images of",
    "Textures of frost",
    "Corrupted images",
)


def write_evaluation_report(folders: Sequence[Path], out: Path, base: str | None = None) -> str:
    """Write the page of evaluations and training runs, whole or not at all.

    Args:
        folders: Each holds an evaluation, a training run, or both.
        out: The page.
        base: Label or name of the model that the others are compared with; None: the first one.

    Returns:
        For the terminal: the table of means, the table of runs, whichever there are.

    Raises:
        InputError: A folder with neither, or with a broken file, a base that is not among the
            models, or a page that cannot be written.
    """
    evaluations, runs = sort_folders(folders)
    if base is not None and not evaluations:
        raise InputError(f"base {base!r} is an evaluated model's; the folders hold training alone")
    contents: dict[str, object] = {}
    tables, subjects, verdicts, sources = [], [], [], []
    styles: dict[str, int] = {}
    if evaluations:
        rows = [row for folder in evaluations for row in read_rows(folder / RESULTS)]
        models = base_first(models_of(rows), base)
        audit = read_audits(evaluations)
        styles = {model.label: style for style, model in enumerate(drawn(models))}
        contents |= robustness(models, audit)
        contents["left_out"] = len(rows) - sum(len(r) for m in models for r in m.rows.values())
        contents["examples"] = pictures(evaluations, EXAMPLES)
        contents["v1_filters"] = pictures(evaluations, V1_FILTERS)
        contents["v1_responses"] = pictures(evaluations, V1_RESPONSES)
        tables.append(text_table(models, audit))
        images = {model.data for model in models}
        about, found = verdict(models, audit)
        on = models[0].data if len(images) == 1 else f"{len(images)} sets of images"
        subjects.append(f"Robustness of {count(len(models), 'model')} on {on}")
        verdicts.append(f"{about}:")
        contents["findings"] = found
        sources += [RESULTS, AUDIT] if audit else [RESULTS]
    if runs:
        trained = read_runs(runs)
        contents["training"] = training = training_section(trained, styles)
        tables.append(training_table(trained))
        subjects.append(f"Training of {count(len(trained), 'run')}")
        verdicts.append(f"{training['finding']}.")
        sources += [LOG, RECIPE, RUN]
    write_html(
        "evaluation.html",
        out,
        subject="; ".join(subjects),
        verdict=verdicts[0],
        sources=", ".join(sources),
        **contents,
    )
    return "\n\n".join(tables)


def sort_folders(folders: Iterable[Path]) -> tuple[list[Path], list[Path]]:
    """Return the folders of evaluations and those of training runs, each folder once.

    Raises:
        InputError: There is no folder, or one holds neither an evaluation nor a run.
    """
    distinct = list({folder.resolve(): folder for folder in folders}.values())
    if not distinct:
        raise InputError(f"no folder was given; {ALLOWED}")
    evaluations = [folder for folder in distinct if (folder / RESULTS).is_file()]
    runs = [f for f in distinct if (f / RECIPE).is_file() or (f / LOG).is_file()]
    for folder in distinct:
        if folder not in (*evaluations, *runs):
            raise InputError(
                f"{folder} holds neither {RESULTS} of an evaluation nor {LOG} of a training run; "
                f"{ALLOWED}"
            )
    return evaluations, runs


def read_rows(path: Path) -> list[Result]:
    """Read the accuracies of an evaluation.

    Raises:
        InputError: There is none, or a row that is none.
    """
    rows = [row for row in read_jsonl(path) if row.metric == METRIC]
    if not rows:
        raise InputError(f"{path} holds no row of {METRIC}; {ALLOWED}")
    try:
        models_of(rows)
    except InputError as error:
        raise InputError(f"{path} holds {error}") from None
    return rows


def read_audits(folders: Iterable[Path]) -> list[AuditRow]:
    """Read the checks of audits: of each check of a model the one on the most images, the last."""
    checks: dict[tuple[object, ...], AuditRow] = {}
    paths = [folder / AUDIT for folder in folders]
    for row in (row for path in paths if path.is_file() for row in read_jsonl(path, AuditRow)):
        key = (row.model, row.model_hash, row.settings.get("norm"), row.check)
        if key not in checks or audited_images(row) >= audited_images(checks[key]):
            checks[key] = row
    return list(checks.values())


def audited_images(row: AuditRow) -> float:
    """Return how many images a check was made on; 0 if the row does not say it."""
    found = row.settings.get("n")
    return found if isinstance(found, int | float) else 0


def pictures(folders: Iterable[Path], name: str) -> list[tuple[str, str]]:
    """Return folder and data address of the pictures of a name, which must be PNG."""
    found = []
    for folder in folders:
        path = folder / name
        if path.is_file():
            content = path.read_bytes()
            if not content.startswith(b"\x89PNG\r\n"):
                raise InputError(f"{path} is not a PNG")
            address = "data:image/png;base64," + base64.b64encode(content).decode()
            found.append((folder.resolve().name, address))
    return found


def base_first(models: Sequence[Model], base: str | None) -> list[Model]:
    """Return the models, the base first: the one of this label or name, or else the first.

    Raises:
        InputError: No model or more than one is called so.
    """
    if base is None:
        return list(models)
    called = [model for model in models if model.label == base]
    called = called or [model for model in models if model.name == base]
    if len(called) != 1:
        allowed = printable(", ".join(model.label for model in models[:20]))
        which = "is the name of several models" if called else "is not among the models"
        raise InputError(f"base {base!r} {which}; allowed: {allowed}")
    return [*called, *(model for model in models if model is not called[0])]


def drawn(models: Sequence[Model]) -> list[Model]:
    """Return the models that plots show: the base and the best of the others.

    Best by the overall mean; of models that lack it, by the next mean that they have.
    """

    def rank(model: Model) -> list[float]:
        return [model.scores[m].estimate.value if m in model.scores else -1 for m in LEADING]

    best = sorted(models[1:], key=rank, reverse=True)[: STYLES - 1]
    return [model for model in models if model is models[0] or model in best]


def verdict(models: Sequence[Model], audit: Sequence[AuditRow]) -> tuple[str, list[str]]:
    """Return whom it is about, and what the intervals say: of the best of the others, if any.

    The best is best by the most telling mean.
    """
    base, *others = models
    for measure in LEADING:
        gains = [(gain, model) for model in others if (gain := model.gain(base, measure))]
        if gains:
            leader = max(gains, key=lambda pair: pair[0].value)[1]
            of = f" (best of {len(gains)} by {MEASURES[measure]})" if len(gains) > 1 else ""
            return f"{leader.label}{of} against {base.label}", findings(leader, base, audit)
    means = [
        f"{name} {percent(base.scores[measure].estimate.value)}%"
        for measure, name in MEASURES.items()
        if measure in base.scores
    ]
    return f"{base.label}, accuracy", means or ["no mean"]


def findings(model: Model, base: Model, audit: Sequence[AuditRow]) -> list[str]:
    """Return whether a model is more robust than the base, as far as interval and audit tell."""
    found = []
    checks = checks_of(model, audit)
    doubt = " (audit failed)" if False in checks else " (audit inconclusive)"
    doubt = "" if checks and all(checks) else doubt if checks else " (not audited)"
    for measure, (where, more, less) in FINDINGS.items():
        if gain := model.gain(base, measure):
            word = {1: more, -1: less, 0: "no difference that the images can show"}[gain.sign]
            word += doubt if measure == "white_box" else ""
            interval = f"[{points(gain.low)}, {points(gain.high)}]"
            found.append(f"{where}: {word}, {points(gain.value)} points {interval}")
    return found


def text_table(models: Sequence[Model], audit: Sequence[AuditRow]) -> str:
    """Return a line a model for the terminal: accuracies in percent, differences in points."""
    base = models[0]
    names = first_column(["accuracy, %", *(model.label for model in models)])
    lines = [names[0] + "".join(f"{name:>{COLUMN_WIDTH}}" for name in MEASURES.values())]
    for line, model in zip(names[1:], models, strict=True):
        for measure in MEASURES:
            score, gain = model.scores.get(measure), model.gain(base, measure)
            cell = percent(score.estimate.value) if score else DASH
            if score and model is not base and measure in base.scores:
                told = points(gain.value) if gain else model.obstacle(base, measure)
                cell += f" ({told})"
            line += f"{cell:>{COLUMN_WIDTH}}"
        failed, unclear = (checks_of(model, audit).count(verdict) for verdict in (False, None))
        line += f"  AUDIT FAILED: {count(failed, 'check')}" if failed else ""
        line += f"  audit inconclusive: {count(unclear, 'check')}" if unclear else ""
        lines.append(line)
    if models[1:]:
        apart = any(model.obstacle(base, measure) for model in models for measure in MEASURES)
        lines.append(
            f"in brackets: points more than {base.label}{', or what else differs' * apart}"
        )
    facts = provenance(models)
    for term, values in facts.items():
        if term in (*MEANS, DISPUTED):
            lines += [f"{term}: {of_models(*each, models)}" for each in values.items()]
    if models[1:]:
        about, found = verdict(models, audit)
        lines.append(f"{about}, with 95% intervals over images, not over trainings:")
        lines += [f"  {finding}" for finding in found]
    return "\n".join(map(printable, lines))


def of_models(value: str, labels: Sequence[str], models: Sequence[Model]) -> str:
    """Return what holds, and of which models if not of all."""
    return f"{value} ({', '.join(labels)})" if 0 < len(labels) < len(models) else value


def checks_of(model: Model, audit: Sequence[AuditRow]) -> list[bool | None]:
    """Return what the checks of its audit say of a model."""
    return [r.passed for r in audit if (r.model, r.model_hash) == (model.name, model.hash)]


def robustness(models: Sequence[Model], audit: Sequence[AuditRow]) -> dict[str, object]:
    """Return what the page shows of robustness, of models with the base first."""
    base, shown = models[0], drawn(models)
    settings = list(dict.fromkeys(setting for model in shown for setting in model.accuracies))
    corrupted = [setting for setting in settings if setting.kind == "corruption"]
    severities = sorted({setting.strength for setting in corrupted})
    gains = [gain for m in shown[1:] for s in corrupted if (gain := m.gain(base, s))]
    means = [gain for m in shown[1:] for key in CONTRASTS if (gain := m.gain(base, key))]
    ticks: list[float] = []  # round numbers, in points
    if means:
        ends = (min(0, *(gain.low for gain in means)), max(0, *(gain.high for gain in means)))
        locator = MaxNLocator(4, steps=[1, 2, 5, 10])
        ticks = list(locator.tick_values(100 * ends[0], 100 * ends[1]))
    # Category -> type -> its settings by severity, and the name of its mean
    rows: dict[str, dict[str, list[str | Setting]]] = {c: {} for c in (*CATEGORIES, EXTRA)}
    for setting in (s for s in corrupted if s.group in rows):
        rows[setting.group][setting.title] = [
            *(replace(setting, strength=severity) for severity in severities),
            f"{setting.group}/{setting.name}",
        ]
    facts = provenance(models)
    extra = {EXTRA: "extra corruptions"} if any(EXTRA in m.scores for m in models) else {}
    return {
        "base": base,
        "models": models,
        "shown": shown,
        "measures": MEASURES | extra,
        "failures": [model.label for model in models if False in checks_of(model, audit)],
        "unclear": [model.label for model in models if None in checks_of(model, audit)],
        "attack_plots": attack_plots(shown),
        "other_attacks": [s for s in settings if s.kind == "attack" and not s.is_plain_pgd],
        "severities": severities,
        "corruptions": rows,
        "compared": {m.label for m in shown[1:] if any(m.gain(base, s) for s in corrupted)},
        "largest": max(0.1, ceil(10 * max((abs(gain.value) for gain in gains), default=0)) / 10),
        "contrasts": CONTRASTS,
        "ticks": ticks,
        "audit": audit,
        "audited_images": audited_images,
        "provenance": facts,
        "means": MEANS,
        "of_models": of_models,
        "disputed": facts.get(DISPUTED, {}),
        "on_others": [
            m.label for m in models[1:] if any(m.obstacle(base, s) == "images" for s in m.rows)
        ],
        "differing": [term for term in PROTOCOL_TERMS if len(facts.get(term, ())) > 1],
    }


def attack_plots(models: Sequence[Model]) -> list[Panel]:
    """Return accuracy against radius, a plot for each norm that was attacked by plain PGD."""
    plots = []
    for norm, name in NORMS.items():
        curves: dict[str, dict[float, Estimate]] = {}
        for model in models:
            curves[model.label] = {
                setting.strength: estimate  # of clean images, 0
                for setting, estimate in model.accuracies.items()
                if setting == CLEAN or (setting.is_plain_pgd and setting.group == norm)
            }
        if any(any(curve) for curve in curves.values()):
            label = f"accuracy against the {name} radius of the attack"
            picture = inline_svg(accuracy_against_radius(norm, curves), label)
            plots.append(Panel(name, picture, ""))
    return plots


def provenance(models: Sequence[Model]) -> dict[str, dict[str, list[str]]]:
    """Return where the numbers come from: term -> what holds -> of which models, [] of all."""
    found: dict[str, dict[str, list[str]]] = {}
    for model in models:
        for term, value in facts_of(model).items():
            values = found.setdefault(term, {})
            if value:
                values.setdefault(str(value), []).append(model.label)
    rows = [row for model in models for rows in model.rows.values() for row in rows]
    return {term: values for term, values in found.items() if values} | {
        "Rows": {f"{len(rows):,}": []},
        "Machine time": {duration(sum(row.seconds for row in rows)): []},
    }


def facts_of(model: Model) -> dict[str, object]:
    """Return what one model's numbers depend on, term by term; nothing for what it has not."""
    rows = [row for rows in model.rows.values() for row in rows]
    types = [s for s in model.accuracies if s.kind == "corruption" and s.group in CATEGORIES]
    severities = sorted({setting.strength for setting in types})
    attacks = sorted(model.white_box.values(), key=lambda setting: setting.strength)
    radii = [
        f"{name} {joined(radius_text(norm, s.strength) for s in attacks if s.group == norm)}"
        for norm, name in NORMS.items()
        if any(setting.group == norm for setting in attacks)
    ]
    pgd = [model.rows[setting][0] for setting in attacks]
    stochastic = any(row.flags.get("stochastic") for row in rows)
    sizes = joined(sorted({row.n for row in rows}))
    names = {setting.name for setting in types}
    over = f"{len(names)} of {IMAGENET_C_TYPES} types, "
    over += "severity " if len(severities) == 1 else "severities "
    over += joined(f"{severity:g}" for severity in severities)
    if lacking := len(names) * len(severities) - len(types):
        over += f"; {lacking} of these {len(names) * len(severities)} conditions are missing"
    paper = {(norm, radius) for norm, each in PAPER_RADII.items() for radius in each}
    is_paper = {(s.group, s.strength) for s in model.white_box} == paper
    which = f"the paper's {len(paper)}" if is_paper else f"not the paper's {len(paper)}"
    digests = list(dict.fromkeys(row.data_hash for row in rows if row.data_hash))
    scaled = any("published_epsilon" in row.condition for row in pgd)
    return {
        "Images": f"{model.data}: {sizes} of {max(row.data_size for row in rows):,}",
        "Digest of the images": joined(digests) if len(digests) < 4 else f"{len(digests)} digests",
        "Classes": joined(row.classes for row in rows if row.classes),
        "Preprocessing": joined(row.preprocessing for row in rows if row.preprocessing),
        DISPUTED: joined(setting.label for setting in model.disputed),
        "Mean over corruptions": types and over,
        "Mean over white box": attacks
        and f"PGD at {count(len(attacks), 'radius', 'radii')}, {which}: {'; '.join(radii)}",
        "Radii": pgd and ("scaled from 224 px to the image size" if scaled else "not scaled"),
        "Steps of PGD": column("steps", pgd),
        "Step rule of PGD": column("step_rule", pgd),
        "Noise draws per gradient": stochastic and column("gradient_samples", pgd),
        "Noise draws per decision": stochastic and column("decision_samples", rows),
        "Corruptions made for images of": column("constants_px", rows, " px"),
        "Textures of frost": column("textures", rows),
        "Corrupted images": column("source", rows),
        "Seeds": joined(row.seed for row in rows),
        "Experiments": joined(row.experiment for row in rows),
        "Versions": joined(f"{name} {v}" for row in rows for name, v in row.versions.items()),
    }


def column(name: str, rows: Iterable[Result], unit: str = "") -> str:
    """Return the different values of a column of conditions; "" if there is none."""
    return joined(f"{r.condition[name]}{unit}" for r in rows if name in r.condition)


def joined(values: Iterable[object]) -> str:
    """Return different values, in order of appearance, with commas."""
    return ", ".join(dict.fromkeys(f"{v:,}" if isinstance(v, int) else str(v) for v in values))
