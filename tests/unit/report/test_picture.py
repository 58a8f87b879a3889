from __future__ import annotations

import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
import resvg_py
from PIL import Image

from droplab.errors import BackendError, RunError
from droplab.report import _picture, figure_png, figure_svg
from droplab.verdict import judge


def ink(path, box) -> float:
    """The share of pixels in a part of the picture that are not white."""
    with Image.open(path) as picture:
        part = np.asarray(picture.convert("L").crop(box))
    return float((part < 200).mean())


def test_the_figure_is_a_well_formed_svg(fashion):
    root = ET.fromstring(figure_svg(fashion, judge(fashion)))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    words = " ".join(root.itertext())
    assert "Dropout helps" in words
    assert "var(" not in words, "a renderer of pixels knows no variables"


def test_text_is_drawn_on_a_machine_without_fonts(tmp_path, fashion, monkeypatch):
    real = resvg_py.svg_to_bytes
    monkeypatch.setattr(
        resvg_py, "svg_to_bytes", lambda **options: real(**options, skip_system_fonts=True)
    )
    path = tmp_path / "figure.png"
    figure_png(fashion, judge(fashion), path)
    with Image.open(path) as picture:
        assert picture.format == "PNG"
        assert picture.width == 2000
    assert ink(path, (80, 50, 600, 120)) > 0.05, "the headline"
    assert ink(path, (80, 140, 1900, 210)) > 0.01, "the sentence"
    assert ink(path, (780, 300, 900, 700)) > 0.005, "the names of the curves"


def test_our_own_words_need_no_letter_that_the_font_lacks(fashion, sweep):
    from PIL import ImageFont

    font = ImageFont.load_default(12)
    missing = bytes(font.getmask("\uffff"))
    for result in (fashion, sweep):
        svg = figure_svg(result, judge(result)).translate(_picture._PLAIN)
        for letter in set("".join(ET.fromstring(svg).itertext())) - set(" \n"):
            assert bytes(font.getmask(letter)) != missing, letter


def test_without_resvg_it_says_what_to_install(tmp_path, fashion, monkeypatch):
    monkeypatch.setitem(sys.modules, "resvg_py", None)
    with pytest.raises(BackendError, match=r"pip install 'droplab\[png\]'"):
        figure_png(fashion, judge(fashion), tmp_path / "figure.png")


def test_a_place_that_cannot_be_written(tmp_path, fashion):
    with pytest.raises(RunError, match="cannot be written"):
        figure_png(fashion, judge(fashion), tmp_path / "missing" / "figure.png")
