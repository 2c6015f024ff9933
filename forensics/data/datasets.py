"""Find data sets and list their files: <root>/<name>/{train,val,test}/{real,fake}, with an optional card."""

import csv
import hashlib
import json
import os
import shlex
from pathlib import Path

from forensics import records
from forensics.errors import UserError
from forensics.pictures.files import image_files

PARTS = ('train', 'val', 'test')
CLASSES = tuple(records.LABEL_NAMES)
SEPARATOR = '+'  # dfdc_dataset+fakes_dataset: the name of a mixture
ROOT_VARIABLE = 'FACES_DATASETS'
SPLIT_ROOT = 'split_datasets'  # in the current folder: find_part advises to split data sets into it
DEMO_ROOT = Path(__file__).resolve().parent.parent.parent / 'demo_datasets'


def joined(names: list[str]) -> str:
    """The name under which a training on these data sets is kept."""
    return SEPARATOR.join(dict.fromkeys(names))


def roots() -> list[Path]:
    """Folders that may hold data sets; the first that has the one asked for wins.

    `--data-root` sets the environment variable, so that a choice made on the command line reaches
    `load_dataset(name, part)`, whose signature is fixed, and worker processes too.
    """
    chosen = os.environ.get(ROOT_VARIABLE)
    if chosen:
        return [Path(chosen)]
    return [Path('..') / 'Assignment4_datasets', Path('..'), DEMO_ROOT]


def find_dataset(name: str) -> Path:
    """The data set's folder."""
    for root in roots():
        folder = root / name
        if any((folder / part).is_dir() for part in PARTS) or any((folder / label).is_dir() for label in CLASSES):
            return folder
    searched = ', '.join(str(root) for root in roots())
    raise UserError(
        f'No data set "{name}" in {searched}. Run `python make_demo_data.py` to make the demo data, '
        f'or point --data-root (or the variable {ROOT_VARIABLE}) at the folder that holds {name}/.'
    )


def find_part(name: str, part: str) -> Path:
    """The folder of a data set's part, with its two classes."""
    folder = find_dataset(name)
    if not (folder / part).is_dir():
        if any((folder / label).is_dir() for label in CLASSES):
            # The same name in another folder, so that every line that names the data set stays as it is.
            paths = folder / 'real', folder / 'fake', Path(SPLIT_ROOT) / folder.name
            real, fake, split = (shlex.quote(str(path)) for path in paths)
            raise UserError(
                f'{folder} holds real/ and fake/ but no {"/, ".join(PARTS)}/. Split it first: `python preprocessing.py '
                f'--no-detect --real {real} --fake {fake} --output {split}`, then '
                f'`export {ROOT_VARIABLE}={SPLIT_ROOT}`.'
            )
        raise UserError(f'{folder} has no part "{part}"; it has {", ".join(subfolders(folder)) or "no folders"}.')
    return folder / part


def subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir())


def read_card(folder: str | Path) -> dict:
    """The data set's card (source, licence, seed, counts, class names, kind of the fakes), or {} if it has none."""
    card = Path(folder) / 'dataset.json'
    if not card.exists():
        return {}
    content = records.read_json(card)
    if not isinstance(content, dict):
        raise UserError(f'{card} holds no object ({{...}}); mend it or remove it.')
    records.check_label_names(content.get('class_names'), card)
    return content


def is_drawn(source: str | None) -> bool:
    """True if the source on a data set's card is ours, and its pictures are drawings."""
    return str(source or '').startswith('drawn by make_demo_data.py')


def kind_of(name: str) -> str | None:
    """The kind of a data set's fakes, as its card says; None if it says none or the data set is not here."""
    try:
        folder = find_dataset(name)
    except UserError:
        return None
    kind = read_card(folder).get('kind')
    if kind is not None and not (isinstance(kind, str) and kind):
        raise UserError(f'{folder / "dataset.json"}: "kind" is to be a word, as "swap"; it is {json.dumps(kind)}.')
    return kind


def read_manifest(folder: str | Path) -> dict[str, dict[str, str]]:
    """{file: its row} of the manifest.csv that preprocessing.py leaves in a data set, a file being 'train/real/a.png';
    {} if there is none."""
    manifest = Path(folder) / 'manifest.csv'
    if not manifest.exists():
        return {}
    try:
        with open(manifest, newline='', encoding='utf-8-sig') as opened:
            rows = list(csv.DictReader(opened))
        if rows and not {'file', 'group'} <= rows[0].keys():
            raise UserError(f'{manifest} needs the columns "file" and "group", as preprocessing.py writes them.')
        return {Path(row['file']).as_posix(): row for row in rows if row['file']}
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(
            f'{manifest} cannot be read ({error}). Make it again with `python preprocessing.py`.'
        ) from error


def class_files(part_folder: str | Path) -> list[str]:
    """'real/a.jpg', 'fake/b.jpg', ...: real first, each class sorted."""
    folder = Path(part_folder)
    return [f'{label}/{name}' for label in CLASSES if (folder / label).is_dir() for name in image_files(folder / label)]


def fingerprint(folder: str | Path, files: list[str] | None = None) -> str:
    """A hash that changes when a file is added, removed, renamed or rewritten with another size.

    It reads no file's content, so that it costs little on a million images. Drawn data are recognised by their card
    instead of the sizes: other processors round differently, and a few pixels are some grey levels off.
    """
    card = read_card(Path(folder).parent)
    card.pop('kind', None)  # a tag, which somebody may add or change
    drawn = is_drawn(card.get('source'))
    # The file names of two parts may be the same.
    digest = hashlib.sha256(json.dumps([Path(folder).name, card], sort_keys=True).encode() if drawn else b'')
    for file in class_files(folder) if files is None else files:
        size = 0 if drawn else (Path(folder) / file).stat().st_size
        digest.update(f'{file}\0{size}\n'.encode())
    return digest.hexdigest()[:16]
