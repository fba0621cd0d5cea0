"""The web page of `kseq view`: a dataset in a browser, on this machine alone.

Imports `kseq.editing`, `kseq.training`, `kseq.reading` and what is below, never `kseq.exporting`. Starlette and uvicorn, which
the extra `view` brings, are imported only when a page is served.

- `viewer`: `kseq.Viewer`, which serves the page until it is closed. `guard`: who may ask, and what a browser may do with the
  answer. `app`: which address has which answer. `answers`: the answers. `requests`: the parameters of an address, checked.
- `watched`: the dataset as it is now, opened anew when somebody changes it. `opened`: one state of it, and what was found out.
- `selection`: which samples the grid shows, and in which order. `sample_page`: a row of the grid, and one sample with all its
  fields.
- `measures`: what is measured of every image, in the background. `features`: what an image is like. `lookalikes`: images that
  are the same or nearly so. `odd_labels`: labels that do not go with the image. `odd_shapes`: boxes and sizes unlike the
  others. `charts`: numbers for charts.
- `batch_settings`: the arguments of a Sequence that the page offers. `model_batches`: batches that are kept for a look.
  `mending`: labels changed, samples dropped, changes taken back.
- `page/`: the page itself, as the browser gets it.
"""
