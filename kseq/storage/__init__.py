"""Bytes on disk: what a sample can hold, and the files that hold it.

Knows nothing of packing and of batches. Imports `kseq.errors`, `kseq.platforms`, `kseq.arguments` and
`kseq.images`.

- `field_kinds/`: image, mask, label, numbers, boxes, text and so on, a class each with all that is special to it.
  `fields`: the fields of a dataset, each of a kind. `field_names`: which names they may have.
- `layout`: the name of every file in a dataset's folder, and the version of the format, which rises with every change that an
  older reader would misread: older datasets are then refused in one line. The index holds numbers of shards, not names.
- `checksums`: the checksum of a row and all digests; no other module names their algorithm.
- `opener`: opens every file that is read, and gives its bytes, mapped or read when they are needed: the one place that a
  path other than a local one concerns, since no other module opens or looks for files of a dataset that it reads.
  `pread_array`: arrays that are read when they are indexed. `read_times`: how long that takes. `file_arrays`,
  `array_location`: the arrays of an open file, and where each lies.
- `remote_files`: the files below a URL: sizes, ranges, whole files, writing. `remote_download`: whole files to local ones.
  `remote_system`: fsspec's object for them, one in each process. `remote_retries`: requests that are tried again.
  `remote_errors`: what a failed request means, and texts without credentials. `urls`: URLs taken apart and put together.
  `remote_cache`: local copies that processes share. `remote_ranges`: ranges that are read many at once. `remote_folder`: a
  dataset's files by one of these two ways.
- `open_shard`: opens a shard of an index, wherever it lies.
- `places`, `url_place`: where the files of a dataset are copied from and to as a whole. `writing_record`: what is being
  written there, since there are no locks at URLs.
- `hdf5_writer`, `h5py_lock`: h5py writes plain HDF5 files. `hdf5_reader`: pyfive reads their structure, and what the format
  does not allow is refused. `array_schema`: what an array in a file must be. `strings`: byte strings and JSON as arrays.
- `shard_writer`, `shard_reader`, `shard_schema`, `shard_entry`: shards, their arrays, and what the index says of each.
- `index`, `index_checks`, `index_writer`, `index_schema`, `remaining_ids`: the index, what is looked at in it before it is
  believed, its arrays, and the ids of samples that were not dropped.
- `box_counts`: boxes by class, and which were left out. `duplicate_counts`: byte-identical images.
- `rejected`: the files that a packing left out. `notes`: what is worth knowing of those that it packed.
- `report`: what a long call did, for people.
- `compatibility`, `class_union`, `class_names`: whether datasets go together, and classes of several datasets as one
  list.
- `atomic`, `lock`, `output_folder`, `inner_folder`: files that appear whole or not at all, one writer at a time, one dataset
  in place of another, by its folder's name or inside its folder.
"""
