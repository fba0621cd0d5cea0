"""What people bring: one module for each form in which image collections lie around, and what they share.

Reads images and their targets where they lie. Imports `kseq.storage`, `kseq.images` and what is below, never `kseq.reading`.
"""
