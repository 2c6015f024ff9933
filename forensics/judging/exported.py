"""A detector in an ONNX file that export_onnx.py wrote: it scores pictures by onnxruntime, without torch."""

import hashlib
import itertools
import json
import os
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image

from forensics.errors import UserError
from forensics.judging.detector import Detector, Doubts

FORMAT = 'exported detector 1'
BATCH = 8  # pictures at once: more gain nothing on a CPU and only take memory
MOST_THREADS = 8
RESAMPLING = {'bicubic': Image.Resampling.BICUBIC, 'bilinear': Image.Resampling.BILINEAR}


class ExportedDetector(Detector):
    """The graph takes bytes (pictures x size x size x 3, RGB); what was known of the detector is in its metadata."""

    def __init__(self, session, facts: dict):
        self.session, self.facts = session, facts
        self.name, self.run = facts['model'], facts['run']
        self.size, self.resampling = facts['input']['size'], RESAMPLING[facts['input']['resampling']]
        self.mean_spectra = facts.get('spectra')

    def outputs(self, images: Iterable[Image.Image], doubts: Doubts) -> np.ndarray:
        """The logit of "fake", calibrated."""
        return self.answers('logit', images, doubts).reshape(-1, 1)

    @property
    def has_evidence(self) -> bool:
        """True if it can answer with `evidence`: maps of where the evidence lies, whose mean is the logit."""
        return any(output.name == 'evidence' for output in self.session.get_outputs())

    def answers(self, name: str, images: Iterable[Image.Image], doubts: Doubts | None = None) -> np.ndarray:
        """One of the graph's outputs for each image: `p_fake`, `logit` or `evidence`."""
        images, rows, scaled, size = iter(images), [], 0, (self.size, self.size)
        doubts = Doubts() if doubts is None else doubts
        while batch := [image.convert('RGB') for image in itertools.islice(images, BATCH)]:
            doubts.images += len(batch)
            scaled += sum(image.size != size for image in batch)
            pixels = [image if image.size == size else image.resize(size, self.resampling) for image in batch]
            rows += self.session.run([name], {'pictures': np.stack([np.asarray(image) for image in pixels])})
        if self.facts['input']['only_size']:
            doubts.tell(scaling_is_doubtful(self.size, self.name), scaled)
        return np.concatenate(rows) if rows else np.zeros(0, dtype=np.float32)


def scaling_is_doubtful(size: int, name: str) -> str:
    return (
        f'had to be scaled to the {size}x{size} pixels that {name} takes; scaling blurs the traces that it looks for.'
    )


def load(path: str | Path) -> ExportedDetector:
    """The detector in the file. Nothing outside of the file is read, whatever it says."""
    try:
        content = Path(path).read_bytes()
    except OSError as error:
        raise UserError(
            f'No detector {path} ({error.strerror}). Make one with `python export_onnx.py -cpp CHECKPOINT.pt`.'
        ) from error
    session = start_session(path, content)
    try:
        facts = {key: json.loads(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}
        if facts.get('format') != FORMAT:
            raise KeyError('format')
        detector = ExportedDetector(session, facts)
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(
            f'{path} is no detector of export_onnx.py: its metadata say neither what it takes nor what its scores '
            f'mean. Export the checkpoint with `python export_onnx.py -cpp CHECKPOINT.pt`.'
        ) from error
    detector.file, detector.sha256 = Path(path), hashlib.sha256(content).hexdigest()
    return detector


def import_onnxruntime():
    """Without this word before it loads it gives the machine a number, and reports every session to its maker."""
    os.environ['ORT_DISABLE_TELEMETRY'] = '1'
    import onnxruntime

    return onnxruntime


def start_session(path: str | Path, content: bytes, threads: int | None = None):
    try:
        onnxruntime = import_onnxruntime()
    except ImportError as error:
        raise UserError(
            f'{path} needs onnxruntime: start `./predict.sh`, or `pip install --no-deps -r requirements-predict.txt`.'
        ) from error
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads or min(MOST_THREADS, usable_cores())
    options.log_severity_level = 4
    # Threads that spin while they wait would take the cores from those that decode the next picture.
    options.add_session_config_entry('session.intra_op.allow_spinning', '0')
    try:
        return onnxruntime.InferenceSession(content, options, providers=['CPUExecutionProvider'])
    except Exception as error:  # its errors have no common class
        reason = str(error).splitlines()[0][:200]
        raise UserError(f'{path} is damaged or no ONNX file ({reason}). Export it again.') from error


def usable_cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
