"""The faces in a data set's real pictures, found once and kept in out/faces/."""

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from forensics import records
from forensics.data.parts import Part
from forensics.pictures.faces import Face, find_faces
from forensics.pictures.files import open_image
from forensics.running.progress import Progress


def faces_in(dataset, folder: str) -> dict[str, Face | None]:
    """{path: the biggest face, or None} of the real pictures of an opened part; `folder` keeps what was found."""
    part = Part.of('', '', dataset)
    kept = Path(folder) / 'faces' / f'{part.fingerprint}.json'
    found = records.read_json(kept) if kept.exists() else {}
    missing = [name for name in dataset.real_image_names if name not in found]
    if missing:
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            pictures = (os.path.join(dataset.root_path, 'real', name) for name in missing)
            faces = Progress(pool.map(_biggest_face, pictures), len(missing), f'find faces in {dataset.root_path}')
            found |= dict(zip(missing, faces, strict=True))
        records.write_json(kept, found)
    return {
        os.path.join(dataset.root_path, 'real', name): Face(*found[name]) if found[name] else None
        for name in dataset.real_image_names
    }


def _biggest_face(path: str) -> Face | None:
    return next(iter(find_faces(open_image(path))), None)
