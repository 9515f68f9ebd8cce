import numpy as np
import pytest
from PIL import Image

from alexnet_repro.data import ImageError
from alexnet_repro.data import decode as module
from alexnet_repro.data.decode import central_square, decode, read


def gradient(height: int, width: int) -> np.ndarray:
    """Pixels whose red says which row they are in and whose green says which column."""
    rows, columns = np.mgrid[:height, :width].astype(np.uint8)
    return np.stack([rows, columns, np.full_like(rows, 200)], -1)


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


def test_an_image_that_was_taken_sideways_is_turned_upright(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned a quarter clockwise
    Image.fromarray(gradient(4, 4)).save(tmp_path / "a.png", exif=exif)
    pixels, repairs = decode(tmp_path / "a.png", 4)
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
