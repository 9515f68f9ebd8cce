import errno
import io
import subprocess
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import EpsImagePlugin, Image, ImageOps, PngImagePlugin

from alexnet_repro.data import ImageError, load_dataset, load_image
from alexnet_repro.data import decode as module
from alexnet_repro.data.decode import TURNS, central_square, decode, read


def gradient(height: int, width: int) -> np.ndarray:
    """Pixels whose red says which row they are in and whose green says which column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.full_like(rows, 200)], -1)


def test_one_image_is_loaded_as_a_data_set_of_it_would_hold_it(tmp_path):
    file = tmp_path / "images" / "train" / "red" / "1.png"
    file.parent.mkdir(parents=True)
    Image.linear_gradient("L").resize((40, 30)).save(file)
    assert torch.equal(load_image(str(file), 16), load_dataset(str(tmp_path / "images"), size=16).images[0])


def test_an_image_of_the_size_asked_for_is_left_alone(tmp_path):
    Image.fromarray(gradient(8, 8)).save(tmp_path / "a.png")
    pixels, repairs = decode(tmp_path / "a.png", 8)
    assert (pixels == gradient(8, 8)).all()
    assert repairs == ""


def test_the_square_is_cut_from_the_centre():
    wide = central_square(Image.fromarray(gradient(4, 10)), 4)
    assert (wide == gradient(4, 10)[:, 3:7]).all()
    tall = central_square(Image.fromarray(gradient(10, 4)), 4)
    assert (tall == gradient(10, 4)[3:7]).all()


def test_a_square_that_has_the_size_already_is_not_blurred_by_half_a_pixel():
    pixels = gradient(8, 9)
    square = central_square(Image.fromarray(pixels), 8)
    assert any(np.array_equal(square, pixels[:, x : x + 8]) for x in (0, 1))


def test_shrinking_averages_areas():
    halved = central_square(Image.fromarray(gradient(8, 8)), 4)
    expected = gradient(8, 8).reshape(4, 2, 4, 2, 3).mean((1, 3))
    assert np.abs(halved - expected).max() <= 0.5


def test_enlarging_is_cubic_and_keeps_a_ramp():
    enlarged = central_square(Image.fromarray(gradient(8, 8) * 20), 16).astype(float)
    assert np.abs(np.diff(enlarged[4:12, 8, 0]) - 10).max() <= 1


@pytest.mark.parametrize(
    ("mode", "colour", "expected", "repairs"),
    [
        ("L", 77, (77, 77, 77), "greyscale"),
        ("1", 1, (255, 255, 255), "greyscale"),
        ("LA", (77, 255), (77, 77, 77), "greyscale, transparent"),
        ("RGBA", (10, 20, 30, 0), (255, 255, 255), "transparent"),
        ("RGBA", (0, 0, 0, 128), (127, 127, 127), "transparent"),
        ("I;16", 257 * 99, (99, 99, 99), "16 bits, greyscale"),
    ],
)
def test_every_kind_of_image_becomes_rgb(tmp_path, mode, colour, expected, repairs):
    Image.new(mode, (3, 3), colour).save(tmp_path / "a.png")
    pixels, said = decode(tmp_path / "a.png", 3)
    assert (pixels == expected).all()
    assert said == repairs


def test_white_of_sixteen_bits_is_white_in_whatever_way_pillow_keeps_them(tmp_path):
    (tmp_path / "a.pgm").write_bytes(b"P5 2 2 1023 " + 4 * b"\x03\xff")
    Image.new("I;16", (2, 2), 65535).save(tmp_path / "a.tif")
    for path in tmp_path.iterdir():
        pixels, repairs = decode(path, 2)
        assert (pixels == 255).all()
        assert repairs == "16 bits, greyscale"


def test_a_transparent_grey_value_of_sixteen_bits_is_white(tmp_path):
    values = np.array([[257 * 9, 0], [257 * 9 + 1, 65535]], np.uint16)
    image = Image.fromarray(values)
    image.save(tmp_path / "a.png", transparency=257 * 9)
    pixels, repairs = decode(tmp_path / "a.png", 2)
    assert pixels[..., 0].tolist() == [[255, 0], [9, 255]]
    assert repairs == "16 bits, greyscale, transparent"


@pytest.mark.parametrize(("mode", "value"), [("F", 0.5), ("F", 200.0), ("I", 200), ("I", 2**30)])
def test_grey_values_of_which_none_is_known_as_white_are_refused(tmp_path, mode, value):
    Image.new(mode, (3, 3), value).save(tmp_path / "a.tif")
    with pytest.raises(ImageError, match=r"a\.tif has grey values of 32 bits"):
        read(tmp_path / "a.tif")


def test_a_palette_is_looked_up(tmp_path):
    Image.new("RGB", (3, 3), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE).save(tmp_path / "a.png")
    pixels, repairs = decode(tmp_path / "a.png", 3)
    assert (pixels == (10, 20, 30)).all()
    assert repairs == "palette"


def test_cmyk_becomes_rgb(tmp_path):
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "a.jpg", quality=100)
    pixels, repairs = decode(tmp_path / "a.jpg", 8)
    assert np.abs(pixels.astype(int) - (255, 0, 0)).max() <= 3
    assert repairs == "CMYK"


@pytest.mark.parametrize("kind", ["png", "tif"])  # Pillow itself turns only the second
def test_an_image_that_was_taken_sideways_is_turned_upright(tmp_path, kind):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(gradient(4, 4)).save(tmp_path / f"a.{kind}", exif=exif)
    pixels, repairs = decode(tmp_path / f"a.{kind}", 4)
    assert (pixels == np.rot90(gradient(4, 4), -1)).all()
    assert repairs == "turned"


def test_truncated_empty_and_foreign_files_are_named(tmp_path):
    Image.fromarray(gradient(64, 64)).save(tmp_path / "whole.jpg")
    whole = (tmp_path / "whole.jpg").read_bytes()
    for name, content in (("half.jpg", whole[: len(whole) // 2]), ("empty.jpg", b""), ("text.jpg", b"not an image")):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ImageError, match=f"{name} is not a readable image"):
            read(tmp_path / name)
    with pytest.raises(ImageError, match=r"missing\.jpg is not a readable image"):
        read(tmp_path / "missing.jpg")


def test_a_file_in_a_folder_that_may_not_be_entered_is_named(tmp_path, monkeypatch):
    def denied(path, **_):
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr(Path, "is_file", denied)
    with pytest.raises(ImageError, match=r"a\.png is not a readable image: Permission denied\. Replace or remove it"):
        read(tmp_path / "a.png", "a.png")


def test_a_damaged_png_is_named(tmp_path):
    Image.fromarray(gradient(64, 64)).save(tmp_path / "a.png")
    content = bytearray((tmp_path / "a.png").read_bytes())
    content[60:70] = bytes(10)
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(ImageError, match=r"a\.png is not a readable image"):
        read(tmp_path / "a.png")


def test_an_animation_is_refused(tmp_path):
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 200)]
    frames[0].save(tmp_path / "a.gif", save_all=True, append_images=frames[1:])
    with pytest.raises(ImageError, match=r"a.gif is animated \(2 frames\)"):
        read(tmp_path / "a.gif")


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    Image.new("RGB", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(module, "MAX_PIXELS", 1199)
    with pytest.raises(ImageError, match=r"a\.png has 40x30 pixels, more than 1,199"):
        read(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 500)
    with pytest.raises(ImageError, match=r"a\.png has more than 1,199 pixels"):
        read(tmp_path / "a.png")


def test_one_pixel_is_an_image_and_no_size_is_none():
    assert central_square(Image.new("RGB", (1, 1), (1, 2, 3)), 4).tolist() == [[[1, 2, 3]] * 4] * 4
    with pytest.raises(ValueError, match="size must be at least 1 pixel, not 0"):
        central_square(Image.new("RGB", (1, 1)), 0)


WRITTEN = {  # format -> mode of an image that it can hold
    "AVIF": "RGB", "BLP": "P", "BMP": "RGB", "DDS": "RGBA", "DIB": "RGB", "GIF": "P", "ICNS": "RGBA", "ICO": "RGBA",
    "JPEG": "RGB", "JPEG2000": "RGB", "MPO": "RGB", "MSP": "1", "PCX": "P", "PNG": "LA", "PPM": "RGB",
    "QOI": "RGB", "SGI": "RGB", "TGA": "RGB", "TIFF": "RGB", "WEBP": "RGB", "XBM": "1",
}  # fmt: skip


def written(kind: str, **how: object) -> bytes:
    """A sound file of this format, with whatever beside the pixels the format takes."""
    content = io.BytesIO()
    image = Image.fromarray(np.random.default_rng(0).integers(0, 256, (20, 24, 3), np.uint8)).convert(WRITTEN[kind])
    if kind in ("JPEG", "PNG", "TIFF", "WEBP", "MPO", "AVIF"):
        how["exif"] = Image.Exif()
        how["exif"][0x0112] = 6
        how["exif"][0x010E] = "a description"
    if kind == "PNG":
        how["pnginfo"] = PngImagePlugin.PngInfo()
        how["pnginfo"].add_text("a", "text " * 20, zip=True)
        how["pnginfo"].add_itxt("b", "text " * 20, zip=True)
    image.save(content, kind, **how)
    return content.getvalue()


def damaged(whole: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, or with bytes changed, most of them in the first hundred, where the format says what there is."""
    content = bytearray(whole)
    if rng.random() < 0.25:
        return bytes(content[: rng.integers(len(content))])
    for _ in range(rng.integers(1, 6)):
        place = rng.integers(min(len(content), 100 if rng.random() < 0.7 else len(content)))
        content[place] = rng.choice([0, 1, 127, 255, rng.integers(256)])
    return bytes(content)


