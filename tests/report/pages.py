"""What every page must be: well formed, self-contained, each name given once."""

import html.parser
import re


class Audit(html.parser.HTMLParser):
    """Checks that tags are balanced; collects text, names and what the page refers to."""

    void = frozenset({"meta", "img", "br", "link", "wbr"})

    def __init__(self):
        super().__init__()
        self.open, self.text, self.names, self.addresses = [], [], [], []

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.addresses += [attributes[key] for key in ("src", "href") if key in attributes]
        self.addresses += re.findall(r"url\((.*?)\)", " ".join(map(str, attributes.values())))
        self.names += [attributes["id"]] if "id" in attributes else []
        assert tag != "img" or attributes["alt"]
        if tag not in self.void:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in self.void:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text.append(data)


def words(page):
    """Return the text of a page, which is checked to be as a page must be."""
    audit = Audit()
    audit.feed(page)
    assert audit.open == []
    assert len(audit.names) == len(set(audit.names))
    for address in audit.addresses:
        assert address.startswith("data:image/png;base64,") or address[1:] in audit.names
    return re.sub(r"\s+", " ", " ".join(audit.text))
