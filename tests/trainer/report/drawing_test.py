import xml.etree.ElementTree

import pytest

from trainer.report.drawing import SERIES, Drawing


@pytest.fixture
def svg():
    with Drawing('From "a" & <b>.') as drawing:
        drawing.axes.plot([1, 2], [3, 4], "o-", color=SERIES[0])
        drawing.axes.set_xlabel("epoch")
    return drawing.svg


def test_a_drawing_is_well_formed_and_described(svg):
    root = xml.etree.ElementTree.fromstring(svg)
    assert root.get("aria-label") == 'From "a" & <b>.'
    assert root.get("role") == "img"
    assert root.get("viewBox")
    assert root.get("width") is None


def test_a_drawing_has_the_colors_of_the_page_and_no_others(svg):
    assert "stroke: var(--series-1)" in svg
    assert "var(--text)" in svg
    assert "#01020" not in svg
    assert "#000000" not in svg.replace("fill: none", "")


def test_text_stays_text(svg):
    assert ">epoch</text>" in svg


def test_the_same_figure_gives_the_same_text(svg):
    with Drawing('From "a" & <b>.') as again:
        again.axes.plot([1, 2], [3, 4], "o-", color=SERIES[0])
        again.axes.set_xlabel("epoch")
    assert again.svg == svg
