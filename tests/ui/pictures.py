"""Makes the pictures in docs/ui: `make ui-pictures`. The history of the estate is spread over ten minutes."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright
from ui.estate import SERVICES, Estate, estate, service
from ui.page import page

SPREAD = """
update omnicdc.history h
   set at = clock_timestamp() - interval '1 second' * (3 + (n.newest - h.id) * 600.0 / n.newest)
  from (select max(id) as newest from omnicdc.history) n
"""
WRITES = 60


def write_for_a_while(served: Estate) -> None:
    """Publish some generations of different sizes."""
    for number in range(WRITES):
        count = 1 + number * 7 % 23 if number % 9 == 0 else 1
        served.write(*(service(it, domain=f"v{number}") for it in range(count)))
    served.execute(SPREAD)


def main() -> None:
    """Make the pictures in the directory of the first argument."""
    directory = Path(sys.argv[1])
    directory.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory() as place,
        estate(Path(place), hostile=False) as served,
        sync_playwright() as playwright,
        page(served.environ) as shown,
    ):
        write_for_a_while(served)
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=arguments)

        def picture(name: str, path: str, height: int, scheme: str = "light") -> None:
            context = browser.new_context(
                base_url=shown.url, viewport={"width": 1280, "height": height}, color_scheme=scheme
            )
            tab = context.new_page()
            tab.goto(path)
            tab.screenshot(path=directory / f"{name}.png")
            context.close()

        picture("overview", "/", 1100)
        picture("project", f"/projects/{SERVICES[3]['id']}", 900)
        served.lose()
        picture("guard", "/guard", 760, "dark")
        browser.close()


if __name__ == "__main__":
    main()
