"""docs/frontends.md: its code runs, and its tables are made of presets and rows."""

import json
import re
import shutil
from pathlib import Path

import pytest
import torch

from scripts import draw_frontends
from vonenet.frontends.front_end import STAGES
from vonenet.frontends.presets import PRESETS

PAGE = Path(__file__).parents[2] / "docs" / "frontends.md"


def test_the_worked_example_adds_a_stage(monkeypatch):
    for registry in (STAGES, PRESETS):
        for name in registry:
            monkeypatch.setitem(registry, name, registry[name])  # and take away what is added
    before = set(STAGES), set(PRESETS)
    names: dict = {"__name__": "example"}
    try:
        for code in re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL):
            exec(compile(code, str(PAGE), "exec", dont_inherit=True), names)
        model = names["model"].eval()
        assert model.config.front_end == "vonenet_optics"
        images = torch.rand(1, 3, 64, 64)
        sharp, blurred = images, model.optics(images)
        assert blurred.shape == sharp.shape
        assert blurred.std() < sharp.std()
        assert torch.allclose(model.optics(torch.full_like(images, 0.3)), torch.tensor(0.3))
        again = type(model.config).from_dict(model.config.to_dict())
        assert again == model.config
    finally:
        for registry, known in zip((STAGES, PRESETS), before, strict=True):
            for name in set(registry) - known:
                del registry[name]


@pytest.mark.filterwarnings("ignore::vonenet.VOneNetWarning")
def test_a_section_draws_stages_and_tells_scores_and_cost(tmp_path):
    row = {
        "model": "evnet2025",
        "metric": "ceiled_ks_similarity",
        "value": 0.7,
        "ci_low": 0.6,
        "ci_high": 0.8,
        "n": 12,
        "seed": 3,
        "condition": {"property": "mean", "pixels": 64, "degrees": 2.0, "units": 12},
    }
    (tmp_path / "rows.jsonl").write_text(json.dumps(row) + "\n")
    bench = {"machine": {"name": "AMD", "threads": 2}, "rows": []}
    for name, seconds in (("ours", [1.0, 2.0]), ("V1 alone", [0.5, 1.0]), ("published", [5.0, 10])):
        bench["rows"].append({"case": "front-end", "implementation": name, "seconds": seconds})
    (tmp_path / "amd.json").write_text(json.dumps(bench))
    scores, costs = draw_frontends.read_scores(tmp_path), draw_frontends.read_costs(tmp_path)
    text = draw_frontends.section("evnet2025", scores["evnet2025"], costs["evnet2025"])
    assert "0.70 (0.60 to 0.80) | 12" in text
    assert "2.00 times V1 alone; the published form takes 5.00 times as long (AMD, 2" in text
    assert re.search(r"subcortical +\(B, 4, 224, 224\)", text)
    assert re.search(r"vone_block +\(B, 512, 56, 56\)", text)
    assert "fano_factor 0.4" in text


def test_the_page_has_every_front_end_and_keeps_what_is_written_by_hand(tmp_path, monkeypatch):
    page = Path(shutil.copy(PAGE, tmp_path))
    monkeypatch.setattr(draw_frontends, "section", lambda name, scores, cost: f"### {name}\n")
    monkeypatch.setattr("sys.argv", ["draw_frontends.py", str(page)])
    draw_frontends.main()
    text = page.read_text()
    assert (
        text.partition(draw_frontends.START)[0]
        == PAGE.read_text().partition(draw_frontends.START)[0]
    )
    assert all(f"### {name}\n" in text and f"(#{name})" in text for name in PRESETS)
