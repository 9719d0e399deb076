"""A template and its contents -> one HTML file, whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from jinja2 import Environment, PackageLoader

from vonenet.errors import InputError


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
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(html, encoding="utf-8")
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise InputError(f"{path} cannot be written: {error.strerror}") from error
