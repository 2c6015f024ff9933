"""Where a detector sees evidence, without PyTorch: a grid of cells for each picture, above 0 where they speak for fake.

An exported graph may give its `evidence`, which is exact. Occlusion asks any detector: it covers a part of the picture
and looks how far the logit falls. Which is the better was measured: docs/explanations.md.
"""

from collections.abc import Sequence

import numpy as np
from PIL import Image

from forensics.judging import scoring
from forensics.judging.detector import Detector, Doubts
from forensics.judging.exported import ExportedDetector
from forensics.judging.faithfulness import nothing_of

CELLS = 8  # a side; a window covers 2 x 2 of them
ROUNDING = 1e-5  # of a logit: smaller changes are those of 32-bit numbers


def cells(detector: Detector, images: Sequence[Image.Image]) -> Sequence[np.ndarray]:
    """The better of the two that the detector has."""
    has_evidence = isinstance(detector, ExportedDetector) and detector.has_evidence
    return (evidence if has_evidence else occlusion)(detector, images)


def evidence(detector: ExportedDetector, images: Sequence[Image.Image]) -> np.ndarray:
    return detector.answers('evidence', images)


def occlusion(detector: Detector, images: Sequence[Image.Image]) -> list[np.ndarray]:
    """How far the logit of "fake" falls where a window covers a cell, on average over the windows that do."""
    return [occluded(detector, image) for image in images]


def occluded(detector: Detector, image: Image.Image) -> np.ndarray:
    pixels = np.asarray(image.convert('RGB'))
    lines, columns = (np.linspace(0, side, CELLS + 1).round().astype(int) for side in pixels.shape[:2])
    corners = [(row, column) for row in range(CELLS - 1) for column in range(CELLS - 1)]
    versions = [
        image,
        *(covered(pixels, lines[row : row + 3], columns[column : column + 3]) for row, column in corners),
    ]
    logits = scoring.fake_logits(detector.outputs(versions, Doubts()))
    sums, counts = np.zeros((CELLS, CELLS)), np.zeros((CELLS, CELLS))
    for (row, column), logit in zip(corners, logits[1:], strict=True):
        sums[row : row + 2, column : column + 2] += logits[0] - logit
        counts[row : row + 2, column : column + 2] += 1
    found = sums / counts
    return np.where(np.abs(found) > ROUNDING, found, 0)


def covered(pixels: np.ndarray, lines: np.ndarray, columns: np.ndarray) -> Image.Image:
    """The picture with its mean colour in the window."""
    window, changed = np.s_[lines[0] : lines[-1], columns[0] : columns[-1]], pixels.copy()
    changed[window] = nothing_of(pixels)[window]
    return Image.fromarray(changed)


def enlarged(grid: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The grid as a map of a picture of that width and height."""
    return np.asarray(Image.fromarray(np.asarray(grid, np.float32)).resize(size, Image.Resampling.BICUBIC))
