"""The page in a real Chromium: `make test-ui`. Screenshots of each page are below .cache/ui."""

from __future__ import annotations

import os
import shutil
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.host import DEADLINE_S
from ui.estate import LONG, SCRIPT, SERVICES, service

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Browser
    from playwright.sync_api import Page as Tab
    from ui.estate import Estate
    from ui.page import Page

CHROMIUM = next((found for name in ("chromium", "chromium-browser") if (found := shutil.which(name))), None)

pytestmark = [
    pytest.mark.ui,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: `apt-get install chromium`"),
    pytest.mark.skipif(find_spec("playwright") is None, reason="the extra test-ui is not installed"),
]

PICTURES = Path(__file__).parents[2] / ".cache/ui"

PROJECT = f"/projects/{SERVICES[3]['id']}"
LOST = f"/projects/{SERVICES[10]['id']}"
REGISTRY = "/registries/PROJECT_REGISTRY_V1.yaml"

VARIED = ("overview", "lost", "registry", "guard", "error")
"""These have every element of the pages: in other widths and colours, they stand for all."""

WATCH = """
addEventListener("securitypolicyviolation",
  (it) => console.error("CSP: " + it.violatedDirective + " " + it.blockedURI));
window.shifts = [];
new PerformanceObserver((list) => {
  for (const it of list.getEntries()) {
    window.shifts.push([it.value, it.sources.map((s) => s.node && s.node.outerHTML)]);
  }
}).observe({ type: "layout-shift", buffered: true });
"""

LEVELS = "[...document.querySelectorAll('h1, h2, h3, h4')].map((it) => +it.tagName[1])"

BEYOND = """
() => [...document.querySelectorAll("body *")].filter((it) => !it.closest(".box, .hidden, .skip, svg"))
  .filter((it) => it.getBoundingClientRect().right > innerWidth + 1).map((it) => it.outerHTML.slice(0, 200))
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    from playwright.sync_api import sync_playwright  # noqa: PLC0415 - it may be missing

    with sync_playwright() as playwright:
        # As root, Chromium's sandbox does not start.
        arguments = ["--no-sandbox"] if os.getuid() == 0 else []
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=arguments)
        yield browser
        browser.close()


class Tabs:
    """Opens tabs that record errors, violations of the policy, and layout shifts."""

    def __init__(self, browser: Browser, page: Page) -> None:
        self._browser, self._page = browser, page
        self.complaints: list[str] = []
        self._status = 200

    def open(self, path: str) -> Tab:
        """Open a page in a window of its own."""
        tab = self.window()
        self.go(tab, path)
        return tab

    def window(self, *, width: int = 1280, **options: object) -> Tab:
        """Open a window."""
        height = 2160 if width > 3000 else 900
        context = self._browser.new_context(
            base_url=self._page.url, viewport={"width": width, "height": height}, **options
        )
        context.set_default_timeout(DEADLINE_S * 1000)
        tab = context.new_page()
        tab.add_init_script(WATCH)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))
        tab.on("console", lambda it: self._note(it.type, it.text))
        return tab

    def go(self, tab: Tab, path: str, status: int = 200) -> None:
        """Open a page in a window."""
        self._status = status
        answer = tab.goto(path)
        assert answer
        assert answer.status == status

    def _note(self, kind: str, text: str) -> None:
        expected = self._status >= 400 and f"status of {self._status}" in text
        if kind in {"error", "warning"} and not expected:
            self.complaints.append(text)

    def close(self) -> None:
        """Close all windows."""
        for context in self._browser.contexts:
            context.close()


@pytest.fixture
def tabs(chromium: Browser, shown: Page) -> Iterator[Tabs]:
    tabs = Tabs(chromium, shown)
    yield tabs
    tabs.close()
    assert tabs.complaints == []


@pytest.fixture(scope="module")
def axe() -> str:
    """axe-core, the checks of accessibility."""
    from axe_playwright_python import base  # noqa: PLC0415 - it may be missing

    return Path(base.__file__).with_name("axe.min.js").read_text("utf-8")


def violations(tab: Tab, axe: str) -> list[object]:
    """Return what axe finds."""
    tab.evaluate(axe)
    found = tab.evaluate("axe.run({ resultTypes: ['violations'] })")
    return [(it["id"], [node["html"][:300] for node in it["nodes"]]) for it in found["violations"]]


def await_live(tab: Tab) -> str:
    """Wait for the next state from the event stream; return the time that the page shows then."""
    before = tab.locator("#strip time").get_attribute("datetime")
    tab.wait_for_function("(it) => document.querySelector('#strip time').dateTime !== it", arg=before)
    return tab.locator("#strip time").get_attribute("datetime") or ""


@pytest.fixture(scope="module")
def pages(served: Estate) -> dict[str, tuple[str, int]]:
    """Each kind of page: its address, and its status."""
    return {
        "overview": ("/", 200),
        "project": (PROJECT, 200),
        "lost": (LOST, 200),
        "hostile": (f"/projects/{served.ids[SCRIPT]}", 200),
        "long": (f"/projects/{served.ids[LONG]}", 200),
        "search": ("/projects?q=team", 200),
        "registry": (REGISTRY, 200),
        "declared": ("/registries/active.ndjson", 200),
        "difference": (f"{REGISTRY}/difference", 200),
        "guard": ("/guard", 200),
        "error": ("/nothing", 404),
    }


WIDER = """
() => [...document.querySelectorAll(".box:has(table)")].filter((it) => it.scrollWidth > it.clientWidth)
  .map((it) => it.getAttribute("aria-label") + ": " + it.scrollWidth + " > " + it.clientWidth)
"""

CUT = """
() => [...document.querySelectorAll(".box .badge")].filter((it) => it.scrollWidth > it.clientWidth)
  .map((it) => it.textContent)
