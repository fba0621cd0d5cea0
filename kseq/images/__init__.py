"""Images: file formats, decoding, encoding, cropping, resizing, and bounding boxes.

Knows no dataset. Imports only `kseq.errors` and `kseq.arguments`.
"""
