"""evaluate_stored: rows like those of computed corruptions, on the stored images themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from vonenet.errors import InputError
from vonenet.robustness import Corruption, StoredCorruption, evaluate_stored


class BrightOrDark(nn.Module):
    """Class 1 for bright images."""

    def forward(self, pixels: Tensor) -> Tensor:
        bright = pixels.mean(dim=(1, 2, 3)) - 0.5
        return torch.stack([-bright, bright], dim=1)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Ten images a severity; the first `severity` of the five bright ones have turned dark."""
    labels = np.tile(np.repeat(np.array([1, 0], dtype=np.uint8), 5), 5)
    levels = 200 * labels.reshape(5, 10)
    for severity in range(5):
        levels[severity, : severity + 1] = 10
    images = np.broadcast_to(levels.reshape(50, 1, 1, 1).astype(np.uint8), (50, 32, 32, 3))
    for name in ("fog", "spatter"):
        np.save(tmp_path / f"{name}.npy", images)
    np.save(tmp_path / "labels.npy", labels)
    return tmp_path


def test_rows_are_those_of_the_stored_images(root: Path) -> None:
    rows = evaluate_stored(
        BrightOrDark(),
        root,
        names=["fog", "spatter"],
        severities=[1, 4],
        experiment="stored",
        model_name="toy",
        progress=False,
    )
    assert [row.value for row in rows] == pytest.approx([0.9, 0.6, 0.9, 0.6])
    assert [row.condition["category"] for row in rows] == ["weather", "weather", "extra", "extra"]
    computed = Corruption("fog", 4).columns((32, 32))
    assert rows[1].condition == computed | {"source": "stored", "decision_samples": 1}
    assert rows[1].data == f"{root}/fog/4 32px"
    assert rows[1].n == 10


def test_known_rows_are_found_again(root: Path, tmp_path: Path) -> None:
    def run() -> list[float | None]:
        rows = evaluate_stored(
            BrightOrDark(),
            root,
            names=["fog"],
            experiment="stored",
            model_name="toy",
            out_path=tmp_path / "rows.jsonl",
            progress=False,
        )
        return [row.seconds for row in rows]

    assert run() == run()


def test_a_missing_corruption_is_named_before_any_is_measured(root: Path, tmp_path: Path) -> None:
    out_path = tmp_path / "rows.jsonl"
    with pytest.raises(InputError, match=r"gaussian_noise/1/ nor gaussian_noise\.npy"):
        evaluate_stored(
            BrightOrDark(), root, experiment="stored", model_name="toy", out_path=out_path
        )
    with pytest.raises(InputError, match="holds neither snow"):
        evaluate_stored(
            BrightOrDark(),
            root,
            names=["fog", "snow"],
            experiment="stored",
            model_name="toy",
            out_path=out_path,
        )
    assert not out_path.exists()
    with pytest.raises(InputError, match="at least one"):
        evaluate_stored(BrightOrDark(), root, names=[], experiment="stored", model_name="toy")
    with pytest.raises(InputError, match="'sepia' is unknown"):
        StoredCorruption("sepia", 1)
