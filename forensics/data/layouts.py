"""Readers of the layouts of data sets: each turns a folder into labelled sources.

| layout           | how it is recognised                                      | group                               |
|------------------|-----------------------------------------------------------|-------------------------------------|
| FaceForensics++  | original_sequences/ and manipulated_sequences/            | both people of a swap; DFD: actor   |
| Celeb-DF         | Celeb-real/ and Celeb-synthesis/                          | the person who was filmed           |
| DFDC             | metadata.json beside the videos, also in sub-folders      | the original video                  |
| UADFV            | real/ and fake/, fakes named NUMBER_fake                  | the number                          |
| the assignment's | train/, val/, test/, each with real/ and fake/            | manifest.csv's, else the file       |
| plain            | real/ and fake/                                           | the file                            |
"""

import csv
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from forensics import records
from forensics.data.datasets import CLASSES, PARTS, read_manifest
from forensics.errors import UserError
from forensics.pictures.files import is_image_file
from forensics.pictures.video import is_video_file


@dataclass(frozen=True)
class Source:
    """An image or a video with its label, groups and part.

    Sources that share a group must stay in one part. `part` is empty where the data set does not say.
    """

    path: str
    label: str
    groups: tuple[str, ...]
    part: str = ''


# --- single inputs -------------------------------------------------------------------------------------------------


def read_input(path: str | Path, label: str) -> list[Source]:
    """The sources in the PATH of `--real` or `--fake`: a folder, a file, or a CSV whose labels must agree."""
    path = Path(path)
    if path.is_dir():
        return [Source(str(file), label, (str(file),)) for file in media_files(path)]
    if path.suffix.lower() == '.csv':
        return read_csv(path, label)
    if not path.exists():
        raise UserError(f'{path} does not exist.')
    if not (is_image_file(path) or is_video_file(path)):
        raise UserError(f'{path} is neither an image nor a video that we know by its extension, nor a folder or a CSV.')
    return [Source(str(path), label, (str(path),))]


def media_files(folder: Path) -> list[Path]:
    """All images and videos in a folder and its sub-folders, sorted; nothing hidden."""
    return sorted(
        file
        for file in folder.rglob('*')
        if not any(name.startswith('.') for name in file.relative_to(folder).parts)
        and (is_image_file(file) or is_video_file(file))
    )


def read_csv(path: str | Path, label: str | None = None) -> list[Source]:
    """Columns path, label, group (optional), part (optional). Paths are relative to the CSV's folder."""
    path = Path(path)
    sources = []
    try:
        with open(path, newline='', encoding='utf-8-sig') as file:
            rows = csv.DictReader(file)
            if 'path' not in (rows.fieldnames or []):
                raise UserError(f'{path} has no column "path"; expected: path,label,group.')
            for number, row in enumerate(rows, start=2):
                said = (row.get('label') or '').strip().lower() or label
                said = {'0': 'real', '1': 'fake'}.get(said, said)
                part = (row.get('part') or '').strip()
                if said not in CLASSES or (label and said != label):
                    wanted = f'"{label}", as the option says' if label else 'real or fake (0 or 1)'
                    raise UserError(f'{path}, line {number}: label "{said or ""}"; expected {wanted}.')
                if part not in ('', *PARTS):
                    raise UserError(f'{path}, line {number}: part "{part}"; expected {", ".join(PARTS)} or nothing.')
                file_path = str(path.parent / row['path'])
                sources.append(Source(file_path, said, ((row.get('group') or '').strip() or file_path,), part))
    except FileNotFoundError as error:
        raise UserError(f'{path} does not exist.') from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UserError(f'{path} cannot be read as a CSV ({error}).') from error
    return sources


# --- whole data sets -----------------------------------------------------------------------------------------------


def child(folder: Path, name: str) -> Path | None:
    """The sub-folder of that name, however it is capitalised."""
    return next((entry for entry in sorted(folder.iterdir()) if entry.is_dir() and entry.name.lower() == name), None)


def read_plain(root: Path) -> Iterator[Source]:
    for label in CLASSES:
        yield from read_input(child(root, label), label)


def is_plain(root: Path) -> bool:
    return all(child(root, label) for label in CLASSES)


def read_assignment(root: Path) -> Iterator[Source]:
    manifest = read_manifest(root)
    for part in PARTS:
        if child(root, part):
            for source in read_plain(child(root, part)):
                group = manifest.get(Path(source.path).relative_to(root).as_posix(), {}).get('group')
                yield replace(source, part=part, groups=(group,) if group else source.groups)


def is_assignment(root: Path) -> bool:
    found = [child(root, part) for part in PARTS if child(root, part)]
    return bool(found) and all(is_plain(folder) for folder in found)


def read_uadfv(root: Path) -> Iterator[Source]:
    """UADFV/fake/0000_fake.mp4 was made from UADFV/real/0000.mp4. Some copies hold frames instead of videos, in
    folders named after the video."""
    for label in CLASSES:
        folder = child(root, label)
        files = [file for file in sorted(folder.iterdir()) if is_video_file(file)] or media_files(folder)
        for file in files:
            video = file.stem if is_video_file(file) or file.parent == folder else file.parent.name
            yield Source(str(file), label, (re.sub('_fake$', '', video),))


