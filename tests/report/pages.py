"""What every page must be: well formed and self-contained."""

import html.parser
import re


class Audit(html.parser.HTMLParser):
    """Collects what the page refers to and checks that tags are balanced."""

    void = frozenset({"meta", "img", "br", "link", "wbr"})

    def __init__(self):
        super().__init__()
        self.addresses, self.images_without_text, self.open, self.text = [], 0, [], []

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

    def handle_data(self, data):
        self.text.append(data)


def words(page):
    """Return the text of a page, which is checked to be well formed."""
    audit = Audit()
    audit.feed(page)
    assert audit.open == []
    return re.sub(r"\s+", " ", " ".join(audit.text))
