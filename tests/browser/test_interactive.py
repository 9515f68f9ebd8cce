"""The figures to touch: what they compute is what the library computes, and the keyboard alone reaches all of it."""

import copy
import io
import json
import re
from base64 import b64encode
from dataclasses import replace

import interactive
import numpy as np
import pytest
import torch
from PIL import ExifTags, Image
from playwright.sync_api import Error
from skimage import data
from test_pages import CONTRAST, CUT_OFF, serious
from torch import Tensor, nn

from alexnet_repro import CLAIMS, InputConfig, LocalResponseNorm, NetConfig, build, load_dataset, load_evidence, verdict
from alexnet_repro.data.decode import central_square, decode
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.lrn import WithinChannelResponseNorm
from alexnet_repro.report.chapter import CHECKPOINT
from alexnet_repro.support.values import as_json
from alexnet_repro.training.checkpoint import save_checkpoint
from alexnet_repro.training.trained import Trained, load_trained

RELU, LRN, NETWORK = "book/03_relu", "book/04_lrn", "book/10_features"
# Numbers go in as base64 and come out as JSON: playwright takes long over lists.
LOOK = """async ([pixels, off]) => {
    const {loaded, look, bytes} = interactive.network;
    const {outputs, probabilities} = await look(loaded, bytes(pixels), off);
    return {probabilities, outputs: JSON.stringify([...outputs].map(([name, {data}]) => [name, [...data]]))};
}"""
SQUARE = """([rgba, width, height, size]) => {
    const {bytes, square} = interactive.network;
    return JSON.stringify([...square({data: bytes(rgba), width, height}, size)]);
}"""
NORM = """([a, options]) => [...interactive.responseNorm(Float64Array.from(a), a.length, 1, options)]"""
DROP = """(label, png) => {
    const dataTransfer = new DataTransfer();
    dataTransfer.items.add(new File([interactive.network.bytes(png)], "dropped.png", {type: "image/png"}));
    label.dispatchEvent(new DragEvent("drop", {dataTransfer, bubbles: true, cancelable: true}));
}"""


def result(visit) -> str:
    return visit.page.locator(".interactive .result").inner_text()


def loaded(visit):
    """The visit, once the network is there and has looked at the first photograph."""
    visit.page.get_by_role("button", name="Load the network").click()
    visit.page.locator(".interactive tbody tr").first.wait_for()
    return visit


NAME = """() => {
    const element = document.activeElement.closest(".interactive *");
    return element && (element.labels?.[0]?.innerText ?? element.ariaLabel ?? element.innerText);
}"""


def wait_for(visit, beginning: str) -> None:
    visit.page.wait_for_function(
        "text => document.querySelector('.interactive .result').innerText.startsWith(text)", arg=beginning
    )


OTHER = """old => {
    const text = document.querySelector(".interactive .result").innerText;
    return text !== old && !text.endsWith("…");
}"""


def wait_for_other(visit, before: str) -> None:
    """Wait for a result that is another, not for a sign that one is on its way."""
    visit.page.wait_for_function(OTHER, arg=before)


def choose(visit, name: str, content: bytes) -> None:
    file = {"name": name, "mimeType": "", "buffer": content}
    visit.page.locator(".interactive input[type=file]").set_input_files(file)


def tab_to(visit, text: str) -> None:
    """Press Tab until what has the focus is in a figure and has this text in its name, and see that it shows it."""
    for _ in range(300):
        stop = visit.tab()
        if text in (visit.page.evaluate(NAME) or ""):
            assert stop["seen"], text
            return
    raise AssertionError(f"no {text} within reach")


