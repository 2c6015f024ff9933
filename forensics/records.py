"""The only reader and writer of what a run leaves on disk: checkpoints, JSON logs, scores, figure paths.

Nothing is half-written (a temporary file in the same folder, then `os.replace`), folders are made on writing, and
only plain types are stored, so that strict JSON parsers and `torch.load(weights_only=True)` take everything.
"""

import contextlib
import csv
import glob
import hashlib
import json
import math
import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from types import NoneType

from forensics.errors import UserError

try:
    import fcntl
except ImportError:  # Windows: writing stays atomic, but two runs that end at the same moment may lose an entry
    fcntl = None


# --- paths ------------------------------------------------------------


def run_name(dataset: str, model: str, optimizer: str) -> str:
    # A data set may be given as a path: the files are named after its folder.
    parts = (Path(dataset).name or dataset, model, optimizer)
    return '_'.join(part.replace('/', '-').replace(':', '-') for part in parts)


def log_path(folder: str, name: str) -> Path:
    return Path(folder) / f'{name}.json'


def checkpoint_path(folder: str, name: str) -> Path:
    return Path(folder) / f'{name}.pt'


def last_checkpoint_path(folder: str, name: str) -> Path:
    return Path(folder) / f'{name}.last.pt'


def figure_path(folder: str, dataset: str, model: str, figure: str) -> Path:
    return Path(folder) / f'{run_name(dataset, model, figure)}.png'


def scores_path(folder: str, detector: str, dataset: str, condition: str = 'test') -> Path:
    parts = (detector, Path(dataset).name or dataset, condition)
    names = '__'.join(part.replace('/', '-').replace(':', '-') for part in parts)
    return Path(folder) / 'scores' / f'{names}.json'


def scores_csv_path(folder: str, detector: str, dataset: str) -> Path:
    """Of all parts that were scored."""
    path = scores_path(folder, detector, dataset)
    return path.with_name(path.stem.removesuffix('__test') + '.csv')


def metrics_path(folder: str, detector: str, dataset: str) -> Path:
    return Path(folder) / 'metrics' / scores_path(folder, detector, dataset).name


def faithfulness_path(folder: str, detector: str, dataset: str) -> Path:
    return Path(folder) / 'faithfulness' / scores_path(folder, detector, dataset).name.replace('__test.', '.')


# --- writing ------------------------------------------------------------


@contextlib.contextmanager
def atomic_path(path: str | Path, *, one_of_many: bool = False) -> Iterator[Path]:
    """A temporary path beside `path`, which takes its place when the block ends well and disappears otherwise.

    `one_of_many` skips the search for abandoned files, which in a folder of a million takes longer than writing one.
    """
    path = Path(path)
    # The suffix stays last because matplotlib and NumPy choose the format by it.
    temporary = path.with_name(f'.{path.stem}.{os.getpid()}.tmp{path.suffix}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if not one_of_many:
            remove_abandoned(path)
        yield temporary
        with open(temporary, 'rb') as written:
            os.fsync(written.fileno())  # or after a power cut the new name may stand for an empty file
        os.replace(temporary, path)
    except OSError as error:
        raise UserError(
            f"Cannot write {path}: {error.strerror or error}. Free some space or check the folder's "
            f'permissions, then run the same line again.'
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def plain(value):
    """The value in JSON's own types: no NaN or infinity (strict parsers reject them), no NumPy scalars, no paths."""
    if isinstance(value, dict):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, 'tolist'):  # NumPy and torch, without importing either
        return plain(value.tolist())
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if value is None or isinstance(value, (str, int, bool)):
        return value
    return str(value)


def remove_abandoned(path: Path) -> None:
    """Remove the temporary files of `path` that killed processes left: 200 MB for each checkpoint.

    Older than an hour means abandoned; process numbers tell nothing, because many machines may share the folder.
    """
    for old in path.parent.glob(f'.{glob.escape(path.stem)}.*.tmp{path.suffix}'):
        with contextlib.suppress(OSError):
            if time.time() - old.stat().st_mtime > 3600:
                old.unlink()


def check_writable(path: str | Path) -> None:
    """Raise before hours of work, not after them, if a file cannot be written. Creates nothing."""
    folder = Path(path).parent
    while not os.path.exists(folder):
        folder = folder.parent
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK):
        raise UserError(
            f"Cannot write {path}: {folder} takes no new files. Check the folder's permissions, then run the same "
            f'line again.'
        )


