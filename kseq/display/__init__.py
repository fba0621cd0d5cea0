"""What people see of numbers and pixels, wherever they look: HTML of notebooks, figures of matplotlib, one picture of many.

Knows no dataset: it gets pixels, texts and numbers. Imports `kseq.images` and what is below.

- `html`: elements, with every text escaped, and the frame of what a notebook shows. `charts`: tables with bars. `words`:
  counts, sizes and names as people read them. `commands`: commands as a shell takes them. `json_values`: values as JSON.
- `eye_pixels`: pixels of any dtype and any number of channels, as eyes and browsers take them.
- `tiles`: an image with what is drawn over it and said of it. `tile_strip`: tiles as HTML. `montage`: tiles as one picture.
  `figure`: tiles as a figure of matplotlib. `progress_bar`: how far a long call is.
"""