@pytest.mark.parametrize("page", [RELU, LRN, NETWORK])
def test_without_scripts_the_chapter_has_its_static_figures_alone(page, browser, site):
    context = browser.new_context(java_script_enabled=False, offline=True)
    opened = context.new_page()
    opened.goto(f"{site.as_uri()}/{page}.html")
    assert opened.locator("html").get_attribute("data-theme") == "light"  # of "auto" the theme has no colours
    assert opened.locator(".interactive").count() == 1
    assert not opened.locator(".interactive").is_visible()
    figure = {RELU: "#fig-relu-evidence", LRN: "#fig-lrn-bars", NETWORK: "#fig-maps"}[page]
    assert opened.locator(f"{figure} img").is_visible()
    context.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("page", [RELU, LRN, NETWORK])
def test_nothing_goes_wrong_is_cut_off_or_unreadable_without_a_network(page, scheme, offline, phone):
    visit = offline(page, viewport=phone, color_scheme=scheme)
    if page == NETWORK:
        loaded(visit)
    visit.page.wait_for_function(f"document.documentElement.dataset.theme === '{scheme}'")
    found = visit.page.evaluate(CUT_OFF)
    assert not found, "\n".join(found)
    root = "document.documentElement"
    assert visit.page.evaluate(f"{root}.scrollWidth") <= visit.page.evaluate(f"{root}.clientWidth")
    found = serious(visit, {"include": [".interactive"]})
    assert not found, found
    found = serious(visit, {"include": [".interactive"]}, runOnly=[CONTRAST])
    assert not found, found
    assert not visit.troubles, "\n".join(visit.troubles)


@pytest.mark.parametrize("page", [RELU, LRN, NETWORK])
def test_in_print_the_static_figure_is_enough(page, offline):
    visit = offline(page)
    visit.page.emulate_media(media="print")
    assert not visit.page.locator(".interactive").is_visible()


# What a shape's colour is, and what the reader's own colour of this name is.
COLOURS = """(element, [property, name]) => {
    const other = document.createElement("i");
    other.style.color = name;
    document.body.append(other);
    return [getComputedStyle(element)[property], getComputedStyle(other).color];
}"""


@pytest.mark.parametrize(
    ("page", "shape", "property", "name"),
    [
        (RELU, ".curve.arm1", "stroke", "LinkText"),
        (RELU, "svg text", "fill", "CanvasText"),
        (LRN, ".after", "backgroundColor", "LinkText"),
        (NETWORK, ".bar span", "backgroundColor", "LinkText"),
    ],
)
def test_shapes_have_the_reader_s_own_colours_where_they_are_forced(page, shape, property, name, offline):
    visit = offline(page)
    visit.page.emulate_media(forced_colors="active")
    if page == NETWORK:
        loaded(visit)
    found, expected = visit.page.locator(f".interactive {shape}").first.evaluate(COLOURS, [property, name])
    assert found == expected


FAIL = """() => {
    document.querySelector(".interactive").hidden = true;
    interactive.figures("lrn", () => { throw new Error("no data"); });
}"""


def test_a_figure_that_fails_stays_hidden(offline):
    visit = offline(LRN)
    with pytest.raises(Error, match="no data"):
        visit.page.evaluate(FAIL)
    assert not visit.page.locator(".interactive").is_visible()


# Figure 1


def test_the_ratio_shown_of_every_version_and_seed_is_the_verdict_s(offline):
    visit = offline(RELU)
    selects = visit.page.locator(".interactive select")
    for (network, protocol), claim in interactive.VERSIONS.items():
        judged = verdict(CLAIMS[claim], load_evidence(claim, "paper"))
        selects.nth(0).select_option(network)
        selects.nth(1).select_option(protocol)
        selects.nth(2).select_option("all")
        low, high = judged.summary().partition("[")[2].rstrip("]").split(", ")
        ratio = re.search(r"takes (.*) times .*\(95 % interval (.*) to (.*), (.*) seeds\)", result(visit)).groups()
        assert ratio == (f"{judged.estimate:.1f}", low, high, str(judged.pairs))
        assert f"Verdict on all seeds: {judged.words}." in result(visit)
        assert visit.page.locator(".interactive circle[class^=arm]").count() == 2 * judged.pairs
        for seed, value in zip(judged.seeds, judged.values, strict=True):
            selects.nth(2).select_option(str(seed))
            assert f"takes {value:.1f} times as many epochs as ReLU (seed {seed} alone)" in result(visit)
            assert visit.page.locator(".interactive circle[class^=arm]").count() == 2