def write_json(path: str | Path, data) -> None:
    with atomic_path(path) as temporary:
        temporary.write_text(json.dumps(plain(data), indent=2, allow_nan=False) + '\n')


def write_csv(path: str | Path, columns: Sequence[str], rows: Iterable[dict]) -> None:
    """Write a head and a line for each row. Keys of a row that are no columns are left out."""
    with atomic_path(path) as temporary, open(temporary, 'w', newline='', encoding='utf-8') as opened:
        writer = csv.DictWriter(opened, columns, extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)


def read_json(path: str | Path, made_by: str = ''):
    """The file's content. `made_by` is the command that makes it, for the error message."""
    hint = f' Make it with `{made_by}`.' if made_by else ''
    try:
        return json.loads(Path(path).read_text())
    except FileNotFoundError as error:
        raise UserError(f'No file {path}.{hint}') from error
    except (ValueError, OSError) as error:
        again = f' and make it anew with `{made_by}`' if made_by else ''
        raise UserError(f'{path} cannot be read as JSON ({error}). Restore it, or remove it{again}.') from error


@contextlib.contextmanager
def locked(folder: str | Path) -> Iterator[None]:
    """One writer at a time in this folder. The system drops the lock of a process that dies."""
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder, os.O_RDONLY) if fcntl else None
    except OSError as error:
        raise UserError(
            f"Cannot write in {folder}: {error.strerror}. Check the folder's permissions, then run the same line again."
        ) from error
    if descriptor is None:
        yield
        return
    try:
        with contextlib.suppress(OSError):  # a network file system without locks is like Windows
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# --- the log of runs ------------------------------------------------------------


def append_run(path: str | Path, run: dict) -> None:
    """Append the run to the list in the file, or replace the entry with its id.

    A run that is killed between writing its log and marking its checkpoint as finished writes its log twice.
    """
    path = Path(path)
    run_id = run.get('run', {}).get('id')
    with locked(path.parent):
        runs = read_runs(path) if path.exists() else []
        same = [i for i, other in enumerate(runs) if run_id and other.get('run', {}).get('id') == run_id]
        if same:
            runs[same[0]] = run
        else:
            runs.append(run)
        write_json(path, runs)


def read_runs(path: str | Path) -> list[dict]:
    runs = read_json(path, made_by='python train_main.py ...')
    if not isinstance(runs, list) or not all(isinstance(run, dict) for run in runs):
        raise UserError(f'{path} is no log of training runs: a JSON list of objects is expected.')
    return runs


def last_run(path: str | Path) -> dict:
    """The newest run, the one that every reader of the log takes."""
    runs = read_runs(path)
    if not runs:
        raise UserError(f'{path} holds no run yet. Make one with `python train_main.py ...`.')
    return runs[-1]


def best_epoch(run: dict) -> int:
    """Index of the first epoch with the highest validation accuracy: the one whose checkpoint is kept."""
    if not run.get('val_acc'):
        raise UserError('The log of this run has no epoch with a validation accuracy; train it again.')
    return max(range(len(run['val_acc'])), key=lambda epoch: (run['val_acc'][epoch], -epoch))


# --- checkpoints ------------------------------------------------------------


SAFETENSORS = '.safetensors'


def save_checkpoint(path: str | Path, checkpoint: dict) -> None:
    """A .safetensors file has no place for anything but tensors and text: the rest is text there."""
    import torch

    with atomic_path(path) as temporary:
        if Path(path).suffix == SAFETENSORS:
            from safetensors.torch import save

            state = {name: tensor.contiguous() for name, tensor in checkpoint['model'].items()}
            facts = {name: value for name, value in checkpoint.items() if name != 'model'}
            temporary.write_bytes(save(state, {'facts': json.dumps(plain(facts), allow_nan=False)}))
            return
        try:
            torch.save(checkpoint, temporary)
        except RuntimeError as error:  # torch's writer raises it when the disk is full
            raise OSError(str(error).splitlines()[0]) from error


