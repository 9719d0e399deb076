"""The page of recorded layers: whole, self-contained, and telling what is missing as such."""

import re
from html.parser import HTMLParser

import numpy as np
import pytest

from tests.report.recordings import (
    built,
    planted,
    saved_rows,
    with_silent,
    with_values,
    without_curves,
)
from vonenet.errors import InputError
from vonenet.physiology.rows import recording_rows
from vonenet.report.physiology import write_physiology_report
from vonenet.results import append_jsonl

VOID = {"meta", "br", "img", "wbr"}
HOSTILE = '"><script>alert(1)</script>&\x1b[31m'


class Balanced(HTMLParser):
    """Fails where an element closes another than the one that is open."""

    def __init__(self):
        super().__init__()
        self.open, self.text = [], []

    def handle_starttag(self, tag, attrs):
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def written(recordings, folder):
    """Text of the terminal and HTML of the page, which is checked to be well formed."""
    out = folder / "page" / "report.html"
    text = write_physiology_report(recordings, saved_rows(recordings, folder), out)
    html = out.read_text()
    page = Balanced()
    page.feed(html)
    assert page.open == []
    assert not re.findall(r"(?i)(?<![a-z0-9+/=])(?:nan|inf)(?![a-z0-9+/=])", html)
    return text, html


def words(html):
    page = Balanced()
    page.feed(html)
    return re.sub(r"\s+", " ", " ".join(page.text))


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    recordings = [
        built(planted("one", stochastic=True), cut=2),
        with_values(planted("two", seed=1), surround_suppression_index=0, strongly_suppressed=0),
    ]
    return recordings, *written(recordings, tmp_path_factory.mktemp("pair"))


def test_every_row_is_on_the_page(pair):
    recordings, text, html = pair
    said = words(html)
    for recording in recordings:
        for row in recording_rows(recording):
            if row.metric == "ceiled_ks_similarity":
                assert f"{row.value:.2f}" in said
                assert f"{row.value:.2f}" in text
            if row.metric == "ks_similarity" and row.value:
                assert f"similarity {row.value:#.3g} [" in said


def test_the_page_loads_nothing(pair):
    html = pair[2]
    assert not re.findall(r"(?:src|href)=\"(?!data:|#)[^\"]*\"", html)
    assert "http" not in html.replace("https://creativecommons", "")
    assert "url(" not in html
    assert "<script" not in html
    assert html.count("data:image/png;base64,") >= 12


def test_every_section_is_there(pair):
    said = words(pair[2])
    for heading in (
        "Distributions over units beside V1",
        "Properties of which no histogram is public",
        "Example units",
        "Measured beside what was built in",
        "How it was measured",
        "Every number",
    ):
        assert heading in said
    for setting in ("8 degrees", "224 x 224 px, 28 px/degree", "8.50 x response + 0.82", "47 s"):
        assert setting in said


def test_the_terminals_table_is_aligned(pair):
    lines = pair[1].splitlines()
    assert len({len(line) for line in lines}) == 1
    assert lines[0].split()[-2:] == ["one", "two"]
    assert lines[1].split() == ["v1", "v1"]
    assert len(lines) == 2 + 10 + 1


def test_hostile_names_are_escaped(tmp_path):
    text, html = written([planted(HOSTILE, layer=HOSTILE), planted("two", layer="<i>")], tmp_path)
    assert "<script" not in html
    assert "<i>" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&amp;" in html
    assert "\x1b" not in text


def test_a_layer_without_some_properties(tmp_path):
    lacking = with_values(
        planted(), sf_bandwidth_complex=np.nan, c50=np.nan, strongly_suppressed=np.nan
    )
    text, html = written([lacking], tmp_path)
    assert "none of 12 units has one" in words(html)
    assert "none of 24 units has one" in words(html)
    assert "Semi-saturation" not in html
    assert "0.00 (none)" in text


def test_a_layer_without_curves(tmp_path):
    _, html = written([without_curves(planted())], tmp_path)
    assert "not measured" in html


def test_a_single_responsive_unit(tmp_path):
    silent = np.arange(24) != 3
    _, html = written([with_silent(planted(), silent)], tmp_path)
    assert "1 unit of 24 responds in every experiment: all are shown." in words(html)
    assert html.count('<figure class="unit">') == 1
    assert "no complex unit responds" in words(html)


def test_nobody_responds(tmp_path):
    _, html = written([with_silent(planted(), np.ones(24, bool))], tmp_path)
    assert "No unit responds in every experiment." in words(html)
    assert '<figure class="unit">' not in html


def test_one_unit_of_one_channel(tmp_path):
    text, html = written([planted(units=1)], tmp_path)
    assert "1 channel, 56 x 56" in words(html)
    assert "1 unit of 1 responds" in words(html)
    assert len(text.splitlines()) == 13


def test_a_deterministic_model_has_no_noise(pair, tmp_path):
    assert words(pair[2]).count("no noise") == 2  # Fano factor and correlation of the second
    _, html = written([planted()], tmp_path)
    assert "Fano factor</h3>" not in html


def test_an_experiment_that_was_not_run(tmp_path):
    whole = planted()
    fewer = {name: whole.populations[name] for name in ("orientation", "noise")}
    _, html = written([planted(populations=fewer), planted("two", seed=1)], tmp_path)
    said = words(html)
    assert "not measured" in said
    assert "The similarity of two v1 to V1 is" in said
    _, html = written([planted(populations=fewer)], tmp_path / "alone")
    assert "the mean over 1 published property." in words(html)


def test_six_layers_fit_and_the_later_ones_are_folded(tmp_path):
    recordings = [planted(f"model {i}", seed=i) for i in range(6)]
    _, html = written(recordings, tmp_path)
    assert len(html) < 2_000_000
    assert html.count("<details>") == 4 + 6  # units of all but two layers, every layer's numbers


def test_rows_that_are_missing_are_told(tmp_path):
    path = saved_rows([planted("other")], tmp_path)
    with pytest.raises(InputError, match="has no row of planted v1 as it was recorded"):
        write_physiology_report([planted()], path, tmp_path / "report.html")
    with pytest.raises(InputError, match="no recording"):
        write_physiology_report([], path, tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_rows_of_other_settings_are_not_shown(tmp_path):
    recording = planted()
    wider = planted(settings=recording.settings | {"degrees": 4.0}, seed=5)
    path = saved_rows([recording], tmp_path)
    alone = write_physiology_report([recording], path, tmp_path / "a.html")
    append_jsonl(path, recording_rows(wider))
    append_jsonl(path, recording_rows(planted(settings=recording.settings | {"seed": 1})))
    assert write_physiology_report([recording], path, tmp_path / "b.html") == alone
    assert (tmp_path / "a.html").read_text() == (tmp_path / "b.html").read_text()
