"""The figures to touch: what they compute is what the library computes, and the keyboard alone reaches all of it."""

import copy
import importlib
import io
import json
import re
import sys
from base64 import b64encode
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from skimage import data
from test_pages import CONTRAST, CUT_OFF, serious
from torch import Tensor, nn

from alexnet_repro import CLAIMS, InputConfig, LocalResponseNorm, NetConfig, build, load_dataset, load_evidence, verdict
from alexnet_repro.data.decode import central_square
from alexnet_repro.data.inputs import InputTransform
from alexnet_repro.networks.lrn import WithinChannelResponseNorm
from alexnet_repro.report.chapter import CHECKPOINT
from alexnet_repro.support.values import as_json
from alexnet_repro.training.checkpoint import save_checkpoint
from alexnet_repro.training.trained import Trained, load_trained

sys.path.append(str(Path(__file__).resolve().parents[2] / "book" / "_ext"))
interactive = importlib.import_module("interactive")

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
    visit.page.wait_for_function("document.querySelector('.interactive .result').innerText")
    assert says in result(visit)
    drawn = visit.page.locator(".interactive").inner_html()
    assert "NaN" not in drawn
    assert "Infinity" not in drawn
    assert visit.page.locator(".interactive .interval").count() == (changes["low"] is not None)
    assert not visit.troubles, "\n".join(visit.troubles)


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
    press = visit.page.keyboard.press
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
        file = {"name": "mine.png", "mimeType": "image/png", "buffer": png(photograph)}
        visit.page.locator(".interactive input[type=file]").set_input_files(file)
    else:
        visit.page.locator(".interactive .drop").evaluate(DROP, base64(png(photograph)))
    visit.page.wait_for_function("old => document.querySelector('.interactive .result').innerText !== old", arg=before)
    name, percent = re.fullmatch(r"(.*), (.*) %\.", result(visit)).groups()
    expected = top(photograph)
    assert name == expected[0]
    assert float(percent) == pytest.approx(expected[1], abs=1)
    rows = visit.page.locator(".interactive tbody tr")
    assert rows.count() == 5
    assert rows.first.inner_text().split("\t")[0] == name


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
    file = {"name": "mine.png", "mimeType": "image/png", "buffer": png(data.astronaut()[:, 100:])}
    visit.page.locator(".interactive input[type=file]").set_input_files(file)
    visit.page.wait_for_function("window.goOn !== undefined")
    visit.page.get_by_label("norm1", exact=True).click()
    visit.page.wait_for_function("document.querySelector('.interactive .result').innerText.startsWith('Without norm1')")
    before = result(visit)
    visit.page.evaluate("goOn()")
    visit.page.wait_for_function("old => document.querySelector('.interactive .result').innerText !== old", arg=before)
    assert result(visit).startswith("Without norm1: ")


def test_a_file_that_is_no_image_is_named(offline):
    visit = loaded(offline(NETWORK))
    file = {"name": "letter.txt", "mimeType": "text/plain", "buffer": b"Dear reader"}
    visit.page.locator(".interactive input[type=file]").set_input_files(file)
    visit.page.wait_for_function("document.querySelector('.interactive .result').innerText.startsWith('letter.txt')")
    assert result(visit) == "letter.txt is not an image that this browser can read."


def test_weights_that_are_missing_are_named_and_can_be_asked_for_again(reader):
    visit = reader(NETWORK)
    visit.page.route("**/network_weights.js*", lambda route: route.abort())
    load = visit.page.get_by_role("button", name="Load the network")
    load.click()
    visit.page.wait_for_function("document.querySelector('.interactive .result').innerText.includes('loaded')")
    assert "network_weights.js" in result(visit)
    assert load.is_enabled()


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
    visit.page.wait_for_function("old => document.querySelector('.interactive .result').innerText !== old", arg=first)
    tab_to(visit, "norm1")
    press("Space")
    visit.page.wait_for_function("document.querySelector('.interactive .result').innerText.startsWith('Without norm1')")
    tab_to(visit, "Feature maps after")
    press("ArrowDown")
    maps = visit.page.locator(".interactive .maps canvas")
    visit.page.locator(".interactive .maps canvas[aria-label*='after norm1']").first.wait_for()
    assert [canvas.get_attribute("aria-label") for canvas in maps.all()] == [
        f"12 feature maps after norm1, tower {tower} of 2" for tower in (1, 2)
    ]
    assert not visit.troubles, "\n".join(visit.troubles)
