"""What holds for every page, as a browser shows it."""

import pytest
from axe_playwright_python.base import AXE_SCRIPT

CONTRAST, SCROLLS = "color-contrast", "scrollable-region-focusable"  # rules of axe
CUT_OFF = """() => {
    const width = document.documentElement.clientWidth;
    const fits = element => element.getBoundingClientRect().right <= width + 1;
    const scrolls = element => ["auto", "scroll"].includes(getComputedStyle(element).overflowX) && fits(element);
    const reachable = element => element.matches("main *") && (scrolls(element) || reachable(element.parentElement));
    return [...document.querySelectorAll("main :not(.bd-toc, .bd-toc *)")]
        .filter(element => !fits(element) && !reachable(element.parentElement))
        .map(element => element.outerHTML.slice(0, 200));
}"""
PROSE = """() => {
    const main = document.querySelector("main").cloneNode(true);
    main.querySelectorAll("pre, code, script").forEach(element => element.remove());
    return main.textContent;
}"""
# Whatever has the tags and classes of another element, up to the root, has its colours; axe is slow at judging them.
MARK_REPEATED = """() => {
    const seen = new Set();
    const path = element => element ? `${path(element.parentElement)}>${element.tagName}.${element.className}` : "";
    for (const element of document.querySelectorAll("body *:not(:has(*))")) {
        element.toggleAttribute("data-repeated", seen.has(path(element)));
        seen.add(path(element));
    }
}"""


def serious(visit, context: dict | None = None, **options) -> str:
    """The violations that axe calls serious or critical."""
    if not visit.page.evaluate("'axe' in window"):
        visit.page.evaluate(AXE_SCRIPT)
    options |= {"resultTypes": ["violations"], "preload": False}
    found = visit.page.evaluate("([context, options]) => axe.run(context ?? document, options)", [context, options])
    return "\n".join(
        f"{violation['id']}: {node['html']}\n{node['failureSummary']}"
        for violation in found["violations"]
        if violation["impact"] in ("serious", "critical")
        for node in violation["nodes"]
    )


def test_every_page_opens_without_an_error_or_a_request_elsewhere(visit):
    assert visit.status == 200
    assert not visit.troubles, "\n".join(visit.troubles)


def test_every_formula_is_typeset(visit):
    formulas = visit.page.locator("main .math").count()
    assert visit.page.locator("mjx-container").count() == formulas
    assert visit.page.locator("mjx-merror, [data-mjx-error]").count() == 0
    prose = visit.page.evaluate(PROSE)
    assert not [raw for raw in (r"\(", r"\[", "$$", r"\begin{") if raw in prose]


def test_axe_finds_no_serious_violation(visit):
    found = serious(visit, rules={CONTRAST: {"enabled": False}})
    assert not found, found


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_enough_contrast(visit, scheme):
    visit.page.emulate_media(color_scheme=scheme)
    visit.page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    visit.page.evaluate(MARK_REPEATED)
    found = serious(visit, {"exclude": ["[data-repeated]"]}, runOnly=[CONTRAST])
    assert not found, found


TOO_WIDE = """() => [...document.querySelectorAll("main table, main figure, main img, main svg")]
    .filter(element => {
        let space = document.documentElement.clientWidth;
        for (let box = element.parentElement; box.matches("main *"); box = box.parentElement) {
            const clips = getComputedStyle(box).overflowX !== "visible";
            if (clips) space = Math.min(space, box.getBoundingClientRect().right);
        }
        return element.checkVisibility() && element.getBoundingClientRect().right > space + 1;
    })
    .map(element => element.outerHTML.slice(0, 200))"""


@pytest.mark.parametrize("width", [1280, 768])
def test_every_table_and_figure_is_seen_whole(visit, width):
    visit.page.set_viewport_size({"width": width, "height": 900})
    found = visit.page.evaluate(TOO_WIDE)
    assert not found, "\n".join(found)


def test_nothing_is_cut_off_on_a_phone(visit, phone):
    visit.page.set_viewport_size(phone)
    found = visit.page.evaluate(CUT_OFF)
    assert not found, "\n".join(found)
    root = "document.documentElement"
    assert visit.page.evaluate(f"{root}.scrollWidth") <= visit.page.evaluate(f"{root}.clientWidth")


def test_what_scrolls_on_a_phone_takes_the_focus(visit, phone):
    visit.page.set_viewport_size(phone)
    for _ in range(20):  # the theme sees to it a moment after the last change of size
        found = serious(visit, runOnly=[SCROLLS])
        if not found:
            break
        visit.page.wait_for_timeout(250)
    assert not found, found
