"""A template and its contents -> one HTML file, whole or not at all."""

from __future__ import annotations

from pathlib import Path

from jinja2 import Environment, PackageLoader

from vonenet.files import write_whole, written


def write_html(template: str, path: Path, **contents: object) -> None:
    """Render a template of this package, every text escaped, and put it at `path`.

    Raises:
        InputError: the file cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("vonenet.report"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    html = environment.get_template(template).render(**contents)
    with written(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    write_whole(path, html.encode())
