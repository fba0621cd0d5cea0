"""Which formats samples can be exported to."""

from __future__ import annotations

from kseq.exporting.folder import FOLDER
from kseq.exporting.huggingface import HUGGINGFACE
from kseq.exporting.tfrecord import TFRECORD
from kseq.exporting.webdataset import WEBDATASET
from kseq.exporting.writer import ExportFormat

__all__ = ["FORMATS"]

FORMATS: tuple[ExportFormat, ...] = (FOLDER, WEBDATASET, TFRECORD, HUGGINGFACE)
