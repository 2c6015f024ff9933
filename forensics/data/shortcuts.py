"""Shortcuts: facts that tell the classes apart without looking at a face.

A detector that was trained where all fakes are PNG files, or where all photographs come from one camera, has learned
just that. forensics/judging/probing.py measures how well each such fact alone predicts the label.
"""

import hashlib
import zlib
from pathlib import Path

import numpy as np
from PIL import Image

from forensics.data.duplicates import picture_hash
from forensics.pictures.faces import sharpness
from forensics.pictures.files import open_image

NUMBERS = ('bytes', 'width', 'height', 'coarseness', 'tables', 'exif', 'red', 'green', 'blue', 'blur')
# name -> the numbers that a probe may look at
PROBES = {
    'file_size': ('bytes',),
    'image_size': ('width', 'height'),
    'jpeg_tables': ('coarseness', 'tables'),
    'exif': ('exif',),
    'mean_colour': ('red', 'green', 'blue'),
    'blur': ('blur',),
}


def facts(path: str) -> tuple[list[float], bytes, np.ndarray]:
    """(NUMBERS, digest of the file, perceptual hash)"""
    image = open_image(path)
    colour = np.asarray(image.resize((16, 16), Image.Resampling.BOX), dtype=float).mean(axis=(0, 1))
    with Image.open(path) as original:
        tables = getattr(original, 'quantization', None) or {}
        coarseness = float(np.mean(tables[0])) if 0 in tables else 0.0
        layers = getattr(original, 'layer', [])  # how the colours are sampled, which encoders choose too
        encoder = (original.format, original.mode, [(key, *tables[key]) for key in sorted(tables)], layers)
        exif = len(original.getexif())
    data = Path(path).read_bytes()
    numbers = [
        len(data),
        image.width,
        image.height,
        coarseness,
        zlib.crc32(repr(encoder).encode()),
        exif,
        *colour,
        sharpness(image),
    ]
    return numbers, hashlib.sha256(data).digest(), picture_hash(image)
