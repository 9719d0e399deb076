"""What was done to the images, apart from how thoroughly: the key that models are compared by."""

from __future__ import annotations

from dataclasses import dataclass

from vonenet.report.words import NORMS, radius
from vonenet.results import Result

CATEGORIES = ("noise", "blur", "weather", "digital")
EXTRA = "extra"  # the four types of corruption outside the paper's mean
# Columns of an attack that say how thoroughly it was made, or follow from the others.
PROTOCOL = {"attack", "norm", "epsilon", "steps", "step_size", "gradient_samples"}
PROTOCOL |= {"decision_samples", "published_epsilon"}
# Step rules of plain PGD; the other, sparse steps of L1, makes a stronger variant.
PLAIN_STEPS = {"sign", "normalized", "dense"}
ATTACK_NAMES = {"square": "Square", "autoattack": "AutoAttack"}


@dataclass(frozen=True)
class Setting:
    """Clean images, a corruption at a severity, or an attack at a radius.

    Attributes:
        kind: "clean", "corruption" or "attack".
        name: of the corruption or attack; variants of an attack have names of their own.
        group: category of a corruption, norm of an attack.
        strength: severity, or radius in pixels of [0, 1].
    """

    kind: str
    name: str = ""
    group: str = ""
    strength: float = 0.0

    @classmethod
    def of(cls, row: Result) -> Setting:
        """The setting of a row."""
        condition = row.condition
        if "corruption" in condition:
            kind, category = str(condition["corruption"]), str(condition["category"])
            return cls("corruption", kind, category, float(condition["severity"]))
        if "attack" in condition:
            return cls(
                "attack", _attack_name(row), str(condition["norm"]), float(condition["epsilon"])
            )
        return CLEAN

    @property
    def label(self) -> str:
        """In words, such as `gaussian noise, severity 3` or `PGD L2, epsilon 0.6`."""
        if self.kind == "corruption":
            return f"{self.title}, severity {self.strength:g}"
        if self.kind == "attack":
            norm = NORMS.get(self.group, self.group)
            return f"{self.title} {norm}, \N{GREEK SMALL LETTER EPSILON} {self.radius}"
        return "clean"

    @property
    def title(self) -> str:
        """The name in words."""
        if self.kind == "corruption":
            return self.name.replace("_", " ").replace("jpeg", "JPEG")
        method, *variant = self.name.split(", ")
        return ", ".join([ATTACK_NAMES.get(method, method.upper()), *variant])

    @property
    def radius(self) -> str:
        """The radius of an attack in words."""
        return radius(self.group, self.strength)

    @property
    def is_plain_pgd(self) -> bool:
        """PGD as in the paper: no restart, momentum or target."""
        return self.kind == "attack" and self.name == "pgd"


CLEAN = Setting("clean")


def _attack_name(row: Result) -> str:
    variant = [
        f"{column.replace('_', ' ')} {value}"
        for column, value in sorted(row.condition.items())
        if column not in PROTOCOL and not (column == "step_rule" and value in PLAIN_STEPS)
    ]
    return ", ".join([str(row.condition["attack"]), *variant])
