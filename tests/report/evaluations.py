"""Folders as `vonenet evaluate` writes them, with planted accuracies."""

import json
from dataclasses import asdict

from vonenet.results import Result, wilson_interval

CATEGORIES = {
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
    "extra": ("speckle_noise", "gaussian_blur", "spatter", "saturate"),
}
PAPER = {"linf": (1 / 1020, 1 / 255), "l2": (0.15, 0.6), "l1": (40.0, 160.0)}
EVNETS = {
    "linf": (1 / 1020, 1 / 255, 4 / 255, 16 / 255),
    "l2": (0.15, 0.6, 2.4, 9.6),
    "l1": (40.0, 160.0, 640.0, 2560.0),
}


def measured(model, correct, n=1000, *, data="photos/val 224px", seed=0, **changes):
    """A row of so many correct decisions; other keywords are columns of its condition."""
    fields = {"model_hash": f"{model}".encode().hex()[:16], "flags": {"stochastic": False}}
    fields |= {key: changes.pop(key) for key in ("model_hash", "flags", "metric") if key in changes}
    low, high = wilson_interval(correct, n)
    return Result(
        **{
            "experiment": "test",
            "model": model,
            "data": data,
            "data_size": 50_000,
            "condition": {"decision_samples": 1, **changes},
            "metric": "accuracy",
            "value": correct / n,
            "ci_low": low,
            "ci_high": high,
            "n": n,
            "seed": seed,
            "versions": {"python": "3.11.7", "torch": "2.15.0", "vonenet": "0.1.0"},
            "seconds": 2.0,
            **fields,
        }
    )


def corrupted(model, name, severity, correct, **changes):
    category = next(c for c, names in CATEGORIES.items() if name in names)
    columns = {"corruption": name, "category": category, "severity": severity}
    return measured(model, correct, **columns, **changes)


def attacked(model, norm, epsilon, correct, attack="pgd", steps=64, **changes):
    columns = {"attack": attack, "norm": norm, "epsilon": epsilon, "steps": steps}
    return measured(model, correct, **columns, **{"gradient_samples": 1, **changes})


def full_suite(model, clean, resists, n=1000, protocol=(), **changes):
    """111 rows or so: clean, 19 corruptions at 5 severities, 12 PGD settings, 3 other attacks.

    Args:
        model: its name.
        clean: accuracy on clean images.
        resists: 0 to about 1, how slowly accuracy falls under attack.
        n: images.
        protocol: further columns of attacks.
        changes: further columns of all rows.
    """
    rows = [measured(model, round(clean * n), n, **changes)]
    for place, (name, s) in enumerate(
        (c, s) for cs in CATEGORIES.values() for c in cs for s in range(1, 6)
    ):
        share = clean * (1 - 0.13 * s * (0.7 + 0.6 * ((place // 5 * 7) % 5) / 4 - 0.25 * resists))
        rows.append(corrupted(model, name, s, round(max(share, 0.01) * n), n=n, **changes))
    columns = {**changes, **dict(protocol)}
    for norm, radii in EVNETS.items():
        for place, epsilon in enumerate(radii):
            share = clean * resists ** (0.12 * 3.2**place)
            rows.append(attacked(model, norm, epsilon, round(share * n), n=n, **columns))
    for method in ("apgd", "apgd-dlr", "square"):
        share = clean * resists ** (0.36 if method != "square" else 0.2)
        rows.append(attacked(model, "linf", 1 / 255, round(share * n), method, n=n, **columns))
    return rows


def write_folder(folder, rows, checks=(), picture=None):
    folder.mkdir(parents=True, exist_ok=True)
    lines = (json.dumps(asdict(row)) + "\n" for row in rows)
    (folder / "results.jsonl").write_text("".join(lines))
    if checks:
        (folder / "audit.jsonl").write_text("".join(json.dumps(c) + "\n" for c in checks))
    if picture:
        (folder / "examples.png").write_bytes(picture)
    return folder


def check(model, name, passed, **changes):
    return {
        "model": model,
        "model_hash": f"{model}".encode().hex()[:16],
        "check": name,
        "passed": passed,
        "value": 0.31,
        "expected": "at most 0.3",
        "explanation": "Random noise of the same size should not do better than the attack.",
        **changes,
    }
