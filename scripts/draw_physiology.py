"""Draws docs/images/physiology-*.png: two sections of the page of `vonenet physiology`.

python scripts/draw_physiology.py physiology/report.html    # needs chromium
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from PIL import Image, ImageChops

TARGET = Path(__file__).parents[1] / "docs" / "images"
SIZE_PX = (1200, 3600)
MARGIN_PX = 12
UNITS = 4


def main() -> None:
    """Draw the pictures of the page that is given."""
    page = Path(sys.argv[1]).read_text()
    head, body = page.split("<body>")
    sections = body.split("<section>")
    populations = next(each for each in sections if "<h2>Distributions over units" in each)
    units = re.findall(r'<figure class="unit">.*?</figure>', body, re.DOTALL)[:UNITS]
    draw(f"{head}<body>{populations}", TARGET / "physiology-populations.png")
    draw(f"{head}<body>{''.join(units)}", TARGET / "physiology-units.png")


def draw(html: str, target: Path) -> None:
    """Draw a light page, without its margins."""
    with tempfile.TemporaryDirectory() as folder:
        page, picture = Path(folder) / "page.html", Path(folder) / "page.png"
        page.write_text(html.replace("color-scheme: light dark", "color-scheme: light"))
        command = ["chromium", "--headless=new", "--no-sandbox", "--hide-scrollbars"]
        command += ["--window-size={},{}".format(*SIZE_PX), f"--screenshot={picture}", str(page)]
        subprocess.run(command, check=True, capture_output=True)  # noqa: S603 - of our own page
        with Image.open(picture) as shot:
            colors = shot.convert("RGB")
    left, top, right, bottom = ImageChops.invert(colors).getbbox() or (0, 0, *colors.size)
    box = (left - MARGIN_PX, top - MARGIN_PX, right + MARGIN_PX, bottom + MARGIN_PX)
    colors.crop(box).save(target, optimize=True)
    print(target)


if __name__ == "__main__":
    main()