def test_the_curves_follow_the_keyboard(offline):
    visit = offline(RELU)
    before = result(visit)
    tab_to(visit, "Protocol")
    visit.page.keyboard.press("ArrowDown")
    assert result(visit) != before
    tab_to(visit, "Seed")
    visit.page.keyboard.press("ArrowDown")
    assert "seed 0 alone" in result(visit)


REDRAW = """changes => {
    const place = document.querySelector(".interactive"), script = place.querySelector("script");
    const data = JSON.parse(script.textContent);
    Object.assign(data.versions[0], changes);
    script.textContent = JSON.stringify(data);
    place.replaceChildren(script);
}"""


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"low": None, "high": None}, "epochs as ReLU (no interval yet, 5 seeds). The paper says 6"),
        ({"low": None, "high": None, "estimate": None, "values": []}, "as ReLU is not known. The paper says 6"),
        ({"low": 0}, "95 % interval 0.0 to "),
    ],
)
def test_a_version_is_drawn_as_far_as_it_is_known(changes, says, offline):
    visit = offline(RELU)
    visit.page.evaluate(REDRAW, changes)
    visit.page.add_script_tag(url="../_static/relu.js")
    wait_for_other(visit, "")
    assert says in result(visit)
    drawn = visit.page.locator(".interactive").inner_html()
    assert "NaN" not in drawn
    assert "Infinity" not in drawn
    assert visit.page.locator(".interactive .interval").count() == {None: 0, 0: 2}[changes["low"]]  # it, and an arrow
    assert not visit.troubles, "\n".join(visit.troubles)


# Counts what is written into the figure's result, and errors that only the window hears of.
COUNT = """() => {
    window.counted = [];
    const result = document.querySelector(".interactive .result");
    window.addEventListener("error", event => window.counted.push(event.message));
    new MutationObserver(() => window.counted.push(result.innerText)).observe(result, {childList: true});
}"""


def test_another_width_is_no_news(offline, phone):
    visit = offline(RELU)
    visit.page.evaluate(COUNT)
    visit.page.set_viewport_size(phone)
    visit.page.wait_for_function("document.querySelector('.interactive svg').clientWidth < 360")
    visit.page.evaluate(REDRAW, {})
    visit.page.add_script_tag(url="../_static/relu.js")
    visit.page.wait_for_function("document.querySelector('.interactive svg').clientWidth")
    visit.page.evaluate("new Promise(requestAnimationFrame)")
    assert visit.page.evaluate("counted") == []


# Response normalization


def shown(visit) -> list[tuple[float, float]]:
    """Of every bar the activation before and after."""
    bars = visit.page.locator(".interactive .ground").all()
    texts = [re.fullmatch(r"(\S+) before, (\S+) after", bar.get_attribute("aria-valuetext")) for bar in bars]
    return [(float(text[1]), float(text[2])) for text in texts]


def assert_normalized(pairs: list[tuple[float, float]], **arguments: float) -> None:
    before, after = torch.tensor(pairs, dtype=torch.float64).T
    expected = LocalResponseNorm(**arguments)(before[None])[0]
    torch.testing.assert_close(after, expected, rtol=0, atol=0.0500001)  # printed to one decimal


