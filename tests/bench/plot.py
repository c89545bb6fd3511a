"""Draws the plots of docs/performance.md, with the packages of requirements/bench.lock: not with the project's own.

plot.py < plots.json: an object of file names, each with `title`, `labels` and `series`, of which each has a value or null for each label.
"""

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET  # this file's own output

import pygal
from pygal.style import CleanStyle

WIDTH, ROW_HEIGHT, REST_HEIGHT = 900, 26, 140
STYLE = CleanStyle(
    font_family="sans-serif", background="white", plot_background="white", value_font_size=12, opacity=".6", guide_stroke_color="#dddddd",
    major_guide_stroke_color="#dddddd",
)  # fmt: skip
SVG = "http://www.w3.org/2000/svg"
XLINK = "http://www.w3.org/1999/xlink"


def svg(plot: Mapping[str, Any]) -> bytes:
    """Returns horizontal bars without scripts, and the same bytes for the same figures."""
    bars = sum(value is not None for values in plot["series"].values() for value in values)
    chart = pygal.HorizontalBar(
        title=plot["title"], x_labels=plot["labels"], width=WIDTH, height=REST_HEIGHT + ROW_HEIGHT * max(bars, len(plot["labels"])),
        style=STYLE, print_values=True, js=[],
        value_formatter="{:,.0f}".format, show_legend=len(plot["series"]) > 1, no_prefix=True, legend_at_bottom=True,
    )  # fmt: skip
    chart.uuid = "plot"
    for name, values in plot["series"].items():
        chart.add(name, values)
    tree = ET.fromstring(chart.render())  # noqa: S314  # made here
    for parent in list(tree.iter()):
        for child in [each for each in parent if each.tag in {f"{{{SVG}}}script", "script"}]:
            parent.remove(child)
    ET.register_namespace("", SVG)
    ET.register_namespace("xlink", XLINK)
    return bytes(ET.tostring(tree, encoding="utf-8", xml_declaration=True)) + b"\n"


def main() -> None:
    """Writes all plots."""
    for name, plot in json.load(sys.stdin).items():
        Path(name).write_bytes(svg(plot))


if __name__ == "__main__":
    main()