"""


def test_a_write_arrives_in_an_open_page_without_a_layout_shift(tabs: Tabs, served: Estate) -> None:
    """What has the focus keeps it, and other pages say that there is a newer generation."""
    overview, project, narrow = tabs.open("/"), tabs.open(PROJECT), tabs.window(width=360)
    tabs.go(narrow, "/")
    narrow.locator(".generations").scroll_into_view_if_needed()
    overview.evaluate("document.querySelector('.generations').kept = true")
    for tab in (overview, project, narrow):
        await_live(tab)
    assert overview.evaluate("document.querySelector('.generations').kept")
    overview.focus(f"a[href='{REGISTRY}']")
    before = overview.locator(".generations tbody tr").first.inner_text()
    served.write(service(3, domain="moved"))

    overview.wait_for_function(
        "(it) => document.querySelector('.generations tbody tr').innerText !== it", arg=before
    )
    project.wait_for_selector(".news:not([hidden])")

    assert overview.evaluate("document.activeElement.getAttribute('href')") == REGISTRY
    assert [shift for tab in (overview, project, narrow) for shift in tab.evaluate("shifts")] == []


def test_nothing_shifts_while_a_page_arrives_in_pieces(tabs: Tabs, pages: dict[str, tuple[str, int]]) -> None:
    tab = tabs.window()
    tabs.go(tab, "/")  # the style sheet and the script are in the cache from now on
    network = tab.context.new_cdp_session(tab)
    slow = {"offline": False, "latency": 0, "downloadThroughput": 20_000, "uploadThroughput": -1}
    network.send("Network.enable")
    network.send("Network.emulateNetworkConditions", slow)

    for path, status in pages.values():
        tabs.go(tab, path, status)

        assert tab.evaluate("shifts") == [], path


@pytest.mark.timeout(900)  # some thirty pages, each with its picture
def test_every_page_in_every_width_and_scheme(
    tabs: Tabs, served: Estate, pages: dict[str, tuple[str, int]], axe: str
) -> None:
    """Nothing shifts, nothing runs beyond the window, axe finds nothing, and headings are in order."""
    served.lose()
    PICTURES.mkdir(parents=True, exist_ok=True)
    for scheme, width in (("light", 360), ("light", 1280), ("light", 3840), ("dark", 1280)):
        tab = tabs.window(width=width, color_scheme=scheme)
        some = pages if (scheme, width) == ("light", 360) else VARIED
        for name, (path, status) in ((name, pages[name]) for name in some):
            tabs.go(tab, path, status)
            assert tab.evaluate("shifts") == [], (name, width)
            tab.screenshot(path=PICTURES / f"{name}-{scheme}-{width}.png", full_page=width < 3000)
            assert tab.evaluate(BEYOND) == [], (name, width)
            assert tab.evaluate(WIDER) == [], (name, width)
            assert tab.evaluate(CUT) == [], (name, width)
            if width < 3000:
                assert violations(tab, axe) == [], (name, scheme, width)
            levels = tab.evaluate(LEVELS)
            assert (levels[0], levels.count(1)) == (1, 1)
            assert all(after <= before + 1 for before, after in pairwise(levels)), path
            assert tab.locator("header, nav, main, footer").count() == 4
        tab.context.close()


def test_the_keyboard_reaches_everything_and_the_focus_is_visible(tabs: Tabs) -> None:
    tab = tabs.open("/")
    reached = []
    for _ in range(60):
        tab.keyboard.press("Tab")
        found = tab.evaluate(
            """() => { const it = document.activeElement; const style = getComputedStyle(it);
            const name = it.textContent.trim() || it.getAttribute("aria-label") || it.id;
            return it === document.body ? null : [name,
              style.outlineStyle !== "none" && parseFloat(style.outlineWidth) >= 2]; }"""
        )
        if found is None:
            break
        reached.append(found)
    names = [name for name, _ in reached]
    assert names[:6] == ["Skip to the content", "omnicdc", "Overview", "Guard", "q", "Find"]
    assert "PROJECT_REGISTRY_V1.yaml" in names
    assert all(visible for _, visible in reached), reached

    tab.keyboard.press("Home")
    tab.locator(".skip").focus()
    tab.keyboard.press("Enter")
    assert tab.evaluate("document.activeElement.id") == "main"
    tab.locator("#q").focus()
    tab.keyboard.type("team-03")
    tab.keyboard.press("Enter")
    tab.wait_for_url(f"**{PROJECT}")


def test_it_is_complete_without_javascript(
    tabs: Tabs, served: Estate, pages: dict[str, tuple[str, int]]
) -> None:
    served.lose()
    with_it, without = tabs.window(), tabs.window(java_script_enabled=False)
    for name in ("overview", "project", "registry", "guard"):
        texts = []
        for tab in (with_it, without):
            tabs.go(tab, *pages[name])
            texts.append(tab.locator("main").inner_text())
        assert texts[0]
        assert name == "overview" or texts[0] == texts[1]
    assert "PROJECT_REGISTRY_V1.yaml" in texts[1]


def test_a_hostile_name_stays_text(tabs: Tabs, served: Estate) -> None:
    tab = tabs.open(f"/projects/{served.ids[SCRIPT]}")

    assert tab.title() == f"{SCRIPT} · omnicdc"
    assert tab.locator("h1").inner_text() == SCRIPT


def test_a_page_that_is_hidden_leaves_and_one_that_loses_the_server_says_so(tabs: Tabs, shown: Page) -> None:
    """The last test of this file: it stops the page."""
    tab = tabs.open("/")
    await_live(tab)
    shown.stop()
    tab.wait_for_selector("text=no connection to omnicdc ui since")

    tabs.complaints.clear()  # Chromium reports the refused connection
