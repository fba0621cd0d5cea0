"""Field kinds: what a sample can hold, one class for each kind.

A kind says how its values are stored and read, what a batch holds of them, how they follow the image when it is cropped,
resized and flipped, how conditions on them are checked, and how they are read from tables and exported.

To add a kind, also one that only has another dtype, write a subclass of `FieldKind`, or of a kind that is nearly it, and
list it in `KINDS`, here. Sources, commands and exports ask `KINDS`: a target of the kind is packed with
`kseq.Columns(targets=..., kinds={NAME: KIND})`.

`base`: what most kinds share. `pixels`: image, mask. `maps`: numbers for each pixel. `classes`: label, several labels, labels
of boxes. `numbers`: numbers and vectors, loss weights. `instances`: the pixels of objects. `boxes`, `keypoints`, `text`.
"""

from __future__ import annotations

from kseq.storage.field_kinds.base import FieldKind, ImageDescription, LabelEncoder, RowArray, SampleEncoder
from kseq.storage.field_kinds.boxes import Boxes
from kseq.storage.field_kinds.classes import BoxLabels, ClassNumbers, Label, MultiLabel
from kseq.storage.field_kinds.instances import InstanceIds, Instances, WideInstances
from kseq.storage.field_kinds.keypoints import Keypoints
from kseq.storage.field_kinds.maps import Map, NearestMap
from kseq.storage.field_kinds.numbers import Numbers, SampleWeight
from kseq.storage.field_kinds.pixels import Image, Mask, Pixels
from kseq.storage.field_kinds.text import Text

__all__ = [
    "KINDS",
    "BoxLabels",
    "Boxes",
    "ClassNumbers",
    "FieldKind",
    "Image",
    "ImageDescription",
    "InstanceIds",
    "Instances",
    "Keypoints",
    "Label",
    "LabelEncoder",
    "Map",
    "Mask",
    "MultiLabel",
    "NearestMap",
    "Numbers",
    "Pixels",
    "RowArray",
    "SampleEncoder",
    "SampleWeight",
    "Text",
    "WideInstances",
]

# Every kind, by the name that files and messages give it. Sources list the fields of a sample in this order.
KINDS: dict[str, type[FieldKind]] = {
    kind.name: kind
    for kind in (
        Image,
        Label,
        Mask,
        Instances,
        WideInstances,
        Map,
        NearestMap,
        MultiLabel,
        Numbers,
        BoxLabels,
        Boxes,
        Keypoints,
        InstanceIds,
        Text,
        SampleWeight,
    )
}
