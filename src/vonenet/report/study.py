"""Measured models beside the base that they are compared with."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property

from vonenet.errors import InputError
from vonenet.report.differences import Estimate, difference
from vonenet.report.findings import LEADING, Tally, comparison
from vonenet.report.measured import Check, Measured, Model
from vonenet.report.scores import Score, scores_of
from vonenet.report.setting import Setting
from vonenet.report.svg import STYLES
from vonenet.report.words import listing, printable


@dataclass(frozen=True)
class Study:
    """Models and the base that they are compared with.

    Attributes:
        measured: all that was read.
        base: one of the models.
    """

    measured: Measured
    base: Model

    @classmethod
    def against(cls, measured: Measured, base: str | None) -> Study:
        """The study against a base.

        Args:
            measured: at least one model.
            base: label or name of a model; None: the first.

        Raises:
            InputError: no model or more than one is called so.
        """
        if base is None:
            return cls(measured, measured.models[0])
        called = [m for m in measured.models if m.label == base]
        called = called or [m for m in measured.models if m.name == base]
        if len(called) != 1:
            allowed = printable(listing([model.label for model in measured.models], 20))
            which = "is not among the models" if not called else "is the name of several models"
            raise InputError(f"base {base!r} {which}; allowed: {allowed}")
        return cls(measured, called[0])

    @cached_property
    def others(self) -> list[Model]:
        """All models but the base, in order of appearance."""
        return [model for model in self.measured.models if model is not self.base]

    @property
    def models(self) -> list[Model]:
        """All models, the base first."""
        return [self.base, *self.others]

    @cached_property
    def scores(self) -> dict[str, dict[str, Score]]:
        """Scores by label of the model."""
        return {model.label: scores_of(model) for model in self.models}

    @cached_property
    def drawn(self) -> list[tuple[int, Model]]:
        """Models that the charts show, each with its style: the base and the best of the others.

        Best by the overall mean; of models that lack it, by the next mean that they have.
        """
        best = sorted(self.others, key=self._rank, reverse=True)[: STYLES - 1]
        chosen = [model for model in self.models if model is self.base or model in best]
        return list(enumerate(chosen))

    @cached_property
    def differences(self) -> dict[str, dict[Setting, Estimate]]:
        """By label: a model less the base, under every setting that both were measured under."""
        base = self.base.accuracies
        return {
            model.label: {
                setting: difference(accuracy.estimate, base[setting].estimate)
                for setting, accuracy in model.accuracies.items()
                if setting in base
            }
            for model in self.others
        }

    @property
    def settings(self) -> list[Setting]:
        """Settings of the models that are drawn, in order of appearance."""
        return list(dict.fromkeys(s for _, model in self.drawn for s in model.accuracies))

    def finding(self, of: Callable[[Setting], bool], noun: str, plural: str) -> str | None:
        """How the models compare with the base under some of the settings.

        Args:
            of: whether a setting is one of them.
            noun: what one is called.
            plural: what more are called.
        """
        tallies = {
            label: Tally.of([gain for setting, gain in gains.items() if of(setting)])
            for label, gains in self.differences.items()
        }
        return comparison(tallies, self.base.label, noun, plural)

    def failures(self, model: Model) -> list[Check]:
        """Checks of the audit that a model failed."""
        return [
            check
            for check in self.measured.audit
            if not check.passed and (check.model, check.model_hash) == (model.name, model.hash)
        ]

    def _rank(self, model: Model) -> list[float]:
        own = self.scores[model.label]
        return [own[name].estimate.value if name in own else -1.0 for name in LEADING]