def test_the_bars_are_normalized_as_the_library_does_it_by_keyboard_alone(offline):
    visit = offline(LRN)
    press, first = visit.page.keyboard.press, result(visit)
    assert_normalized(shown(visit))
    tab_to(visit, "activation of channel 0")
    press("ArrowUp")
    tab_to(visit, "activation of channel 10")
    press("End")
    pairs = shown(visit)
    assert (pairs[0][0], pairs[10][0]) == (25, 200)
    assert_normalized(pairs)
    assert "Channel 10: 200 before" in result(visit)
    expected = {"k": 2.0, "alpha": 1e-4, "size": 5, "beta": 0.75}
    for slider, key, name, value in (
        ("k", "ArrowLeft", "k", 1.9),
        ("alpha", "ArrowRight", "alpha", 1.8e-4),
        ("n, channels", "ArrowRight", "size", 6),
        ("beta", "ArrowRight", "beta", 0.8),
    ):
        tab_to(visit, f"{slider}\n")
        press(key)
        expected[name] = value
        assert_normalized(shown(visit), **expected)
    tab_to(visit, "a sum, as printed")
    press("ArrowRight")
    assert_normalized(shown(visit), **expected, average=True)
    tab_to(visit, "As at the start")
    press("Enter")
    assert shown(visit)[0][0] == 20
    assert_normalized(shown(visit))
    assert result(visit) == first


HEIGHT = "parseFloat(document.querySelectorAll('.interactive .before')[{}].style.height)"


def test_a_bar_can_be_dragged(offline):
    visit = offline(LRN)
    bar = visit.page.locator(".interactive .ground").nth(3)
    bar.scroll_into_view_if_needed()
    box = bar.bounding_box()
    middle = box["x"] + box["width"] / 2
    visit.page.mouse.move(middle, box["y"] + 0.9 * box["height"])
    visit.page.mouse.down()
    visit.page.mouse.move(middle, box["y"] + 0.25 * box["height"])
    visit.page.mouse.up()
    pairs = shown(visit)
    assert pairs[3][0] == pytest.approx(150, abs=2)
    assert_normalized(pairs)


def test_a_dragged_bar_stays_under_the_pointer_whatever_the_scale(offline):
    visit = offline(LRN)
    for slider in ("k", "alpha"):
        visit.page.get_by_role("slider", name=slider, exact=True).press("Home")
    bar = visit.page.locator(".interactive .ground").nth(3)
    bar.scroll_into_view_if_needed()
    box, scale = bar.bounding_box(), HEIGHT.format(5)
    before, bottom = visit.page.evaluate(scale), box["y"] + box["height"]
    visit.page.mouse.move(box["x"] + box["width"] / 2, bottom - 1)
    visit.page.mouse.down()
    for part in (0.05, 0.1, 0.15, 0.2):
        visit.page.mouse.move(box["x"] + box["width"] / 2, bottom - part * box["height"])
        assert visit.page.evaluate(HEIGHT.format(3)) == pytest.approx(100 * part, abs=0.5)
        assert visit.page.evaluate(scale) == before
    visit.page.mouse.up()
    assert visit.page.evaluate(scale) != before


def test_a_bar_leaves_the_browser_its_own_keys_and_buttons(offline):
    visit = offline(LRN)
    before, bar = shown(visit), visit.page.locator(".interactive .ground").nth(3)
    for modifier in ("altKey", "ctrlKey", "metaKey"):
        bar.dispatch_event("keydown", {"key": "PageUp", modifier: True})
    bar.click(button="right")
    assert shown(visit) == before


def test_nothing_is_said_twice(offline):
    visit = offline(LRN)
    live = visit.page.locator(".interactive .result")
    assert "status" not in visit.page.locator(".interactive").aria_snapshot()
    tab_to(visit, "activation of channel 0")
    assert live.get_attribute("aria-live") == "off"
    tab_to(visit, "beta\n")
    visit.page.keyboard.press("ArrowRight")
    assert live.get_attribute("aria-live") == "polite"


def test_a_window_of_one_channel_is_named(offline):
    visit = offline(LRN)
    visit.page.get_by_role("slider", name="n, channels").press("Home")
    assert result(visit).endswith("Its window is channel 5 alone.")


