"""Result rows for the report's tests."""

from vonenet.results import Result


def row(model, value, **condition):
    return Result(
        experiment="test",
        model=model,
        model_hash="0" * 16,
        data="images",
        data_size=100,
        condition=condition,
        metric="accuracy",
        value=value,
        ci_low=max(value - 0.05, 0),
        ci_high=min(value + 0.05, 1),
        n=100,
        seed=0,
    )


def model_rows(model, shift):
    return [
        row(model, 0.85 + shift),
        row(model, 0.6 + shift, corruption="contrast", category="digital", severity=3),
        row(model, 0.4 + shift, corruption="contrast", category="digital", severity=5),
        row(model, 0.3 + shift, attack="pgd", norm="linf", epsilon=4 / 255),
        row(model, 0.2 + shift, attack="pgd", norm="l2", epsilon=1.5),
    ]


BASE_ROWS = model_rows("base", 0.0)
VONE_ROWS = model_rows("VOneNet", 0.1)