@pytest.mark.parametrize("kind", WRITTEN)
def test_a_damaged_file_of_any_format_is_read_or_named(kind, monkeypatch):
    monkeypatch.setattr(module, "MAX_PIXELS", 1_100_000)  # so that a wrong size takes no time
    rng, whole = np.random.default_rng(list(kind.encode())), written(kind)
    assert decode(io.BytesIO(whole), 8)[0].shape == (8, 8, 3)
    with warnings.catch_warnings(action="ignore"):
        for number in range(45):
            try:
                pixels, _ = decode(io.BytesIO(damaged(whole, rng)), 8, f"file {number}")
                assert pixels.shape == (8, 8, 3)
            except ImageError as error:
                assert str(error).startswith(f"file {number} ")  # noqa: PT017


@pytest.mark.parametrize("error", [ValueError("bad"), RuntimeError(), KeyError(7), zlib.error("bad"), AssertionError()])
def test_whatever_a_reader_raises_names_the_file(error, tmp_path, monkeypatch):
    (tmp_path / "a.png").write_bytes(written("PNG"))

    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fails)
    with pytest.raises(ImageError, match=rf"a\.png is not a readable image: {type(error).__name__}"):
        read(tmp_path / "a.png")


@pytest.mark.parametrize("error", [MemoryError, KeyboardInterrupt])
def test_a_lack_of_memory_and_an_interruption_are_no_fault_of_the_file(error, monkeypatch):
    def fails(*_: object) -> None:
        raise error

    monkeypatch.setattr(PngImagePlugin.PngImageFile, "load", fails)
    with pytest.raises(error):
        read(io.BytesIO(written("PNG")), "a.png")


