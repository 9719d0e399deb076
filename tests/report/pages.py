"""What every page must be: well formed and self-contained."""

import html.parser
import re
from xml.etree import ElementTree


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

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def tags(picture, name, kind=None):
    found = ElementTree.fromstring(str(picture)).iter(name)
    return [e for e in found if kind is None or kind in e.get("class", "").split()]


def texts(picture):
    return {e.text: (float(e.get("x")), float(e.get("y"))) for e in tags(picture, "text")}


def marks(picture):
    where = (e.get("transform") for e in tags(picture, "path", "mark"))
    return [tuple(map(float, re.findall(r"[-\d.]+", w)[:2])) for w in where]
