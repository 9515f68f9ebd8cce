"""The built book, on a server on this machine, and a browser that finds no other."""

import os
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from page import chromium, serve
from playwright.sync_api import Browser, ConsoleMessage, Page, Request, Response

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(os.environ.get("ALEXNET_REPRO_SITE", ROOT / "_build" / "html"))
PAGES = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
WIDE = {"width": 1280, "height": 900}
STILL = "*, ::before, ::after { transition: none !important; animation: none !important; }"
PHONE = {"width": 360, "height": 740}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker("browser")


@dataclass
class Visit:
    """A page that is open, and what went wrong on it."""

    page: Page
    address: str
    status: int = 0
    troubles: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.page.on("console", self.hear)
        self.page.on("pageerror", lambda error: self.troubles.append(f"exception: {error}"))
        self.page.on("request", self.watch)
        self.page.on("requestfailed", self.miss)
        self.page.on("response", self.check)

    def hear(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.troubles.append(f"console: {message.text}")

    def watch(self, request: Request) -> None:
        if not request.url.startswith((self.address, "data:", "blob:")):
            self.troubles.append(f"foreign: {request.url}")

    def miss(self, request: Request) -> None:
        if request.failure != "net::ERR_ABORTED":  # a reader who went on before everything was there
            self.troubles.append(f"failed: {request.url} {request.failure}")

    def check(self, response: Response) -> None:
        if response.status >= 400:
            self.troubles.append(f"{response.status}: {response.url}")

    def open(self, name: str) -> "Visit":
        response = self.page.goto(f"{self.address}/{name}.html")
        assert response, name
        self.status = response.status
        self.page.add_style_tag(content=STILL)
        self.page.evaluate("window.MathJax?.startup?.promise")
        return self

    def tab(self) -> dict[str, object]:
        """Press Tab: what has the focus now, and whether one sees it."""
        self.page.keyboard.press("Tab")
        return self.page.evaluate("""() => {
            const element = document.activeElement;
            const {outlineStyle, outlineWidth, boxShadow} = getComputedStyle(element);
            const {width, height, right, bottom} = element.getBoundingClientRect();
            const drawn = (outlineStyle !== "none" && parseFloat(outlineWidth) > 0) || boxShadow !== "none";
            return {
                text: element.innerText?.trim() || element.ariaLabel || element.outerHTML.slice(0, 80),
                classes: [...element.classList],
                seen: drawn && width > 0 && height > 0 && right > 0 && bottom > 0,
            };
        }""")


@pytest.fixture(scope="session")
def site() -> Path:
    assert (SITE / "index.html").exists(), f"no book in {SITE}: make book, or name its folder in ALEXNET_REPRO_SITE"
    return SITE


@pytest.fixture(scope="session")
def address(site: Path) -> Iterator[str]:
    with serve(site) as address:
        yield address


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    with chromium() as browser:
        yield browser


def visits(browser: Browser, address: str, **options: bool) -> Iterator[Callable[..., Visit]]:
    """Visits of someone who has never been here, with a screen and a colour scheme."""
    contexts = []

    def reader(name: str, viewport: dict = WIDE, color_scheme: str = "light") -> Visit:
        contexts.append(browser.new_context(viewport=viewport, color_scheme=color_scheme, **options))
        return Visit(contexts[-1].new_page(), address).open(name)

    yield reader
    for context in contexts:
        context.close()


@pytest.fixture
def reader(browser: Browser, address: str) -> Iterator[Callable[..., Visit]]:
    yield from visits(browser, address)


@pytest.fixture
def offline(browser: Browser, site: Path) -> Iterator[Callable[..., Visit]]:
    """Visits to the files themselves, without a server and without a network."""
    yield from visits(browser, site.as_uri(), offline=True)


@pytest.fixture(scope="module", params=[*PAGES, "search", "genindex"])
def visit(request: pytest.FixtureRequest, browser: Browser, address: str) -> Iterator[Visit]:
    """Every page in turn, opened once for all the tests of a module."""
    context = browser.new_context(viewport=WIDE)
    yield Visit(context.new_page(), address).open(request.param)
    context.close()


@pytest.fixture
def pages() -> list[str]:
    """Names of the pages, in the order of _toc.yml."""
    return PAGES


@pytest.fixture
def wide() -> dict[str, int]:
    return WIDE


@pytest.fixture
def phone() -> dict[str, int]:
    return PHONE
