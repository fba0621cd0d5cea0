"""What the page asks for, and what it gets."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from starlette.responses import Response

from kseq.display.commands import shell_path, shell_word
from kseq.display.eye_pixels import as_rgb, color_mask, encode_as_jpeg, encode_as_png, fit
from kseq.display.json_values import to_json
from kseq.errors import ArgumentError
from kseq.platforms.processes import usable_cores
from kseq.reading.reduced_images import read_reduced
from kseq.reading.thumbnails import COLUMNS, make_sprite
from kseq.threads import ThreadPool
from kseq.training.batch_description import describe_batch, shown_pixels
from kseq.viewing.batch_settings import describe_settings, read_settings
from kseq.viewing.charts import describe_dataset_charts
from kseq.viewing.lookalikes import describe_groups
from kseq.viewing.measures import Measures
from kseq.viewing.mending import mend
from kseq.viewing.model_batches import ShownBatch
from kseq.viewing.opened import Opened
from kseq.viewing.requests import id_list, one_of, whole_number
from kseq.viewing.sample_page import describe_rows, describe_sample
from kseq.viewing.selection import MEASURED_ORDERS, ORDERS, Query, select
from kseq.viewing.watched import WatchedDataset

__all__ = ["NOT_CACHED", "Answer", "Answers", "json_response"]

_MOST_ROWS, _MOST_THUMBNAILS = 512, 64
_SIDES = (96, 128, 160, 224, 320)

# A sample is shown at most so large; smaller ones as the very pixels.
_LARGEST_SIDE, _MOST_EXACT = 2400, 1_000_000

# So many samples are read at their full size at the same time.
_MOST_LARGE = 2

# The address of an image has the digest of the dataset in it: another dataset has other addresses.
_CACHED = {"cache-control": "private, max-age=3600"}
NOT_CACHED = {"cache-control": "no-store"}

Answer = Callable[[Mapping[str, str]], Response]


def json_response(value: Any, status: int = 200) -> Response:
    """An answer in JSON."""
    return Response(to_json(value), status, NOT_CACHED, "application/json")


class Answers:
    """What the page asks for; each method takes the parameters of an address.

    Args:
        watched: The dataset.
        read_only: Whether changes are refused.

    Attributes:
        found: The answers by name.
    """

    def __init__(self, watched: WatchedDataset, *, read_only: bool) -> None:
        self._watched = watched
        self._read_only = read_only or watched.is_remote
        self._threads = ThreadPool(usable_cores())
        # Held while an image is read at its full size, so that twenty tabs take no more memory than two.
        self._large = threading.BoundedSemaphore(_MOST_LARGE)
        # Held while the dataset is changed, so that of two tabs that saw the same one, only the first changes it: a second
        # undo would make the change again.
        self._changing = threading.Lock()
        self.found: dict[str, Answer] = {
            "about": self._about,
            "state": self._state,
            "rows": self._rows,
            "position": self._position,
            "thumbs": self._thumbs,
            "sample": self._sample,
            "image": self._image,
            "charts": self._charts,
            "measure": self._measure,
            "lookalikes": self._lookalikes,
            "batch": self._batch,
            "batch-image": self._batch_image,
        }

    def _about(self, _: Mapping[str, str]) -> Response:
        opened = self._watched.now().opened
        dataset = opened.dataset
        fields = opened.reader.fields.values()
        orders = dict(ORDERS)
        if opened.label is None:
            del orders["odd"]
        if not any(field.kind == "boxes" for field in fields):
            del orders["fewest-boxes"], orders["most-boxes"], orders["odd-box"]
        return json_response(
            {
                "name": self._watched.name,
                "path": dataset.path,
                # As words of a command, which the page shows.
                "path_word": shell_path(dataset.path),
                "digest": opened.digest,
                "num_samples": len(dataset),
                "num_ids": opened.num_ids,
                "num_dropped": len(dataset.dropped),
                "num_rejected": len(dataset.rejected()),
                "num_bytes": dataset.num_bytes,
                "splits": dataset.splits,
                "class_names": list(dataset.class_names),
                "label": opened.label.name if opened.label else None,
                "fields": [
                    {
                        "name": field.name,
                        "word": shell_word(field.name),
                        "kind": field.kind,
                        "form": field.describe(),
                        "is_pixels": field.is_pixels,
                        "is_image": field.is_image,
                        "can_relabel": field.handler.has_class_names and field.handler.leader is None,
                        "is_list": field.is_ragged,
                        "class_names": list(field.handler.class_names(dataset.class_names)),
                    }
                    for field in fields
                ],
                "image": opened.image.name,
                "image_shape": list(opened.image.shape),
                "changes": list(dataset.changes),
                "read_only": self._read_only,
                "orders": orders,
                "measured_orders": list(MEASURED_ORDERS),
                "sprite_columns": COLUMNS,
                "draws": bool(opened.drawn),
                "batches": describe_settings(opened),
                "own_batches": self._watched.own_name,
            }
        )

    def _state(self, _: Mapping[str, str]) -> Response:
        """Whether the dataset is still the same: asked for again and again."""
        return json_response({"digest": self._watched.now().opened.digest})

    def _rows(self, parameters: Mapping[str, str]) -> Response:
        opened, ids = self._select(parameters)
        start = whole_number(parameters, "start", 0, 0, max(len(ids), 1 << 40))
        count = whole_number(parameters, "count", 64, 1, _MOST_ROWS)
        shown = ids[start : start + count].astype(np.int64)
        return json_response({"digest": opened.digest, "total": len(ids), "start": start, "rows": describe_rows(opened, shown)})

    def _position(self, parameters: Mapping[str, str]) -> Response:
        """Where a sample is in a selection."""
        opened, ids = self._select(parameters)
        sample_id = whole_number(parameters, "id", None, 0, max(0, opened.num_ids - 1))
        found = np.flatnonzero(ids == sample_id)[:1].tolist()
        return json_response({"digest": opened.digest, "total": len(ids), "position": found[0] if found else None})

    def _select(self, parameters: Mapping[str, str]) -> tuple[Opened, np.ndarray]:
        state = self._watched.now()
        opened, measures = state.opened, state.measures
        order = one_of(parameters, "order", "packed", ORDERS)
        class_text = parameters.get("class", "")
        query = Query(
            split=one_of(parameters, "split", "", ("", *opened.dataset.splits)),
            class_number=whole_number(parameters, "class", None, 0, 1 << 31) if class_text else None,
            conditions=tuple(text for text in parameters.get("where", "").split("\n") if text.strip()),
            source=parameters.get("source", ""),
            order=order,
            seed=whole_number(parameters, "seed", 0, 0, 1 << 31),
        )
        if order in MEASURED_ORDERS:
            measures.start()
        return opened, select(opened, measures, query)

    def _thumbs(self, parameters: Mapping[str, str]) -> Response:
        opened = self._watched.now().opened
        ids = id_list(parameters.get("ids", ""), opened.num_ids, _MOST_THUMBNAILS)
        side = int(one_of(parameters, "side", "160", list(map(str, _SIDES))))
        names = opened.dataset.class_names
        drawn = [] if parameters.get("plain") == "1" else opened.drawn
        data = make_sprite(opened.locate(ids), opened.image, side, self._threads, drawn, names)
        return Response(data, headers=_CACHED, media_type="image/jpeg")

    def _sample(self, parameters: Mapping[str, str]) -> Response:
        opened = self._watched.now().opened
        sample_id = whole_number(parameters, "id", None, 0, max(0, opened.num_ids - 1))
        return json_response({"digest": opened.digest, **describe_sample(opened, sample_id)})

    def _image(self, parameters: Mapping[str, str]) -> Response:
        opened = self._watched.now().opened
        sample_id = whole_number(parameters, "id", None, 0, max(0, opened.num_ids - 1))
        field = opened.field(parameters.get("field", ""))
        if not field.is_pixels:
            raise ArgumentError(f"field={field.name}: is no image and no mask")
        with self._large:
            pixels = read_reduced(opened.locate(np.array([sample_id])), 0, field, _LARGEST_SIDE)
            shown = as_rgb(fit(pixels, _LARGEST_SIDE)) if field.is_image else color_mask(pixels)
        if not field.is_image:
            return Response(encode_as_png(shown), headers=_CACHED, media_type="image/png")
        if shown.shape[0] * shown.shape[1] <= _MOST_EXACT:
            return Response(encode_as_png(shown), headers=_CACHED, media_type="image/png")
        return Response(encode_as_jpeg(shown, 92), headers=_CACHED, media_type="image/jpeg")

    def _charts(self, _: Mapping[str, str]) -> Response:
        state = self._watched.now()
        opened, measures = state.opened, state.measures
        measures.start()
        return json_response({"digest": opened.digest, **_progress(measures), **describe_dataset_charts(opened, measures)})

    def _measure(self, _: Mapping[str, str]) -> Response:
        """Starts the measuring, and says how far it is."""
        state = self._watched.now()
        opened, measures = state.opened, state.measures
        measures.start()
        return json_response({"digest": opened.digest, **_progress(measures)})

    def _lookalikes(self, _: Mapping[str, str]) -> Response:
        state = self._watched.now()
        opened, measures = state.opened, state.measures
        measures.start()
        progress = _progress(measures)
        described = opened.keep_latest("lookalikes", measures.stage, lambda: describe_groups(opened, measures))
        return json_response({"digest": opened.digest, **progress, **described})

    def _batch(self, parameters: Mapping[str, str]) -> Response:
        opened, shown = self._read_batch(parameters)
        described = describe_batch(shown.parts, shown.sample_ids, opened.dataset.class_names)
        of_all = {"num_batches": shown.batches.num_batches, "num_samples": shown.batches.num_samples, "code": shown.code}
        return json_response({"digest": opened.digest, **of_all, **described})

    def _read_batch(self, parameters: Mapping[str, str]) -> tuple[Opened, ShownBatch]:
        opened, _, batches = self._watched.now()
        chosen = None if parameters.get("own") == "1" else read_settings(opened, parameters)
        epoch = whole_number(parameters, "epoch", 0, 0, 1 << 31)
        number = whole_number(parameters, "number", 0, 0, 1 << 40)
        return opened, batches.read(chosen, epoch, number)

    def _batch_image(self, parameters: Mapping[str, str]) -> Response:
        opened, shown = self._read_batch(parameters)
        row = whole_number(parameters, "row", 0, 0, 1 << 20)
        field, pixels = shown_pixels(shown.parts, row, parameters.get("field", opened.image.name))
        colored = as_rgb(pixels) if field.is_image else color_mask(pixels)
        return Response(encode_as_png(colored), headers=_CACHED, media_type="image/png")

    def change(self, change: str, body: bytes) -> Response:
        """Change the dataset, unless it was changed since the page looked at it."""
        if self._read_only:
            return json_response({"error": "the dataset is shown read-only: nothing is changed"}, 403)
        if change not in ("relabel", "drop", "undo"):
            return json_response({"error": "there is no such change"}, 404)
        asked = _parse_change(body)
        with self._changing:
            opened = self._watched.now().opened
            if asked.get("digest") != opened.digest:
                return json_response({"error": "the dataset was changed by somebody else: look again, then change it"}, 409)
            done = mend(opened, self._watched.path, change, asked)
            return json_response({"digest": self._watched.now().opened.digest, **done})

    def close(self) -> None:
        """End the threads that decode."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _progress(measures: Measures) -> dict[str, Any]:
    return {"num_measured": measures.num_measured, "num_to_measure": len(measures.states)}


def _parse_change(body: bytes) -> dict[str, Any]:
    try:
        asked = json.loads(body)
    except (ValueError, RecursionError):
        asked = None
    if not isinstance(asked, dict):
        raise ArgumentError("what was sent is no JSON object")
    return asked
