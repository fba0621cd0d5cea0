"""What the subcommands share: text, options, progress. Imports only the public API of `kseq`.

- `options`: options that several commands have, and the `kseq.Columns` and `kseq.ImageSettings` that they stand for.
- `text`: tables, sizes and durations. `class_counts`, `rejected`, `sample_listing`: parts of what commands print.
- `progress`: a bar, or lines. `spelling`: arguments as options in messages. `dask_cluster`: a Dask cluster as an
  executor.
"""
