"""Files that are no image which kseq reads, known by their first bytes: what they are, and what to do with them."""

from __future__ import annotations

import re

__all__ = ["OTHER_SUFFIXES", "describe_other"]

# The ends of the names of pictures that kseq does not read, in lower case: what phones, cameras and scanners write.
OTHER_SUFFIXES = (
    *(
        ".heic",
        ".heif",
        ".hif",
        ".jxl",
        ".jxr",
        ".exr",
        ".hdr",
        ".dcm",
        ".fits",
        ".fit",
        ".icns",
        ".pam",
        ".pcd",
        ".pct",
        ".pict",
    ),
    *(".eps", ".msp", ".xcf", ".dpx", ".dcx", ".blp", ".emf", ".wmf"),
    *(".cr2", ".cr3", ".crw", ".nef", ".arw", ".sr2", ".dng", ".raf", ".rw2", ".orf", ".pef", ".srw", ".x3f"),
)

_UNPACK = "unpack it first"
_CONVERT = "convert it to JPEG or PNG first"
_SLICES = "save its arrays as .npy, or as a TIFF"
_FRAMES = "save its frames as images first"
_FLOATS = "convert it to a TIFF or a .npy of float32, or to JPEG or PNG"
_DOWNLOAD = "the download went wrong"

# First bytes to what a file is, and what to do with it.
_OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (rb"(?s)....ftyp(hei[cmsx]|hev[cmx]|mif1|msf1)", "HEIC", f"{_CONVERT}, as with pillow-heif"),
    (rb"(?s)....ftypcrx", "a camera's raw file (CR3)", f"develop it, or {_CONVERT}"),
    (rb"FUJIFILMCCD-RAW|II(RO|RS|U\0)|MMOR", "a camera's raw file", f"develop it, or {_CONVERT}"),
    (rb"(?s)....ftyp", "a video (MP4 or QuickTime)", _FRAMES),
    (rb"(?s)RIFF....AVI ", "a video (AVI)", _FRAMES),
    (rb"\x1a\x45\xdf\xa3", "a video (Matroska or WebM)", _FRAMES),
    (rb"\x1f\x8b", "gzip", f"{_UNPACK}: gunzip, after giving its name the end .gz"),
    (rb"BZh[1-9]", "bzip2", _UNPACK),
    (rb"\xfd7zXZ\0", "xz", _UNPACK),
    (rb"\x28\xb5\x2f\xfd", "Zstandard", _UNPACK),
    (rb"PK\x03\x04", "a zip", _UNPACK),
    (rb"7z\xbc\xaf\x27\x1c", "7-Zip", _UNPACK),
    (rb"Rar!\x1a", "RAR", _UNPACK),
    (rb"\xff\x0a|\0\0\0\x0cJXL ", "JPEG XL", _CONVERT),
    (rb"\xff\xd8", "a JPEG that breaks off or is damaged at its start", "fetch it again"),
    (rb"\x76\x2f\x31\x01", "OpenEXR", _FLOATS),
    (rb"#\?R", "Radiance HDR", _FLOATS),
    (rb"%PDF-", "PDF", "save its pages as images first"),
    (rb"%!PS", "PostScript", _CONVERT),
    (rb"(?s).{128}DICM", "DICOM", f"{_CONVERT}, as with pydicom"),
    (rb"\x5c\x01\0\0|\0\0\x01\x5c", "NIfTI", f"{_SLICES}, as with nibabel"),
    (rb"SIMPLE  =", "FITS", f"{_SLICES}, as with astropy"),
    (rb"ZISRAWFILE", "CZI", f"{_SLICES}, as with czifile"),
    (rb"gimp xcf", "XCF", _CONVERT),
    (rb"\x0a[\0-\x05][\0\x01][\x01\x02\x04\x08]", "PCX of a rare kind", _CONVERT),
    (rb"farbfeld", "farbfeld", _CONVERT),
    (rb"\x01\xda[\0\x01]\x02", "SGI of 16 bits", _CONVERT),
    (rb"8BPS", "a large Photoshop file (PSB)", _CONVERT),
    (rb"(?s)BA.{12}(BM|CI|CP|IC|PT)", "a bitmap array of OS/2", _CONVERT),
    (rb"icns", "icons of macOS (ICNS)", _CONVERT),
    (rb"BLP[12]", "a texture (BLP)", _CONVERT),
    (rb"FTEX", "a texture (FTEX)", _CONVERT),
    (rb"\xabKTX ", "a texture (KTX)", _CONVERT),
    (rb"FORM", "IFF", _CONVERT),
    (rb"DanM|LinS", "an image of Microsoft Paint (MSP)", _CONVERT),
    (rb"\xb1\x68\xde\x3a", "several PCX in one (DCX)", "take them apart, as with Pillow"),
    (rb"Image type:", "IM", _CONVERT),
    (rb"(?s)\x01\0\0\0.{36} EMF|\xd7\xcd\xc6\x9a", "a drawing of Windows (EMF or WMF)", f"draw it: {_CONVERT}"),
    (rb"(?s)....[\x11\x12]\xaf", "an animation (FLI or FLC)", _FRAMES),
    (rb"\x8aMNG", "an animation (MNG)", _FRAMES),
    (rb"SDPX|XPDS", "DPX", _CONVERT),
    (rb"II\xbc", "JPEG XR", _CONVERT),
    (
        rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1",
        "what Windows keeps beside images (Thumbs.db), or an old Office file",
        "leave it out",
    ),
    (
        rb"\0{64}",
        "a file that begins with zeros",
        "fetch it again, as a download or a disk lost it; an old PICT is to be converted",
    ),
    (rb"(?s)DDS .{80}DX10", "DDS of floating-point numbers", _FLOATS),
    (rb"P7\s+(#|WIDTH|HEIGHT)", "PAM", _CONVERT),
    (rb"\0\x05\x16\x07", "what macOS keeps beside a file, not the file", "leave it out"),
    (rb"\x93NUMPY", "an array of NumPy", "no header tells its size here: pack it from a folder or a table, or as one array"),
    (rb"\x89HDF\r\n\x1a\n", "HDF5", "pack it by itself, not in a folder of images"),
    (rb"version https://git-lfs", "a pointer of Git LFS, not the file", "fetch the file: git lfs pull"),
    (rb"(?is)\s*(<\?xml[^>]*>\s*)?(<!--.{0,60}?-->\s*)?<svg", "SVG", f"draw it: {_CONVERT}"),
    (rb"(?i)\s*<(!doctype html|html|head|body)", "a web page", _DOWNLOAD),
    (rb"(?i)\s*<\?xml", "XML", "it is no image; where a server sent it, " + _DOWNLOAD),
    (rb"\s*[{\[]\s*[\"{\[]", "JSON", "it is no image; where a server sent it, " + _DOWNLOAD),
)
_PATTERNS = tuple((re.compile(start), name, remedy) for start, name, remedy in _OTHERS)


def describe_other(start: bytes) -> str | None:
    """What a file is that begins so and is no image that kseq reads, with the way out; None if that is not known.

    Args:
        start: Its first 132 bytes, or all of them if it has fewer.
    """
    return next((f"is {name}: {remedy}" for pattern, name, remedy in _PATTERNS if pattern.match(start)), None)
