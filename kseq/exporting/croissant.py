"""Croissant: what a dataset is, as JSON-LD that catalogues and loaders read.

The rules:

- It conforms to Croissant 1.1. The distribution is `index.h5`, with its SHA-256, and the set of all shards. The index has a
  digest of each shard, so that one checksum stands for all files.
- The record set `samples` has a field for each field of a sample, whose source is the array of the shards that holds it. The
  classes of each field that has some, and the splits, are record sets with their records in them.
- Numbers of fields are of the dtype that is stored; shapes are in the order of the arrays, -1 for a length that differs.

Source: the specification of Croissant 1.1 of MLCommons, and its package mlcroissant, which validates.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from kseq.display.words import sort_splits
from kseq.exporting.data_card import Statements
from kseq.reading.dataset import ShardDataset, sample_reader
from kseq.storage.fields import Field
from kseq.storage.layout import INDEX_NAME, SHARD_PATTERN

__all__ = ["CROISSANT_NAME", "croissant_text"]

CROISSANT_NAME = "croissant.json"
_VERSION = "http://mlcommons.org/croissant/1.1"
_HDF5 = "application/x-hdf5"

# The context that the specification gives, word for word.
_CONTEXT: Mapping[str, Any] = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "arrayShape": "cr:arrayShape",
    "citeAs": "cr:citeAs",
    "column": "cr:column",
    "conformsTo": "dct:conformsTo",
    "containedIn": "cr:containedIn",
    "cr": "http://mlcommons.org/croissant/",
    "data": {"@id": "cr:data", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    "dct": "http://purl.org/dc/terms/",
    "description": {"@container": "@language"},
    "equivalentProperty": "cr:equivalentProperty",
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "extract": "cr:extract",
    "field": "cr:field",
    "fileObject": "cr:fileObject",
    "fileProperty": "cr:fileProperty",
    "fileSet": "cr:fileSet",
    "format": "cr:format",
    "includes": "cr:includes",
    "isArray": "cr:isArray",
    "isLiveDataset": "cr:isLiveDataset",
    "jsonPath": "cr:jsonPath",
    "key": "cr:key",
    "md5": "cr:md5",
    "name": {"@container": "@language"},
    "parentField": "cr:parentField",
    "path": "cr:path",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "recordSet": "cr:recordSet",
    "references": "cr:references",
    "regex": "cr:regex",
    "repeated": "cr:repeated",
    "replace": "cr:replace",
    "samplingRate": "cr:samplingRate",
    "sc": "https://schema.org/",
    "separator": "cr:separator",
    "source": "cr:source",
    "subField": "cr:subField",
    "transform": "cr:transform",
}
_SPLITS = {"train": "cr:TrainingSplit", "val": "cr:ValidationSplit", "test": "cr:TestSplit"}


def croissant_text(dataset: ShardDataset, statements: Statements) -> str:
    """The JSON-LD of a dataset.

    Raises:
        ReadError: If the operating system refuses to read the index.
    """
    (index,) = sample_reader(dataset).collection.indexes
    sha256, num_bytes = index.file_sha256()
    said = {
        "license": statements.license,
        "url": statements.url,
        "citeAs": statements.citation,
        "datePublished": statements.date,
        "version": statements.version,
    }
    described = statements.description or f"{len(dataset):,} images that kseq has packed into HDF5 shards."
    metadata = {
        "@context": _CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": _VERSION,
        "name": statements.name,
        "description": f"{described}\n\nkseq digest: {dataset.digest}",
        **{name: value for name, value in said.items() if value},
        **({"creator": {"@type": "Person", "name": statements.creator}} if statements.creator else {}),
        "distribution": [
            {
                "@type": "cr:FileObject",
                "@id": "index",
                "name": INDEX_NAME,
                "description": "The shards, their digests, the classes and the splits.",
                "contentUrl": _content_url(statements.url, INDEX_NAME),
                "contentSize": f"{num_bytes} B",
                "encodingFormat": _HDF5,
                "sha256": sha256,
            },
            {
                "@type": "cr:FileSet",
                "@id": "shards",
                "name": "shards",
                "description": f"{dataset.num_shards:,} files beside the index, {dataset.num_bytes:,} bytes.",
                "encodingFormat": _HDF5,
                "includes": SHARD_PATTERN,
            },
        ],
        "recordSet": [_samples(dataset), *_classes(dataset), _splits(dataset.splits)],
    }
    return json.dumps(metadata, indent=2) + "\n"


def _content_url(url: str, name: str) -> str:
    return f"{url.rstrip('/')}/{name}" if url else name


def _samples(dataset: ShardDataset) -> dict[str, Any]:
    fields = [_field(name, field, dataset) for name, field in dataset.fields.items()]
    return {"@type": "cr:RecordSet", "@id": "samples", "name": "samples", "field": fields}


def _field(name: str, field: Field, dataset: ShardDataset) -> dict[str, Any]:
    has_classes = bool(field.handler.class_names(dataset.class_names))
    return {
        "@type": "cr:Field",
        "@id": f"samples/{name}",
        "name": name,
        "description": field.describe_storage(dataset.settings),
        "dataType": _data_type(field),
        **_shape(field),
        **({"references": {"field": {"@id": f"{_class_set(name)}/number"}}} if has_classes else {}),
        "source": {"fileSet": {"@id": "shards"}, "extract": {"column": field.handler.row_arrays[0].name}},
    }


def _data_type(field: Field) -> str:
    if field.is_pixels and field.handler.fits_png:
        return "sc:ImageObject"
    if field.kind == "text":
        return "sc:Text"
    dtype = np.dtype(field.dtype)
    return f"cr:{dtype.name.replace('uint', 'UInt').replace('int', 'Int').replace('float', 'Float')}"


def _shape(field: Field) -> dict[str, Any]:
    if _data_type(field).startswith("sc:") or not field.shape:
        return {}
    return {"isArray": True, "arrayShape": ",".join(str(-1 if length is None else length) for length in field.shape)}


def _class_set(name: str) -> str:
    return f"classes-of-{name}"


def _classes(dataset: ShardDataset) -> list[dict[str, Any]]:
    """The classes of each field that has some."""
    found = {name: field.handler.class_names(dataset.class_names) for name, field in dataset.fields.items()}
    return [
        _inline(_class_set(name), "sc:Enumeration", {"number": "sc:Integer", "name": "sc:Text"}, list(enumerate(names)))
        for name, names in found.items()
        if names
    ]


def _splits(splits: Mapping[str, int]) -> dict[str, Any]:
    fields = {"name": "sc:Text", "url": "sc:URL", "samples": "sc:Integer"}
    return _inline("splits", "cr:Split", fields, [(name, _SPLITS.get(name, ""), splits[name]) for name in sort_splits(splits)])


def _inline(name: str, data_type: str, fields: Mapping[str, str], rows: Sequence[tuple[Any, ...]]) -> dict[str, Any]:
    """A record set with its records; the first field is the key."""
    ids = [f"{name}/{field}" for field in fields]
    return {
        "@type": "cr:RecordSet",
        "@id": name,
        "name": name,
        "dataType": data_type,
        "key": {"@id": ids[0]},
        "field": [
            {"@type": "cr:Field", "@id": f"{name}/{field}", "name": field, "dataType": kind} for field, kind in fields.items()
        ],
        "data": [dict(zip(ids, row, strict=True)) for row in rows],
    }
