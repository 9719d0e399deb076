"""What went into the numbers: coverage of the means, reasons for caution, provenance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from vonenet.report.measured import Measured, Model
from vonenet.report.scores import PAPER_RADII, Score, paper_attacks
from vonenet.report.setting import EXTRA, Setting
from vonenet.report.words import NORMS, by_statement, count, duration, listing, radius

PAPER_TYPES = 15
MANY = 12  # values that are written out one by one


def coverage(models: Sequence[Model], scores: Mapping[str, Mapping[str, Score]]) -> list[str]:
    """What the corruption and white-box means are over, model by model where they differ."""
    corrupted = {m.label: _types(m) for m in models if "corruption" in scores[m.label]}
    attacked = {m.label: _attacks(m) for m in models if "white_box" in scores[m.label]}
    thorough = {model.label: _protocol(model) for model in models if model.label in attacked}
    return [
        f"{what}: {'; '.join(by_statement(statements))}."
        for what, statements in {
            "Corruptions, mean over": corrupted,
            "White box, mean over": attacked,
            "These attacks": thorough,
        }.items()
        if statements
    ]


def cautions(models: Sequence[Model]) -> list[str]:
    """What differs between the models beside the models."""
    found = []
    if len(images := _distinct(model.data for model in models)) > 1:
        found.append(
            f"Models were measured on different images ({listing(images)}): differences between "
            "them are not of the models alone."
        )
    for columns, words in {
        ("steps",): "steps of the same attack",
        ("constants_px",): "the image size that the corruptions' constants are for",
        ("textures", "source"): "the textures of frost or the source of the corrupted images",
        ("decision_samples",): "noise draws per decision",
    }.items():
        if differing := _differing(models, columns):
            found.append(f"Models differ in {words}, as in: {differing}.")
    return found


def provenance(measured: Measured) -> dict[str, str]:
    """Where the numbers come from, term by term."""
    rows = [row for model in measured.models for row in model.rows]
    images = {
        data: [row for model in measured.models if model.data == data for row in model.rows]
        for data in _distinct(model.data for model in measured.models)
    }
    sets = [
        f"{data}: {_range(sorted({row.n for row in own}))} of "
        f"{max(row.data_size for row in own):,} images"
        for data, own in images.items()
    ]
    versions = [
        f"{name} {listing(_distinct(row.versions[name] for row in rows if name in row.versions))}"
        for name in _distinct(name for row in rows for name in row.versions)
    ]
    superseded = f"; {measured.superseded:,} left out, of conditions measured more thoroughly"
    draws = {model.label: _decision(model) for model in measured.models}
    return {
        "Images": "; ".join(sets),
        "Rows": count(len(rows), "row") + (superseded if measured.superseded else ""),
        "Decisions": "; ".join(by_statement(draws)),
        "Seeds": listing(_distinct(str(row.seed) for row in rows), MANY),
        "Versions": ", ".join(versions),
        "Machine time": duration(sum(row.seconds for row in rows)),
    }


def _decision(model: Model) -> str:
    if not _stochastic(model):
        return "one pass, without noise"
    if model.decision_samples == 1:
        return "one pass, with fresh noise"
    return f"mean probability of {model.decision_samples} passes, each with fresh noise"


def _types(model: Model) -> str:
    own = [s for s in model.accuracies if s.kind == "corruption" and s.group != EXTRA]
    types = len({setting.name for setting in own})
    severities = sorted({int(setting.strength) for setting in own})
    which = f"severity {severities[0]}" if len(severities) == 1 else "severities "
    if len(severities) > 1:
        consecutive = severities == list(range(severities[0], severities[-1] + 1))
        ends = f"{severities[0]} to {severities[-1]}"
        which += ends if consecutive else listing([str(each) for each in severities])
    gaps = "" if len(own) == types * len(severities) else ", not all of them for every type"
    of = "the paper's 15 types" if types == PAPER_TYPES else f"{types} of the paper's 15 types"
    return f"{of}, {which}{gaps}"


def _attacks(model: Model) -> str:
    """Radii as measured, by norm."""
    paper = paper_attacks(model)
    measured = [Setting.of(accuracy.rows[0]) for accuracy in paper.values()]
    radii = [
        f"{words} {listing([radius(norm, s.strength) for s in measured if s.group == norm])}"
        for norm, words in NORMS.items()
        if any(setting.group == norm for setting in measured)
    ]
    total = sum(map(len, PAPER_RADII.values()))
    of = "" if len(paper) == total else f"{len(paper)} of "
    share = f"{of}the paper's six settings"
    scaled = ", radii scaled to the image size" * (set(measured) != set(paper))
    return f"PGD at {', '.join(radii)} ({share}{scaled})"


def _protocol(model: Model) -> str:
    """How thoroughly the paper's attacks were made."""
    paper = paper_attacks(model).values()
    steps = _distinct(str(accuracy.column("steps")) for accuracy in paper)
    samples = _distinct(str(accuracy.column("gradient_samples")) for accuracy in paper)
    averaged = f", gradients averaged over {listing(samples)} noise draws"
    return f"{listing(steps)} steps" + (averaged if samples != ["1"] else "")


def _differing(models: Sequence[Model], columns: tuple[str, ...]) -> str:
    """The first setting where models of known noise differ in a column, with the values."""
    if columns == ("decision_samples",):
        models = [model for model in models if _stochastic(model)]
    values: dict[Setting, dict[tuple[object, ...], str]] = {}
    for model in models:
        for setting, accuracy in model.accuracies.items():
            value = tuple(accuracy.column(column) for column in columns)
            known = values.setdefault(setting, {})
            known.setdefault(value, model.label)
            if len(known) > 1:
                told = (f"{_words(each)} ({label})" for each, label in known.items())
                return f"{setting.label}: {' and '.join(told)}"
    return ""


def _words(values: tuple[object, ...]) -> str:
    return ", ".join(str(value) for value in values if value is not None) or "none told"


def _stochastic(model: Model) -> bool:
    return any(row.flags.get("stochastic") for row in model.rows)


def _range(numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"{numbers[0]:,}"
    return f"{numbers[0]:,} to {numbers[-1]:,}"


def _distinct(values: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(values))