@pytest.mark.parametrize("size", [1, 4, 5, 11])
@pytest.mark.parametrize(("average", "groups"), [(False, 1), (True, 1), (True, 2)])
def test_the_browser_s_normalization_is_the_library_s(size, average, groups, offline):
    a = 100 * torch.rand(12, dtype=torch.float64, generator=torch.Generator().manual_seed(size))
    options = {"size": size, "alpha": 3e-3, "beta": 0.6, "k": 1.5, "average": average, "groups": groups}
    found = offline(LRN).page.evaluate(NORM, [a.tolist(), options])
    torch.testing.assert_close(torch.tensor(found, dtype=torch.float64), LocalResponseNorm(**options)(a[None])[0])


# The network


def base64(content: bytes | np.ndarray) -> str:
    return b64encode(content).decode()


def pixels_of(image: Tensor) -> str:
    """(3, H, W) uint8 as the browser has it: row by row, the colours innermost."""
    return base64(image.permute(1, 2, 0).contiguous().numpy())


def twenty_images(size: int) -> Tensor:
    """Patches and whole photographs of scikit-image, noise and gradients: (20, 3, size, size) uint8."""
    generator = torch.Generator().manual_seed(0)
    patches = load_dataset("photos", split="test", size=size).images[:8]
    whole = [central_square(Image.fromarray(getattr(data, name)()), size) for name in interactive.PHOTOGRAPHS]
    photographs = torch.from_numpy(np.stack(whole)).movedim(3, 1)
    noise = torch.randint(256, (4, 3, size, size), dtype=torch.uint8, generator=generator)
    ramp = torch.linspace(0, 255, size)
    colours = torch.rand(4, 3, 1, 1, generator=generator)
    gradients = torch.stack([ramp.expand(size, size), ramp[:, None].expand(size, size)] * 2)[:, None] * colours
    return torch.cat([patches, photographs, noise, gradients.byte()])


@torch.no_grad()
def outputs(trained: Trained, images: Tensor) -> dict[str, Tensor]:
    """Every layer's, at test time."""
    x = trained.transform.viewed("centre").views(images)[0]
    return {name: (x := module(x)) for name, module in trained.network.eval().named_children()}


def without_norms(trained: Trained) -> tuple[Trained, list[str]]:
    network = copy.deepcopy(trained.network)
    norms = [
        name
        for name, module in network.named_children()
        if isinstance(module, LocalResponseNorm | WithinChannelResponseNorm)
    ]
    for name in norms:
        setattr(network, name, nn.Identity())
    return replace(trained, network=network), norms


@pytest.mark.parametrize("normalized", [True, False])
def test_the_browser_s_probabilities_are_torch_s(normalized, offline):
    trained, off = load_trained(CHECKPOINT, "cpu"), []
    if not normalized:
        trained, off = without_norms(trained)
        assert off == ["norm1", "norm2", "cnorm2"]
    visit = loaded(offline(NETWORK))
    images = twenty_images(trained.config.size)
    assert len(images) == 20
    expected = list(outputs(trained, images).values())[-1].softmax(1)
    found = [visit.page.evaluate(LOOK, [pixels_of(image), off])["probabilities"] for image in images]
    assert (torch.tensor(found) - expected).abs().max() < 1e-2
    assert len(expected.argmax(1).unique()) > 2