def is_uadfv(root: Path) -> bool:
    if not is_plain(root):
        return False
    names = [
        file if is_video_file(file) or file.parent == child(root, 'fake') else file.parent
        for file in media_files(child(root, 'fake'))
    ]
    return bool(names) and all(re.fullmatch(r'\d+_fake', name.stem) for name in names)


def read_faceforensics(root: Path) -> Iterator[Source]:
    """manipulated_sequences/METHOD/COMPRESSION/videos/TARGET_SOURCE.mp4; frames in images/TARGET_SOURCE/ too.

    A swap belongs to both of its people. The actors of DeepFakeDetection are all swapped with one another, so they
    would be one group: there a swap belongs only to the person filmed. The official splits are used if train.json,
    val.json and test.json lie in the data set's folder or in splits/.
    """
    official = {}
    for part in PARTS:
        for file in (root / f'{part}.json', root / 'splits' / f'{part}.json'):
            if file.exists():
                official.update({video: part for pair in records.read_json(file) for video in pair})
    for label, sequences in (('real', 'original_sequences'), ('fake', 'manipulated_sequences')):
        for file in media_files(root / sequences):
            where = file.relative_to(root / sequences).parts
            if not {'videos', 'images', 'frames'} & set(where):
                continue  # masks and models lie in folders of their own
            video = file.stem if is_video_file(file) else file.parent.name
            numbers = re.match(r'(\d+)(?:_(\d+))?', video)
            if where[0] in ('actors', 'DeepFakeDetection'):
                groups = (f'actor {numbers[1] if numbers else video}',)
            else:
                groups = tuple(f'youtube {number}' for number in (numbers.groups() if numbers else [video]) if number)
            yield Source(str(file), label, groups, official.get(groups[0].removeprefix('youtube '), ''))


def is_faceforensics(root: Path) -> bool:
    return (root / 'original_sequences').is_dir() and (root / 'manipulated_sequences').is_dir()


def read_celeb_df(root: Path) -> Iterator[Source]:
    """Celeb-synthesis/id0_id16_0000.mp4 shows the face of person 16 in a video of person 0.

    Its swaps join nearly all of its people, so keeping both together would leave one group: a swap belongs only to
    the person filmed. The videos in List_of_testing_videos.txt are the test part.
    """
    listed = root / 'List_of_testing_videos.txt'
    lines = listed.read_text().splitlines() if listed.exists() else []
    testing = {line.split()[-1] for line in lines if line.strip()}
    for label, name in (('real', 'Celeb-real'), ('real', 'YouTube-real'), ('fake', 'Celeb-synthesis')):
        for file in media_files(root / name) if (root / name).is_dir() else []:
            video = file.stem if is_video_file(file) else file.parent.name
            person = video.split('_')[0] if name.startswith('Celeb') else f'youtube {video}'
            part = 'test' if f'{name}/{video}.mp4' in testing else ''
            yield Source(str(file), label, (person,), part)


def is_celeb_df(root: Path) -> bool:
    return (root / 'Celeb-real').is_dir() and (root / 'Celeb-synthesis').is_dir()


def read_dfdc(root: Path) -> Iterator[Source]:
    """metadata.json: {"a.mp4": {"label": "FAKE", "original": "b.mp4"}, ...}. All fakes of an original stay with it.
    Its "split" is "train" for every video, so it is ignored."""
    for metadata in sorted(root.rglob('metadata.json')):
        for name, facts in sorted(records.read_json(metadata).items()):
            label = str(facts.get('label', '')).lower()
            if label not in CLASSES:
                raise UserError(f'{metadata}: "{name}" has the label "{facts.get("label")}"; expected REAL or FAKE.')
            yield Source(str(metadata.parent / name), label, (facts.get('original') or name,))


def is_dfdc(root: Path) -> bool:
    return next(root.rglob('metadata.json'), None) is not None


@dataclass(frozen=True)
class Layout:
    name: str
    recognise: Callable[[Path], bool]
    read: Callable[[Path], Iterator[Source]]


# The first layout that recognises a folder reads it, so the specific ones come first.
LAYOUTS = (
    Layout('FaceForensics++', is_faceforensics, read_faceforensics),
    Layout('Celeb-DF', is_celeb_df, read_celeb_df),
    Layout('UADFV', is_uadfv, read_uadfv),
    Layout("the assignment's", is_assignment, read_assignment),
    Layout('plain', is_plain, read_plain),
    Layout('DFDC', is_dfdc, read_dfdc),
)


def read_dataset(path: str | Path) -> tuple[str, list[Source]]:
    """(name of the layout, sources) of a data set's folder, or of a CSV."""
    path = Path(path)
    if path.suffix.lower() == '.csv':
        return 'CSV', read_csv(path)
    if not path.is_dir():
        raise UserError(f'{path} is no folder and no CSV.')
    for layout in LAYOUTS:
        if layout.recognise(path):
            return layout.name, list(layout.read(path))
    raise UserError(
        f'The layout of {path} is none of {", ".join(layout.name for layout in LAYOUTS)}. Name its folders with '
        f'--real and --fake, or list its files in a CSV with the columns path,label,group and give that to --from.'
    )