def load_checkpoint(path: str | Path, made_by: str = 'python train_main.py ...') -> dict:
    """The checkpoint on the CPU. Only tensors and plain values are read: a pickle that would run code is refused."""
    import pickle

    import torch

    if not Path(path).is_file():
        raise UserError(f'No checkpoint {path}. Make it with `{made_by}`.')
    if Path(path).suffix == SAFETENSORS:
        return load_safetensors(path, made_by)
    try:
        with torch.serialization.safe_globals(numpy_scalars()):
            checkpoint = torch.load(path, map_location='cpu', weights_only=True)
    except pickle.UnpicklingError as error:
        raise UserError(
            f'{path} is no checkpoint of tensors and plain values, and nothing else is read from a '
            f'file that may come from a stranger.'
        ) from error
    except Exception as error:  # torch raises half a dozen kinds for a damaged file
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(f'{path} is damaged or no checkpoint ({reason}). Make it again with `{made_by}`.') from error
    if not isinstance(checkpoint, dict):
        raise UserError(f'{path} is no checkpoint: a dictionary with the key "model" is expected.')
    return checkpoint


def load_safetensors(path: str | Path, made_by: str) -> dict:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework='pt') as opened:
            facts = json.loads((opened.metadata() or {}).get('facts', '{}'))
            return {**facts, 'model': {name: opened.get_tensor(name) for name in opened.keys()}}  # noqa: SIM118
    except (SafetensorError, OSError, ValueError, TypeError) as error:
        raise UserError(f'{path} is damaged or no checkpoint ({error}). Make it again with `{made_by}`.') from error


def numpy_scalars() -> list:
    """The types in a pickled NumPy scalar: many students' checkpoints hold an accuracy from `np.mean`."""
    import numpy as np

    reconstruct = np.float64(0).__reduce__()[0]
    kinds = [type(np.dtype(kind)) for kind in (np.float64, np.float32, np.int64)]
    return [reconstruct, (reconstruct, 'numpy.core.multiarray.scalar'), np.dtype, *kinds]


# --- scores ------------------------------------------------------------


LABEL_NAMES = ['real', 'fake']  # of the labels 0 and 1


def score_columns(scores) -> list[str]:
    """Of what each column of the scores speaks: two outputs before softmax, or one logit."""
    return LABEL_NAMES[-len(scores[0]) :] if len(scores) else LABEL_NAMES


def write_scores(path: str | Path, files: list[str], labels, scores, **facts) -> None:
    """Write raw scores, one row of outputs a file; every metric is derived from them on reading."""
    meaning = {'label_names': LABEL_NAMES, 'score_columns': score_columns(scores)}
    write_json(path, {**facts, **meaning, 'files': files, 'labels': labels, 'scores': scores})


def read_scores(path: str | Path) -> dict:
    """The record. One that is damaged, or whose labels or scores mean something else than ours, is refused."""
    again = 'Make it with `python numerical_analysis.py ...`.'
    record = read_json(path, made_by='python numerical_analysis.py ...')
    if not isinstance(record, dict) or not {'labels', 'scores'} <= record.keys():
        raise UserError(f'{path} is no record of scores. {again}')
    labels, scores, files = record['labels'], record['scores'], record.get('files', record['labels'])
    if not all(isinstance(each, list) for each in (labels, scores, files)) or not (
        len(labels) == len(scores) == len(files)
        and all(label in (0, 1) for label in labels)
        and all(isinstance(row, list) and len(row) == len(scores[0]) in (1, 2) for row in scores)
        and all(value is None or isinstance(value, (int, float)) for row in scores for value in row)
    ):
        raise UserError(f'{path} needs, for each file, a label 0 or 1 and a row of one or two scores. {again}')
    if 'files' in record and not (all(isinstance(file, str) for file in files) and len({*files}) == len(files)):
        raise UserError(f'{path} needs names of files, none of them twice. {again}')
    names = ('model', 'dataset', 'data_fingerprint', 'data_source', 'condition', *training_facts('', {}))
    if wrong := [name for name in names if not isinstance(record.get(name), (str, NoneType))]:
        raise UserError(f'{path} has something else than words as its {", ".join(wrong)}. {again}')
    check_label_names(record.get('label_names'), path)
    columns = record.get('score_columns')
    if columns is not None and columns != score_columns(scores):
        raise UserError(
            f'{path} says that its scores are those of {columns}, and they are read as those of '
            f'{score_columns(scores)}. {again}'
        )
    return record


# --- faithfulness of explanations ------------------------------------------------------------


def write_faithfulness(path: str | Path, methods: dict[str, dict], **facts) -> None:
    """Write what faithfulness.summary says of each method, and of what detector, files and seed."""
    write_json(path, {**facts, 'methods': methods})


