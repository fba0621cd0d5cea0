"""Samples of a packed dataset by id, from any thread or process, without Keras.

Imports `kseq.storage`, `kseq.display` and what is below, never `kseq.sources`.

- `dataset`: `ShardDataset`, the public face: samples, values, selections, and all that commands tell of a dataset.
- `sample_reader`: the engine below it, which training and exporting use: ids are located once, then read field by field.
- `shard_cache`: the open shards. `row_table`: all of them as one array. `concatenated`: several datasets, one after the other.
- `shrunk_shards`: which shard has become shorter under its map.
- `where`, `where_text`: conditions on fields, and the same written in a shell. `groups`: samples with the same value of a
  field.
- `box_counts`: boxes of each class in each split. `label_counts`: samples of each class in each split.
- For people who look: `dataset_look`: a dataset in a line, in a notebook and as a figure. `dataset_tiles`: its samples, with
  what is drawn over them. `described_values`: values that are no pixels. `reduced_images`: images at a reduced scale.
  `thumbnails`: many images in one.
- `verify`: every byte compared with its checksum.
"""
