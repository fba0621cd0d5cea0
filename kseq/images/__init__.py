"""Images as files and as pixels, and the boxes around things in them; knows no dataset.

Imports only `kseq.errors`, `kseq.arguments` and `kseq.platforms`.

- `formats`: the table of image formats: suffixes, first bytes, Pillow's reader of each, and whether its bytes are stored
  as they are; headers. A further format is a line of this table: `codecs` decodes whatever the reader gives.
- `codecs`: encoded bytes to uint8 pixels and back; one rule each for colour, depth, alpha and orientation.
- `pillow_pixels`: what Pillow opened to uint8: palettes, depths, transparency. `png_chunks`: which parts of a PNG matter.
- `tiff_oddities`: what Pillow misreads in a TIFF. `old_formats`: in cursors, X pixmaps, Sun rasters and textures.
- `other_files`: what is no image, by name, and what to do with it. `header_faults`: what Pillow finds wrong with a header.
- `pixel_form`: the dtype and the channels of pixels. `deep_pixels`: files to pixels of more than 8 bits or other numbers of
  channels, in the numbers of the file. `number_files`: `.npy`, PGM, PPM, PFM. `tiff_numbers`: TIFF, by tifffile.
- `noted_pixels`: pixels that were drawn, and notes of them.
- `crop_decoding`: decodes only the box of an image that is needed. `jpeg_tiles`: where a JPEG can be cut for that.
- `resize`: interpolations, antialiasing, and the three ways to treat another aspect ratio. `rectangle`: boxes of pixels.
- `movement`: where points and boxes go when an image is cropped, resized or turned.
- `bounding_boxes`: boxes around objects, checked, cropped, resized and flipped.
"""
