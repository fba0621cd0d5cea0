"""What the subcommands share: text, options, progress. Imports only the public API of `kseq`.

- `parser`: help that begins with examples, and what was meant by a wrong word. `next_step`: what to do after an error.
- `options`: options that several commands have, and the `kseq.Columns` and `kseq.ImageSettings` that they stand for.
- `json_output`: what `--json` prints. `text`: tables, sizes and names. `count_table`: classes by splits, long ones folded.
  `class_counts`, `rejected`, `sample_listing`: parts of what commands print.
- `proposals`: what a folder holds that can be packed. `half_blocks`: images as lines of text. `completion`: scripts for shells.
- `progress`: a bar, or lines. `spelling`: arguments as options in messages. `dask_cluster`: a Dask cluster as an
  executor.
"""
