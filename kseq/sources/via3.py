"""The project files of the VGG Image Annotator 3, whose regions are numbers: their images and regions as VIA 2 has them.

Source: the pages of VIA 3, "annotations".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

__all__ = ["is_via3", "read_via3"]

# The number of a shape to its name in VIA 2, and the names of the numbers behind it; lines and polygons have x, y, x, y, ...
_SHAPES: Mapping[int, tuple[str, tuple[str, ...]]] = {
    1: ("point", ("cx", "cy")),
    2: ("rect", ("x", "y", "width", "height")),
    3: ("circle", ("cx", "cy", "r")),
    4: ("ellipse", ("cx", "cy", "rx", "ry")),
    5: ("line", ()),
    6: ("polyline", ()),
    7: ("polygon", ()),
    8: ("rect", ("x", "y", "width", "height")),
    9: ("circle", ("cx", "cy", "r")),
}


def is_via3(content: Any) -> bool:
    """Whether the content of a JSON file is such a project."""
    parts = ("file", "view", "metadata", "attribute")
    return isinstance(content, dict) and all(isinstance(content.get(part), dict) for part in parts)


def read_via3(content: Mapping[str, Any]) -> Iterator[tuple[str, list[dict[str, Any]], int]]:
    """The images of a project.

    Gives:
        The name of each file, its regions with `shape_attributes` and `region_attributes` as VIA 2 has them, and how many of
        its entries have no place in the image, such as those of a time or of the whole image.
    """
    regions: dict[str, list[dict[str, Any]]] = {str(key): [] for key in content["file"]}
    others = dict.fromkeys(regions, 0)
    for entry in content["metadata"].values():
        view = _mapping(content["view"].get(str(_mapping(entry).get("vid"))))
        listed = view.get("fid_list")
        files = [str(key) for key in listed] if isinstance(listed, list) else []
        for key in (key for key in files if key in regions):
            if not entry.get("xy"):
                others[key] += 1
                continue
            attributes = dict(_attributes(_mapping(entry.get("av")), content["attribute"]))
            regions[key].append({"shape_attributes": _shape(entry["xy"]), "region_attributes": attributes})
    for key, entry in content["file"].items():
        described = _mapping(entry)
        yield str(described.get("fname") or described.get("src") or ""), regions[str(key)], others[str(key)]


def _shape(numbers: Any) -> dict[str, Any]:
    kind, *sides = numbers if isinstance(numbers, list) else [0]
    name, names = _SHAPES.get(kind if isinstance(kind, int) else 0, ("unknown", ()))
    if names:
        return {"name": name, **dict(zip(names, sides, strict=False))}
    return {"name": name, "all_points_x": sides[::2], "all_points_y": sides[1::2]}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _attributes(values: Mapping[str, Any], attributes: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    """The names of attributes and what they say, options by their names."""
    for key, value in values.items():
        described = _mapping(attributes.get(str(key)))
        options = _mapping(described.get("options"))
        # Of several choices, one text has the keys, with commas.
        chosen = [str(options.get(option, option)) for option in str(value).split(",")] if options else [value]
        yield str(described.get("aname") or key), chosen[0] if len(chosen) == 1 else dict.fromkeys(chosen, True)
