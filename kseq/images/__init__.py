"""Pixels: what an image file is, decoding, encoding, cutting, resizing, and the boxes drawn around things in it.

Knows no dataset. Imports only `kseq.errors` and `kseq.arguments`.
"""
