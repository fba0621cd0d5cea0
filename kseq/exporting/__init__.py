"""From a packed dataset back to files that other tools read: one module for each target format.

Imports `kseq.reading`, `kseq.sources`, `kseq.storage` and what is below, never `kseq.editing`.

To add a format, write a module with a subclass of `writer.ExportWriter` and an `ExportFormat`, and add that to
`registry`.

- `export`: `kseq.export`. `card`: `kseq.card`. `registry`: the list of formats. `writer`: what each must give.
- Formats: `folder`, `webdataset`, `tfrecord`, `huggingface`.
- `hub_columns`: what each field is in Parquet. `data_card`: the card of a dataset. `croissant`: its
  metadata for catalogues. `yaml_text`: YAML without a package.
- `exported_samples`: the samples, one after the other. `rolling_files`: files of many samples, of about one size.
"""