@pytest.mark.parametrize("preset", ["paper", "caffe", "torchvision"])
def test_other_networks_than_the_book_s_are_computed_too_layer_by_layer(preset, offline, tmp_path):
    """With initial weights of today's size, so that no layer's outputs are all alike."""
    base = load_trained(CHECKPOINT, "cpu").config
    net = replace(NetConfig.preset(preset), image_size=99, width=1 / 16, num_classes=5, initialization="torch")
    crops = {"crop": 99, "pixels": "standardized" if preset == "torchvision" else "minus-mean-image"}
    config = replace(base, size=104, net=net, input=InputConfig(**crops))
    photos = load_dataset("photos", size=104).images[:50]
    weights = {name: weight.half() for name, weight in build(net).state_dict().items()}
    state = {"training": {"model": weights}, "input": InputTransform.fit(config.input, photos).state_dict()}
    checkpoint, classes = tmp_path / "other.pt", [f"class {number}" for number in range(5)]
    save_checkpoint(checkpoint, as_json(config), state | {"classes": classes})
    visit = offline(NETWORK)
    visit.page.add_script_tag(content=interactive.weights_script(checkpoint))
    assert visit.page.evaluate("interactive.network.loaded.classes") == classes
    found = json.loads(visit.page.evaluate(LOOK, [pixels_of(photos[0]), []])["outputs"])
    expected = outputs(load_trained(checkpoint, "cpu"), photos[:1])
    assert [name for name, _ in found] == list(expected)
    for name, values in found:
        torch.testing.assert_close(
            torch.tensor(values), expected[name].flatten(), rtol=1e-3, atol=1e-4 * expected[name].abs().max().item()
        )


@pytest.mark.parametrize("shape", [(300, 451), (451, 300), (128, 129), (90, 101), (128, 128)])
def test_an_image_becomes_the_square_that_training_has_seen(shape, offline):
    image = np.random.default_rng(0).integers(256, size=(*shape, 3), dtype=np.uint8)
    photograph = data.chelsea()[: shape[0], : shape[1]]
    image[: photograph.shape[0], : photograph.shape[1]] = photograph
    rgba = np.dstack([image, np.full(shape, 255, np.uint8)])
    found = json.loads(offline(NETWORK).page.evaluate(SQUARE, [base64(rgba), shape[1], shape[0], 128]))
    expected = central_square(Image.fromarray(image), 128).flatten().astype(int)
    assert abs(np.array(found) - expected).max() <= 1  # Pillow's weights are fractions of 2 ** 22


def png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def top(pixels: np.ndarray) -> tuple[str, float]:
    """What torch says of a photograph: the class and its probability, percent."""
    trained = load_trained(CHECKPOINT, "cpu")
    square = torch.from_numpy(central_square(Image.fromarray(pixels), trained.config.size)).movedim(2, 0)[None]
    best = list(outputs(trained, square).values())[-1].softmax(1)[0].max(0)
    names = [interactive.Imagenette._WNID_TO_CLASS[name][0] for name in trained.classes]
    return names[best.indices], 100 * best.values.item()


@pytest.mark.parametrize("way", ["chosen", "dropped"])
def test_an_image_of_one_s_own_is_classified_as_torch_does(way, offline):
    visit = loaded(offline(NETWORK))
    before, photograph = result(visit), data.astronaut()[:, 100:]
    if way == "chosen":
        choose(visit, "mine.png", png(photograph))
    else:
        visit.page.locator(".interactive .drop").evaluate(DROP, base64(png(photograph)))
    wait_for_other(visit, before)
    name, percent = re.fullmatch(r"(.*), (.*) %\.", result(visit)).groups()
    expected = top(photograph)
    assert name == expected[0]
    assert float(percent) == pytest.approx(expected[1], abs=1)
    rows = visit.page.locator(".interactive tbody tr")
    assert rows.count() == 5
    assert rows.first.inner_text().split("\t")[0] == name


def test_an_image_that_takes_a_while_to_read_is_announced(offline):
    visit = loaded(offline(NETWORK))
    visit.page.evaluate("() => { window.createImageBitmap = () => new Promise(() => {}); }")
    choose(visit, "large.jpg", b"")
    wait_for(visit, "Reading large.jpg…")


SEEN = """canvas => {
    const {data} = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
    return JSON.stringify([...data].filter((_, i) => i % 4 < 3));
}"""


