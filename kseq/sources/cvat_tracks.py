"""Tracks of CVAT's XML for videos ("CVAT for video 1.1"): the boxes of each frame, where frames lie beside it as images.

The rules:

- A track has a shape for each frame that its object is seen in: those that somebody drew (`keyframe`) and those in between,
  which CVAT writes too. A shape that is `outside` ends the object before its frame. Of a track of keyframes alone, as other
  tools write them, boxes in between are interpolated as CVAT does it, and a line counts them.
- Frames are image files whose names end in their numbers, `frame_000000.PNG`, in `images` or beside the file. Frames are
  counted from 0; where the images are counted from 1 and are as many as the task has frames, a line says so.
- A frame without a shape is an image without boxes. A frame with a shape and no image is rejected.
"""

from __future__ import annotations

import os
import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from xml.etree import ElementTree

from kseq.arguments import counted
from kseq.display.commands import shell_path
from kseq.errors import ImageError, SourceError, tell
from kseq.images.formats import IMAGE_SUFFIXES
from kseq.sources.annotated_images import AnnotatedImage, FoundObject
from kseq.sources.stated_sizes import stated_size

__all__ = ["read_tracks"]

_FOLDERS = ("images", "", "frames", "data")
_SIDES = ("xtl", "ytl", "xbr", "ybr")
_NUMBER = re.compile(r"(\d+)\.\w+$")

_Read = Callable[[str, ElementTree.Element, Counter[str]], FoundObject | None]


def read_tracks(
    path: str, root: str, annotations: ElementTree.Element, facts: Counter[str], read: _Read
) -> list[AnnotatedImage]:
    """The frames of a file, each with the objects of its shapes.

    Args:
        path: The file, for messages.
        root: The folder that frames lie in, or around theirs.
        annotations: The root of the file.
        facts: Counts what is left out.
        read: The object of a shape, as images have them.

    Raises:
        SourceError: If no frame lies beside the file.
    """
    shapes = list(_shapes(annotations))
    files = _frame_files(root)
    size = annotations.findtext(".//task/size") or ""
    if not files:
        raise SourceError(
            f"{path}: is CVAT's file of a video, and no frames lie beside it as images: {_way_out(root, annotations)}"
        )
    if 0 not in files and min(files) == 1 and (size == str(max(files)) or any(frame == 0 for frame, _, _ in shapes)):
        tell(f"{path}: frames are counted from 0, and their images from 1: {files[1]} is taken for frame 0")
        files = {number - 1: file for number, file in files.items()}
    stated = stated_size(annotations.findtext(".//original_size/height"), annotations.findtext(".//original_size/width"))
    numbers = sorted(files)
    between = [made for track in annotations.iter("track") for made in _between(track, numbers)]
    if between:
        tell(f"{path}: {counted(len(between), 'box is', 'boxes are')} interpolated between keyframes, as CVAT does it")
    objects: dict[int, list[FoundObject]] = {number: [] for number in sorted(files)}
    faults: dict[int, str] = {}
    for frame, what, shape in (*shapes, *between):
        found = objects.setdefault(frame, [])
        try:
            box = None if shape.get("outside") == "1" else read(what, shape, facts)
        except ImageError as error:
            faults.setdefault(frame, str(error))
        else:
            found += [] if box is None else [box]
    missing = "has no image: none of this number lies beside the file"
    return [
        AnnotatedImage(files[frame], found, stated, rejection=faults.get(frame))
        if frame in files
        else AnnotatedImage(f"frame {frame}", rejection=missing)
        for frame, found in objects.items()
    ]


def _shapes(annotations: ElementTree.Element) -> Iterator[tuple[int, str, ElementTree.Element]]:
    """The number of the frame of each shape, what messages call it, and the shape with the label of its track."""
    for number, track in enumerate(annotations.iter("track")):
        for shape in track:
            frame = shape.get("frame") or ""
            if frame.isdecimal():
                shape.set("label", track.get("label") or "")
                yield int(frame), f"{shape.tag} of track {track.get('id') or number}", shape


def _between(track: ElementTree.Element, frames: Sequence[int]) -> Iterator[tuple[int, str, ElementTree.Element]]:
    """The boxes between those of a track of keyframes alone, for frames that have images, sorted: as `_shapes` gives shapes."""
    boxes = [shape for shape in track if shape.tag == "box" and (shape.get("frame") or "").isdecimal()]
    if len(boxes) < len(track) or any(box.get("keyframe") != "1" for box in boxes):
        return
    for first, last in pairwise(sorted(boxes, key=lambda box: int(box.get("frame", "0")))):
        start, end = int(first.get("frame", "0")), int(last.get("frame", "0"))
        # An object that is outside at the end stays where it was until then.
        target = first if last.get("outside") == "1" else last
        # A frame may have any number: those that there are count.
        between = frames[bisect_right(frames, start) : bisect_left(frames, end)]
        for frame in between if first.get("outside") != "1" else ():
            made = ElementTree.Element("box", first.attrib)
            share = (frame - start) / (end - start)
            for side in _SIDES:
                made.set(side, _blend(first.get(side), target.get(side), share))
            yield frame, f"box of track {track.get('id')} between {start} and {end}", made


def _blend(first: str | None, last: str | None, share: float) -> str:
    """A number between two; what is none stays, and is refused where boxes are read."""
    try:
        return str(float(first or "") * (1 - share) + float(last or "") * share)
    except ValueError:
        return first or ""


def _frame_files(root: str) -> dict[int, str]:
    """The images of frames below a folder by their numbers, in the first folder that has some; empty if none has."""
    for folder in _FOLDERS:
        try:
            names = sorted(os.listdir(os.path.join(root, folder)))
        except OSError:
            continue
        images = [name for name in names if name.lower().endswith(IMAGE_SUFFIXES)]
        numbered = {int(match[1]): os.path.join(folder, name) for name in images if (match := _NUMBER.search(name))}
        if numbered:
            return numbered
    return {}


def _way_out(root: str, annotations: ElementTree.Element) -> str:
    folder = os.path.join(root, "images")
    video = os.path.basename(annotations.findtext(".//source") or "VIDEO")
    pattern = os.path.join(folder, "frame_%06d.png")
    return (
        f"mkdir -p {shell_path(folder)} && ffmpeg -i {shell_path(video)} -start_number 0 -vsync 0 {shell_path(pattern)} "
        "writes them"
    )
