"""Pictures of each tab of the page of a running service, for docs/service.md.

loc2vec demo
python docs/make/screenshots.py http://127.0.0.1:8000
"""

import io
from pathlib import Path

import click
from PIL import Image
from playwright.sync_api import ViewportSize

from tests.browser import launched

OUT = Path(__file__).parents[1] / "gallery"
SIZE: ViewportSize = {"width": 1280, "height": 800}
MAP = "map=15/43.7360/7.4240"
HARBOUR = ";".join(
    f"{lat},{lon}"
    for lat, lon in ((43.7347, 7.4213), (43.7365, 7.4250), (43.7342, 7.4230), (43.7356, 7.4262))
)
TABS = {
    "place": f"mode=place&a=43.73840,7.42460&{MAP}",
    "compare": f"mode=compare&a=43.73840,7.42460&b=43.72770,7.41570&{MAP}",
    "sum": f"mode=sum&a=43.73840,7.42460&b=43.73470,7.42130&c=43.72770,7.41570&{MAP}",
    "walk": f"mode=walk&a=43.73840,7.42460&{MAP}",
    "teach": f"mode=teach&taught=harbour:{HARBOUR}&{MAP}",
}


@click.command()
@click.argument("url")
def main(url: str) -> None:
    """Write docs/gallery/page-TAB.webp for each tab."""
    with launched() as browser:
        for tab, fragment in TABS.items():
            page = browser.new_page(viewport=SIZE)
            page.goto(f"{url}/#{fragment}")
            page.wait_for_load_state("networkidle")
            page.wait_for_timeout(1500)  # tiles fade in
            picture = Image.open(io.BytesIO(page.screenshot()))
            picture.save(OUT / f"page-{tab}.webp", quality=80, method=6)
            page.close()


if __name__ == "__main__":
    main()
