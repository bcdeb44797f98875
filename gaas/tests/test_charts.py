"""Charts: curves with words for who does not see them, and nothing in them that a page would run."""

from __future__ import annotations

from xml.etree import ElementTree

import pytest

from gaas.lib.charts import Chart, short


def drawn(*points, **rest) -> ElementTree.Element:
    chart = Chart(rest.pop("title", "Loss"), rest.pop("unit", ""), points, 0, 100, **rest)
    svg = chart.svg(lambda x: f"{x:.0f} s", key="k").replace("scope=col", 'scope="col"')
    return ElementTree.fromstring(svg)


class TestChart:
    def test_it_is_named_and_told_in_words(self):
        figure = drawn((0, 1), (50, 3), (100, 2), unit=" %")
        assert figure.find("svg/title").text == "Loss"
        assert figure.find("svg/desc").text == "From 1 % to 3 %; the last value is 2 %."
        assert figure.find("svg").get("role") == "img"

    def test_a_table_says_the_same(self):
        rows = drawn((0, 1), (100, 2.5)).findall("details/table/tbody/tr")
        assert [[cell.text for cell in row] for row in rows] == [["0 s", "1"], ["100 s", "2.5"]]

    def test_a_long_table_is_thinned(self):
        assert len(drawn(*((n, n) for n in range(100))).findall("details/table/tbody/tr")) <= 40

    def test_a_gap_breaks_the_line_and_a_point_alone_is_a_dot(self):
        figure = drawn((0, 1), (1, 1), (50, 1), gap=10)
        assert figure.find("svg/path").get("d").count("M") == 1
        assert len(figure.findall("svg/circle")) == 1

    def test_it_stays_within_its_frame(self):
        figure = drawn((0, 0), (100, 150), top=100)
        path = figure.find("svg/path").get("d")
        for place in path[1:].split("L"):
            x, y = map(float, place.split(","))
            assert 0 <= x <= 360
            assert 0 <= y <= 130

    @pytest.mark.parametrize("points", [[], [(0, 0)], [(0, -5), (100, -5)], [(0, 1e300), (100, -1e300)]], ids=len)
    def test_odd_ones_are_drawn_too(self, points):
        assert "nan" not in ElementTree.tostring(drawn(*points)).decode()

    def test_a_title_is_text(self):
        figure = drawn((0, 1), (1, 2), title='<script>alert("x")</script>')
        assert figure.find("figcaption").text == '<script>alert("x")</script>'


@pytest.mark.parametrize(
    ("value", "words"), [(0, "0"), (5.0, "5"), (0.12345, "0.123"), (81559, "81559"), (1234.5, "1 234"), (1e-9, "1e-09")]
)
def test_numbers_are_short(value, words):
    assert short(value) == words