def kinds() -> dict[str, bytes]:
    """Files of images that are unusual in one way."""
    photograph, turned = Image.fromarray(data.chelsea()), Image.Exif()
    turned[ExifTags.Base.Orientation] = 6
    fading = photograph.copy()
    fading.putalpha(Image.linear_gradient("L").resize(photograph.size))
    grey = np.asarray(photograph.convert("L"))
    images = {
        "turned.jpg": (photograph, {"exif": turned}),
        "transparent.png": (fading, {}),
        "palette.gif": (photograph.convert("P"), {"transparency": 3}),
        "grey.png": (Image.fromarray(grey), {}),
        "16 bits.png": (Image.fromarray(grey.astype(np.uint16) * 257), {}),
        "CMYK.jpg": (photograph.convert("CMYK"), {}),
        "pixel.png": (Image.new("RGB", (1, 1), "teal"), {}),
        "line.png": (photograph.resize((1, 500)), {}),
        "panorama.png": (photograph.resize((20000, 30)), {}),
    }
    files = {}
    for name, (image, options) in images.items():
        file = io.BytesIO()
        image.save(file, name.rpartition(".")[2].replace("jpg", "jpeg"), **options)
        files[name] = file.getvalue()
    return files


def test_an_image_of_any_kind_is_seen_as_the_library_reads_it(offline):
    visit = loaded(offline(NETWORK))
    size, crop = visit.page.evaluate("[interactive.network.loaded.input.size, interactive.network.loaded.input.crop]")
    for name, content in kinds().items():
        visit.page.locator(".interactive .result").evaluate("result => result.replaceChildren()")
        choose(visit, name, content)
        wait_for_other(visit, "")
        found = json.loads(visit.page.locator(".interactive .answer canvas").evaluate(SEEN))
        start = (size - crop) // 2
        square = decode(io.BytesIO(content), size, name)[0][start : start + crop, start : start + crop]
        assert abs(np.array(found) - square.flatten()).max() <= 1, name


def test_a_file_can_be_chosen_again_after_another_image(offline):
    visit = loaded(offline(NETWORK))
    chooser, content = visit.page.locator(".interactive input[type=file]"), png(data.astronaut()[:, 100:])
    cat = result(visit)
    choose(visit, "mine.png", content)
    wait_for_other(visit, cat)
    assert chooser.input_value().endswith("mine.png")
    visit.page.get_by_role("button", name="cat", exact=True).click()
    wait_for(visit, cat)
    assert chooser.input_value() == ""


GATE = """() => {
    const {look} = interactive.network, gate = new Promise(resolve => { window.goOn = resolve; });
    window.looked = 0;
    interactive.network.look = async (...given) => {
        window.looked++;
        await gate;
        return look(...given);
    };
}"""


def test_the_message_that_a_file_is_no_image_outlives_the_work_on_the_last_one(offline):
    visit = loaded(offline(NETWORK))
    visit.page.evaluate(GATE)
    maps = visit.page.locator(".interactive .maps canvas").first.element_handle()
    visit.page.get_by_role("button", name="coffee").click()
    visit.page.wait_for_function("looked")
    choose(visit, "letter.txt", b"Dear reader")
    visit.page.wait_for_timeout(300)
    visit.page.evaluate("goOn()")
    maps.wait_for_element_state("hidden")
    wait_for(visit, "letter.txt is not")
    assert visit.page.get_by_role("button", name="coffee").get_attribute("aria-pressed") == "true"
    assert visit.page.locator(".interactive input[type=file]").input_value() == ""


def test_an_image_that_the_browser_cannot_draw_is_named(offline):
    visit = loaded(offline(NETWORK))
    choose(visit, "long.png", png(np.zeros((1, 70_000, 3), np.uint8)))
    wait_for(visit, "long.png")
    assert result(visit) == "long.png has more pixels than this browser can draw."


def test_other_maps_need_no_other_look(offline):
    visit = loaded(offline(NETWORK))
    visit.page.evaluate(GATE)
    visit.page.evaluate(COUNT)
    visit.page.locator(".interactive select").select_option("pool5")
    visit.page.locator(".interactive .maps canvas[aria-label*='after pool5']").first.wait_for()
    assert visit.page.evaluate("[looked, counted]") == [0, []]