@pytest.mark.parametrize("add", ["add_text", "add_itxt"])
def test_a_png_with_a_long_text_is_an_image(add):
    info, content = PngImagePlugin.PngInfo(), io.BytesIO()
    getattr(info, add)("notes", "0123456789" * 200_000, zip=True)
    Image.fromarray(gradient(8, 8)).save(content, "PNG", pnginfo=info)
    pixels, repairs = decode(content, 8, "a.png")
    assert (pixels == gradient(8, 8)).all()
    assert repairs == ""


@pytest.mark.parametrize("kind", ["MPO", "TIFF"])
def test_of_several_images_in_a_file_the_first_is_the_image(kind):
    first, second = (Image.new("RGB", (8, 8), (shade, 0, 0)) for shade in (200, 10))
    content = io.BytesIO()
    first.save(content, kind, save_all=True, append_images=[second])
    with Image.open(content) as image:
        assert image.n_frames == 2
    assert abs(int(decode(content, 8, "a")[0][4, 4, 0]) - 200) <= 1


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP", "AVIF"])
def test_frames_of_every_kind_of_animation_are_refused_and_one_frame_is_not(kind):
    frames = [Image.new("RGB", (16, 16), (shade, 0, 0)) for shade in (0, 200)]
    moving, still = io.BytesIO(), io.BytesIO()
    frames[0].save(moving, kind, save_all=True, append_images=frames[1:])
    frames[1].save(still, kind, save_all=True)
    with pytest.raises(ImageError, match=r"a is animated \(2 frames\)"):
        read(moving, "a")
    assert read(still, "b")[0].size == (16, 16)


