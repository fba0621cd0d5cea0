"""Changes to a packed dataset, one module for each command: one new index, which `undo` takes back; and whole new datasets.

Imports `kseq.packing`, `kseq.reading`, `kseq.sources` and what is below, never `kseq.exporting`.

- Commands: `split`, `append`, `drop`, `relabel`, `add_field`, `rename_class`, `merge`, `copy`, `compact`, `undo`.
- `transaction`: a change as a whole: locked, published in one step, undone.
- Their parts: `split_request`, `split_drawing` (of split); `adapt_source`, `missing_fields` (of append); `new_column` (of
  add_field); `merged_index` (of merge); `copy_destination` (of copy); `shard_rewriting` (of compact).
- Shared: `sample_lists`, `sample_names` (files that name samples), `columns` (a field of all samples), `classes`,
  `class_lookup` (fields that have classes, and the class that a cell names).
"""
