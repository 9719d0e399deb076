"""The page: self-contained, complete, escaped, and with the rows' own numbers."""

import html.parser
import re

import numpy as np
import pytest

from tests.report.rows import BASE_ROWS, VONE_ROWS, row
from vonenet.errors import InputError
from vonenet.report.comparison import (
    Cell,
    Comparison,
    Decision,
    Example,
    Tile,
    V1Figures,
    write_page,
)
from vonenet.report.pictures import data_address, kernel_mosaic, photo, response_map
from vonenet.report.setting import Setting

PICTURE = data_address(np.zeros((2, 2, 3), np.uint8))


def comparison(**changes):
    cell = Cell("45°", PICTURE, PICTURE, PICTURE)
    tile = Tile("clean", PICTURE, [Decision("base", "Coat <b>", False)])
    fields = {
        "title": "a demo",
        "rows": [*BASE_ROWS, *VONE_ROWS],
        "base": "base",
        "vone": "VOneNet",
        "examples": [Example("Shirt", [tile])],
        "v1": V1Figures(PICTURE, "filters", PICTURE, "credit", [cell], [cell]),
        "method": {"Images": "twelve"},
        "files": {"results.jsonl": "rows"},
    }
    return Comparison(**{**fields, **changes})


class Audit(html.parser.HTMLParser):
    """Collects what the page refers to and checks that tags are balanced."""

    void = frozenset({"meta", "img", "br", "link", "wbr"})

    def __init__(self):
        super().__init__()
        self.addresses, self.images_without_text, self.open = [], 0, []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[key] for key in ("src", "href") if key in attributes]
        self.images_without_text += tag == "img" and not attributes.get("alt")
        if tag not in self.void:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


@pytest.fixture
def page(tmp_path):
    write_page(comparison(), tmp_path / "report.html")
    assert [path.name for path in tmp_path.iterdir()] == ["report.html"]
    return (tmp_path / "report.html").read_text()


def test_the_page_is_self_contained_and_well_formed(page):
    audit = Audit()
    audit.feed(page)
    assert audit.open == []
    assert audit.images_without_text == 0
    outside = [a for a in audit.addresses if not a.startswith("data:image/png;base64,")]
    assert outside == ["results.jsonl"]
    assert "url(" not in page
    assert "<script" not in page


def test_the_page_begins_with_the_verdict_and_the_table(page):
    body = page[page.index("<body>") :]
    assert body.index("more robust") < body.index("<table>") < body.index("Accuracy by condition")
    assert re.search(r"clean images</td><td>85.0</td><td>95.0</td><td[^>]*>\+10.0", body)


def test_every_condition_is_there_with_its_interval(page):
    for text in ("contrast, severity 5", "PGD L∞, ε 4/255", "PGD L2, ε 1.5", "[35.0, 45.0]"):
        assert text in page


def test_axis_labels_stand_at_their_grid_lines(page):
    """Lines are drawn at every quarter of the track, labels centred at the same shares of it."""
    assert "background-size: 25% 100%" in page
    labels = re.findall(r'<i style="left:(\d+)%">(\d+)(?: %)?</i>', page)
    assert [place for place, label in labels if place == label] == 3 * [
        "0",
        "25",
        "50",
        "75",
        "100",
    ]
    assert len(labels) == 15


def test_text_is_escaped(page):
    assert "Coat &lt;b&gt; ✗" in page


def test_losses_are_marked_as_such(tmp_path):
    rows = [*BASE_ROWS, *[row("VOneNet", r.value - 0.1, **r.condition) for r in BASE_ROWS]]
    write_page(comparison(rows=rows), tmp_path / "r.html")
    page = (tmp_path / "r.html").read_text()
    assert "not more robust" in page
    assert 'class="gain worse">\N{MINUS SIGN}10.0' in page


def test_rows_of_a_missing_model_are_named(tmp_path):
    with pytest.raises(InputError, match="no row of VOneNet, only of base"):
        write_page(comparison(rows=BASE_ROWS), tmp_path / "r.html")
    assert list(tmp_path.iterdir()) == []


def test_labels_say_what_was_done():
    assert Setting.of(BASE_ROWS[0]).label == "clean"
    assert Setting.of(BASE_ROWS[1]).label == "contrast, severity 3"


def test_pictures_have_the_right_shapes_and_signs():
    assert photo(np.zeros((1, 4, 5))).shape == (4, 5)
    assert photo(np.ones((3, 4, 5))).shape == (4, 5, 3)
    dark, bright = response_map(np.array([[0.0, 9.0]]), 1.0)[0].astype(int).sum(axis=1)
    assert dark < 20 < bright
    kernels = np.zeros((5, 3, 3))
    kernels[0, 0, 0], kernels[1, 0, 0] = 1.0, -1.0
    mosaic = kernel_mosaic(kernels, columns=3, scale=2, gap=1)
    assert mosaic.shape == (2 * 6 + 1, 3 * 6 + 2, 3)
    red, blue = mosaic[0, 0].astype(int), mosaic[0, 7].astype(int)
    assert red[0] > red[2]
    assert blue[2] > blue[0]
