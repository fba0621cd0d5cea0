"""The messages of `tf.train.Example`, read and written by protobuf without TensorFlow.

Source: the comments in `tensorflow/core/example/example.proto` and `feature.proto`.
"""

from __future__ import annotations

import functools
from typing import Any

from kseq.errors import ArgumentError, ImageError

__all__ = ["Features", "example_class", "parse_example"]

# tf.train.Example, as protobuf describes messages. A tf.train.SequenceExample has its context where this has its features, and
# lists in the field 2, which tell it.
_SCHEMA = """
name: "example.proto" package: "kseq" syntax: "proto3"
message_type { name: "BytesList" field { name: "value" number: 1 type: TYPE_BYTES label: LABEL_REPEATED } }
message_type { name: "FloatList" field { name: "value" number: 1 type: TYPE_FLOAT label: LABEL_REPEATED } }
message_type { name: "Int64List" field { name: "value" number: 1 type: TYPE_INT64 label: LABEL_REPEATED } }
message_type { name: "Feature" oneof_decl { name: "kind" }
  field { name: "bytes_list" number: 1 type: TYPE_MESSAGE type_name: ".kseq.BytesList" label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "float_list" number: 2 type: TYPE_MESSAGE type_name: ".kseq.FloatList" label: LABEL_OPTIONAL oneof_index: 0 }
  field { name: "int64_list" number: 3 type: TYPE_MESSAGE type_name: ".kseq.Int64List" label: LABEL_OPTIONAL oneof_index: 0 } }
message_type { name: "Features"
  field { name: "feature" number: 1 type: TYPE_MESSAGE type_name: ".kseq.Features.FeatureEntry" label: LABEL_REPEATED }
  nested_type { name: "FeatureEntry" options { map_entry: true }
    field { name: "key" number: 1 type: TYPE_STRING label: LABEL_OPTIONAL }
    field { name: "value" number: 2 type: TYPE_MESSAGE type_name: ".kseq.Feature" label: LABEL_OPTIONAL } } }
message_type { name: "Example"
  field { name: "features" number: 1 type: TYPE_MESSAGE type_name: ".kseq.Features" label: LABEL_OPTIONAL }
  field { name: "feature_lists" number: 2 type: TYPE_BYTES label: LABEL_OPTIONAL } }
"""

# The features of one record: name to values.
Features = dict[str, list[Any]]


def parse_example(data: bytes) -> Features:
    """The features of an Example; of a feature that is empty, no values.

    Raises:
        ImageError: If the bytes are no Example, or a SequenceExample.
    """
    example = example_class()
    from google.protobuf.message import DecodeError

    try:
        message = example.FromString(data)
    except DecodeError as error:
        raise ImageError(f"is not a tf.train.Example: {error}") from error
    if message.feature_lists:
        raise ImageError("is a tf.train.SequenceExample, which holds a sequence and no sample, allowed is tf.train.Example")
    features = {}
    for name, feature in message.features.feature.items():
        kind = feature.WhichOneof("kind")
        features[name] = list(getattr(feature, kind).value) if kind else []
    return features


@functools.cache
def example_class() -> Any:
    """The class of `tf.train.Example`, in a pool of its own, since TensorFlow may have the same in this process.

    Raises:
        ArgumentError: If protobuf is not installed.
    """
    try:
        from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format
    except ImportError as error:
        raise ArgumentError("tf.train.Example needs protobuf: pip install 'kseq[tfrecord]'") from error
    file = text_format.Parse(_SCHEMA, descriptor_pb2.FileDescriptorProto())
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("kseq.Example"))
