"""The strip below a picture on the source grid: color bar, keys of the lines, and text, as large as suits the width."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from monai_robustinterp.visualize.color_map import colors_of
from monai_robustinterp.visualize.outlined import GRAY_LINE_COLOR, LUNGS_LINE_COLOR

SHARE_LABEL = "line: the reported cells, in the color of the share of noisy copies that vote for the cell"
UNCERTAIN_LABEL = "gray dashes: the reported cells, of which nothing is claimed"
LUNGS_LABEL = "thin line: the lungs on the clean image"

_WHITE = (255, 255, 255)
_MIN_FONT_PX = 12
_WIDTH_PER_FONT_PX = 55

# Pillow's built-in font holds little beyond ASCII, and the words of this field are Greek.
_SPELLED_OUT = str.maketrans(
    {"α": "alpha", "β": "beta", "η": "eta", "σ": "sigma", "ε": "epsilon", "ℓ": "l"}  # noqa: RUF001
    | {"≥": ">=", "≤": "<=", "≈": "~", "±": "+/-", "‖": "||", "∞": "inf", "	": " "}
    | {"×": "x", "–": "-", "—": "-", "−": "-"}  # noqa: RUF001
)


def render_strip(
    width: int, lines: Sequence[str], *, stable: bool = True, lungs: bool = False
) -> npt.NDArray[np.uint8]:
    """Draw color bar, keys and text, white on black.

    Args:
        width: width of the picture that the strip goes under, in pixels.
        lines: text, one paragraph an item, wrapped to the width. Signs that the font lacks are spelled out or
            become ``?``.
        stable: whether the picture has colors; if not, there is a key of gray dashes in place of the color bar.
        lungs: whether the contour of the lungs has a key too.

    Returns:
        RGB strip, uint8, shape [strip, width, 3]; the strip is as high as its content.
    """
    font = _font(width)
    unit = round(font.size)
    margin = unit // 2
    row = math.ceil(1.35 * unit)
    room = max(width - 2 * margin, 1)
    color = LUNGS_LINE_COLOR if stable else GRAY_LINE_COLOR
    keys = [(UNCERTAIN_LABEL, GRAY_LINE_COLOR)] * (not stable) + [(LUNGS_LABEL, color)] * lungs
    share_lines = list(_wrap(SHARE_LABEL, font, room)) if stable else []
    key_lines = [list(_wrap(label, font, max(room - 2 * unit, 1))) for label, _ in keys]
    text_lines = [part for line in lines for part in _wrap(line, font, room)]
    height = 3 * margin + row * (stable + len(share_lines) + sum(map(len, key_lines)) + len(text_lines))
    image = Image.new("RGB", (width, height))
    draw = ImageDraw.Draw(image)
    top = margin
    if stable:
        _draw_bar(image, draw, font, top)
        top = _draw_lines(draw, font, share_lines, (margin, top + row), row)
    for (_, key_color), labels in zip(keys, key_lines):
        middle = top + round(0.6 * unit)
        draw.line((margin, middle, margin + unit, middle), fill=key_color, width=max(1, unit // 8))
        top = _draw_lines(draw, font, labels, (margin + 2 * unit, top), row)
    _draw_lines(draw, font, text_lines, (margin, top + margin), row)
    return np.asarray(image)


def _font(width: int) -> ImageFont.FreeTypeFont:
    return font_of(max(_MIN_FONT_PX, round(width / _WIDTH_PER_FONT_PX)))


def font_of(size: int) -> ImageFont.FreeTypeFont:
    """Pillow's own font, so that pictures are alike on every machine.

    Args:
        size: of an em in pixels.
    """
    font = ImageFont.load_default(size=size)
    if not isinstance(font, ImageFont.FreeTypeFont):
        raise RuntimeError("this Pillow was built without FreeType, so it has one font size only; install the wheel.")
    return font


def _draw_bar(image: Image.Image, draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, top: int) -> None:
    """The color bar between 0 and 1, in the colors of the lines."""
    unit = round(font.size)
    margin = unit // 2
    left, right = margin + unit, image.width - margin - unit
    if right <= left:
        return
    share = np.broadcast_to(np.linspace(0, 1, right - left), (unit, right - left))
    image.paste(Image.fromarray(colors_of(share)), (left, top))
    draw.text((margin, top), "0", fill=_WHITE, font=font)
    draw.text((right + margin // 2, top), "1", fill=_WHITE, font=font)


def _draw_lines(
    draw: ImageDraw.ImageDraw, font: ImageFont.FreeTypeFont, lines: Sequence[str], corner: tuple[int, int], row: int
) -> int:
    left, top = corner
    for line in lines:
        draw.text((left, top), line, fill=_WHITE, font=font)
        top += row
    return top


def _wrap(text: str, font: ImageFont.FreeTypeFont, room: float) -> Iterator[str]:
    """The text in lines of at most ``room`` pixels, broken at spaces, or within a word that is wider than the room."""
    line = ""
    for word in drawable(text).split(" "):
        longer = f"{line} {word}" if line else word
        if font.getlength(longer) <= room:
            line = longer
            continue
        if line:
            yield line
        line = word
        while font.getlength(line) > room and len(line) > 1:
            fits = max(n for n in range(1, len(line) + 1) if n == 1 or font.getlength(line[:n]) <= room)
            yield line[:fits]
            line = line[fits:]
    yield line


def drawable(text: str) -> str:
    """The text in signs that the font holds: Greek letters spelled out, accents dropped, the rest as ``?``."""
    plain = unicodedata.normalize("NFKD", text.translate(_SPELLED_OUT))
    kept = (sign for sign in plain if not unicodedata.combining(sign))
    return "".join(sign if " " <= sign <= "~" else "?" for sign in kept)
