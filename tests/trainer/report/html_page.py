"""Reads the pages that are written for people."""

import html.parser


class Page(html.parser.HTMLParser):
    """Collects tags, attributes and text; fails on tags that do not match."""

    def __init__(self, source):
        super().__init__()
        self.tags, self.attributes, self.text, self._open = [], [], "", []
        self.feed(source)
        assert not self._open

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in ("meta", "link", "br", "img"):
            self._open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self._open.pop() == tag

    def handle_data(self, data):
        self.text += data
