"""From a source to shards and an index: what `kseq.pack` does.

Imports `kseq.sources`, `kseq.ordering`, `kseq.storage`, `kseq.images` and what is below, never `kseq.training`.

- `pack`: `kseq.pack`. `settings`: `kseq.ImageSettings`. `pack_report`, `dry_run`: what is reported after, and before.
- `destination`, `url_destination`: where the dataset is to be: a folder, or a URL.
- `open_source`: the source of a path or an iterable. `plan`: which images go into which shard and split.
  `duplicates`: byte-identical images. `left_out_classes`: classes that are left out.
- `encode`: one sample as it is stored. `stored_form`: its fields, and its size in advance. `build_shard`: one shard.
  `listed_images`: the images of each shard, in a file for the workers.
- `run`: who builds the shards: this process, `process_runner`, or `executor_runner`. `worker_process`, `crash_isolation`:
  workers that die. `progress`: how far it is. `pack_result`: what the shards hold.
- `resume`, `resume_record`: going on with an unfinished packing. `disk_space`: whether the disk can hold it.
"""