@pytest.mark.parametrize("orientation", range(10))
def test_an_image_is_turned_as_pillow_turns_it_and_only_by_an_orientation_that_there_is(orientation):
    exif, content = Image.Exif(), io.BytesIO()
    exif[0x0112] = orientation
    Image.fromarray(gradient(8, 8)).save(content, "PNG", exif=exif)
    pixels, repairs = decode(content, 8, "a.png")
    with Image.open(content) as image:
        assert (pixels == np.asarray(ImageOps.exif_transpose(image))).all()
    assert repairs == ("turned" if orientation in TURNS else "")
    assert set(TURNS) == {2, 3, 4, 5, 6, 7, 8}


def test_the_description_of_how_it_was_taken_need_not_be_sound_for_an_image_to_be_turned(monkeypatch):
    content = io.BytesIO(written("PNG"))

    def fails(*_: object) -> None:
        raise TypeError

    monkeypatch.setattr(Image.Exif, "tobytes", fails)
    assert read(content, "a.png")[0].size == (20, 24)


def with_exif(kind: str, exif: bytes | Image.Exif) -> io.BytesIO:
    content = io.BytesIO()
    Image.fromarray(gradient(20, 24)).save(content, kind, exif=exif, lossless=True)
    return content


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize(
    "exif", [bytes(60), b"MM\0*\0\0", b"II*\0", b"no such thing"], ids=["zeroed", "cut", "cut short", "foreign"]
)
def test_an_image_whose_exif_block_is_damaged_is_read_and_not_turned(kind, exif):
    pixels, repairs = read(with_exif(kind, b"Exif\0\0" + exif), "a")
    assert (np.asarray(pixels) == np.asarray(read(with_exif(kind, b""), "a")[0])).all()
    assert repairs == ""


@pytest.mark.parametrize("profile", ["\nexif\n  10\nno digits", "\nexif\n  2\n00"])
def test_a_png_whose_profile_holds_no_exif_block_is_read_and_not_turned(profile):
    info, content = PngImagePlugin.PngInfo(), io.BytesIO()
    info.add_text("Raw profile type exif", profile)
    Image.fromarray(gradient(20, 24)).save(content, "PNG", pnginfo=info)
    pixels, repairs = read(content, "a")
    assert (np.asarray(pixels) == gradient(20, 24)).all()
    assert repairs == ""


def test_a_lack_of_memory_while_the_exif_block_is_read_is_no_damage(monkeypatch):
    def fails(*_: object) -> None:
        raise MemoryError

    content = with_exif("WEBP", Image.Exif())
    monkeypatch.setattr(Image.Exif, "get", fails)
    with pytest.raises(MemoryError):
        read(content, "a")


def test_a_file_that_would_start_another_program_is_refused_by_name(tmp_path, monkeypatch):
    Image.fromarray(gradient(8, 8)).save(tmp_path / "a.eps")
    (tmp_path / "a.eps").rename(tmp_path / "a.jpg")
    monkeypatch.setattr(EpsImagePlugin, "Ghostscript", lambda *_, **__: pytest.fail("started"))
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("started"))
    with pytest.raises(ImageError, match=r"a\.jpg is not a readable image: EPS or PostScript, a format that is not"):
        read(tmp_path / "a.jpg")


def test_a_document_is_refused_by_name():
    content = io.BytesIO()
    Image.fromarray(gradient(8, 8)).save(content, "PDF")
    with pytest.raises(ImageError, match=r"a\.jpg is not a readable image: PDF, a format that is not opened"):
        read(content, "a.jpg")


def test_every_format_that_is_opened_is_one_of_pillow_s():
    Image.init()
    assert set(module.FORMATS) <= set(Image.OPEN)
    assert not {"EPS", "WMF", "IM", "BUFR", "GRIB", "HDF5", "MPEG", "IPTC", "DCX", "FLI", "FITS"} & set(module.FORMATS)