def read_faithfulness(path: str | Path) -> dict:
    """The record; one that is damaged, or of something else, is refused."""
    again = 'python faithfulness.py -cpp CHECKPOINT -d DATASET'
    record = read_json(path, made_by=again)
    numbers = ('images', 'blank', 'deletion', 'insertion', 'random_deletion', 'random_insertion', 'difference')
    try:
        whole = all(isinstance(record[key], str) for key in ('detector', 'model', 'dataset'))
        whole &= isinstance(record['files'], list) and record['answer'].keys() == {'whole', 'nothing'}
        for row in record['methods'].values():
            values = [*(row[name] for name in numbers), *(row['scrambled'][name] for name in ('images', 'correlation'))]
            values += [value for each in (row, row['scrambled']) for value in each['interval'] or []]
            whole &= all(value is None or isinstance(value, (int, float)) for value in values)
    except (TypeError, KeyError, AttributeError):
        whole = False
    if not whole:
        raise UserError(f'{path} is no record of faithfulness, or a damaged one. Make it anew with `{again}`.')
    return record


# --- labels ------------------------------------------------------------


def check_label_names(names, source: str | Path) -> None:
    """Refuse labels that are counted the other way round; a record without names is taken as ours.

    `names` are in the order of the labels, or a dictionary of name and label, as torchvision's ImageFolder has it.
    """
    if isinstance(names, dict):
        names = sorted(names, key=lambda name: str(names[name]))
    if isinstance(names, (list, tuple)) and [str(name).lower() for name in names] == LABEL_NAMES[::-1]:
        raise UserError(
            f'{source} says that label 0 is {names[0]} and label 1 is {names[1]}; here 0 is real and 1 is fake, and '
            f'every answer would be the wrong way round.'
        )


def file_digest(path: str | Path) -> str:
    """SHA-256 of the file's content."""
    with open(path, 'rb') as opened:
        return hashlib.file_digest(opened, 'sha256').hexdigest()


# --- which training something is of ------------------------------------------------------------


FIGURE_KEY = 'trainings'  # of the text in a PNG


def training_facts(detector: str, run: dict, checkpoint_sha256: str | None = None) -> dict:
    """What stands in every record and figure of a detector: which training, on what, from which weights.

    `run` is what the training recorded of itself.
    """
    return {
        'detector': detector,
        'run_id': run.get('id'),
        'checkpoint_sha256': checkpoint_sha256,
        'backbone_weights': run.get('backbone_weights'),
        'trained_on': run.get('dataset'),
        'training_source': run.get('data_source'),
    }


def same_training(one: dict, other: dict) -> bool | None:
    """Whether two such facts are of one training: by its checkpoint, else by its id; None if they do not say."""
    for key in ('checkpoint_sha256', 'run_id'):
        if one.get(key) and other.get(key):
            return one[key] == other[key]
    return None


def figure_metadata(trainings: Sequence[dict]) -> dict[str, str]:
    """The text to store in a PNG, so that it says which trainings it shows; its name has no room for that."""
    return {FIGURE_KEY: json.dumps(plain(trainings))}


def trainings_of_figure(path: str | Path) -> list[dict] | None:
    """The facts of the trainings that a figure shows; None if it does not say."""
    from PIL import Image

    try:
        with Image.open(path) as opened:
            said = json.loads(opened.info.get(FIGURE_KEY, 'null'))
    except (OSError, SyntaxError, ValueError, TypeError):  # who shows the figure says that it is damaged
        return None
    return said if isinstance(said, list) and said and all(isinstance(facts, dict) for facts in said) else None


# --- facts about a run ------------------------------------------------------------


def commit() -> str | None:
    """The code's git commit, with a '+' if it was changed since; None outside a git checkout."""
    root = Path(__file__).resolve().parent.parent

    def git(*arguments: str) -> str:
        return subprocess.run(
            ['git', '-C', str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
        ).stdout.strip()

    try:
        return git('rev-parse', '--short', 'HEAD') + ('+' if git('status', '--porcelain', '-uno') else '')
    except (OSError, subprocess.SubprocessError):
        return None


def versions(*packages: str) -> dict[str, str]:
    from importlib.metadata import version

    return {'python': sys.version.split()[0], **{package: version(package) for package in packages}}