SLOW = """() => {
    const decode = window.createImageBitmap.bind(window);
    window.createImageBitmap = async (...image) => {
        await new Promise(resolve => { window.goOn = resolve; });
        return decode(...image);
    };
}"""


def test_what_is_switched_while_an_image_is_read_does_not_lose_the_image(offline):
    visit = loaded(offline(NETWORK))
    visit.page.evaluate(SLOW)
    choose(visit, "mine.png", png(data.astronaut()[:, 100:]))
    visit.page.wait_for_function("window.goOn !== undefined")
    visit.page.get_by_label("norm1", exact=True).click()
    wait_for(visit, "Without norm1")
    before = result(visit)
    visit.page.evaluate("goOn()")
    wait_for_other(visit, before)
    assert result(visit).startswith("Without norm1: ")


def test_a_file_that_is_no_image_is_named(offline):
    visit = loaded(offline(NETWORK))
    choose(visit, "letter.txt", b"Dear reader")
    wait_for(visit, "letter.txt")
    assert result(visit) == "letter.txt is not an image that this browser can read."


FOCUSED = "document.activeElement.innerText"


@pytest.mark.parametrize("answer", ["none", "broken"])
def test_weights_that_are_missing_are_named_and_can_be_asked_for_again(answer, reader):
    visit = reader(NETWORK)
    requests = []

    def respond(route):
        requests.append(route)
        if len(requests) == 2:
            route.continue_()
        elif answer == "none":
            route.abort()
        else:
            route.fulfill(body="interactive.network.rec", content_type="text/javascript")

    visit.page.route("**/network_weights.js*", respond)
    visit.page.get_by_role("button", name="Load the network").press("Enter")
    visit.page.wait_for_function("document.querySelector('.interactive .result').innerText.includes('loaded')")
    assert "network_weights.js" in result(visit)
    assert visit.page.evaluate(FOCUSED).startswith("Load the network")
    visit.page.keyboard.press("Enter")
    visit.page.locator(".interactive tbody tr").first.wait_for()
    assert visit.page.evaluate(FOCUSED) == "cat"


def test_whoever_went_on_while_the_network_was_loaded_keeps_the_focus(reader):
    visit = reader(NETWORK)
    waiting = []

    def hold(route):
        waiting.append(route)

    visit.page.route("**/network_weights.js*", hold)
    visit.page.get_by_role("button", name="Load the network").press("Enter")
    visit.page.get_by_role("link", name="Skip to main content").focus()
    while not waiting:
        visit.page.wait_for_timeout(50)
    waiting[0].continue_()
    visit.page.locator(".interactive tbody tr").first.wait_for()
    assert visit.page.evaluate(FOCUSED) == "Skip to main content"


def test_the_network_is_loaded_and_changed_by_keyboard_alone(offline):
    visit = offline(NETWORK)
    assert visit.page.evaluate("interactive.network.loaded === undefined")
    press = visit.page.keyboard.press
    tab_to(visit, "Load the network")
    press("Enter")
    visit.page.locator(".interactive tbody tr").first.wait_for()
    first = result(visit)
    tab_to(visit, "coffee")
    press("Enter")
    wait_for_other(visit, first)
    tab_to(visit, "norm1")
    press("Space")
    wait_for(visit, "Without norm1")
    tab_to(visit, "Feature maps after")
    press("ArrowDown")
    maps = visit.page.locator(".interactive .maps canvas")
    visit.page.locator(".interactive .maps canvas[aria-label*='after norm1']").first.wait_for()
    assert [canvas.get_attribute("aria-label") for canvas in maps.all()] == [
        f"12 feature maps after norm1, tower {tower} of 2" for tower in (1, 2)
    ]
    assert not visit.troubles, "\n".join(visit.troubles)
