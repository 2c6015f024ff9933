"""Detectors that are no networks: features, a small classifier, a calibration.

scikit-learn trains them. They are stored as plain arrays, from which a few lines of NumPy give the same decisions.
"""

import itertools
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
from PIL import Image

from forensics import records
from forensics.classical import features
from forensics.errors import UserError
from forensics.judging.detector import Detector, Doubts

FORMAT = 'classical detector 1'
FOLDS = 5

# The values that cross-validation tries. `gamma` is in units of one over the number of features; as the features are
# scaled, scikit-learn's own default ('scale') is 1.
GRIDS: dict[str, dict[str, list]] = {
    'svm-poly': {'C': [0.1, 1, 10], 'degree': [2, 3], 'coef0': [0, 1]},
    'svm-linear': {'C': [0.001, 0.01, 0.1, 1]},
    'svm-rbf': {'C': [1, 10, 100], 'gamma': [0.01, 0.1, 1]},
    'svm-sigmoid': {'C': [1, 10, 100], 'gamma': [0.01, 0.1, 1]},
    'logistic': {'C': [0.0001, 0.001, 0.01, 0.1, 1]},
    'k-means': {},
}


# --- classifiers -----------------------------------------------------------------------------------------------


@dataclass
class Classifier:
    """A trained classifier as values and arrays. Its decision is above 0 for fakes."""

    kind: str
    parameters: dict  # plain values
    arrays: dict[str, np.ndarray] = field(repr=False)

    def decision(self, vectors: np.ndarray) -> np.ndarray:
        scaled = (vectors - self.arrays['mean']) / self.arrays['scale']
        if self.kind == 'k-means':
            return distances(scaled, self.arrays['real']) - distances(scaled, self.arrays['fake'])
        if self.kind in ('svm-linear', 'logistic'):
            return scaled @ self.arrays['coefficients'] + self.arrays['intercept']
        kernel = self._kernel(scaled, self.arrays['support_vectors'])
        return kernel @ self.arrays['coefficients'] + self.arrays['intercept']

    def _kernel(self, left: np.ndarray, right: np.ndarray) -> np.ndarray:
        gamma = self.parameters['gamma']
        if self.kind == 'svm-rbf':
            squares = np.sum(left**2, axis=1)[:, None] + np.sum(right**2, axis=1) - 2 * left @ right.T
            return np.exp(-gamma * np.maximum(squares, 0))
        product = gamma * (left @ right.T) + self.parameters['coef0']
        return product ** self.parameters['degree'] if self.kind == 'svm-poly' else np.tanh(product)


def distances(vectors: np.ndarray, centre: np.ndarray) -> np.ndarray:
    return np.linalg.norm(vectors - centre, axis=1)


def pipeline(kind: str, nof_features: int, seed: int = 0):
    """scikit-learn's classifier, with the scaling inside, so that a fold is scaled by its own training part."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVC

    if kind == 'logistic':
        model = LogisticRegression(max_iter=5000)
    else:
        model = SVC(kernel=kind.removeprefix('svm-'), gamma=1 / nof_features, cache_size=500, random_state=seed)
    return Pipeline([('scale', StandardScaler()), ('model', model)])


def fit(
    kind: str, vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int = 0
) -> tuple[Classifier, float | None]:
    """The classifier and the AuC that its hyper-parameters reached in cross-validation (None if there are none)."""
    if kind == 'k-means':
        return fit_k_means(vectors, labels, seed), None
    from sklearn.model_selection import GridSearchCV

    grid = {f'model__{name}': values for name, values in GRIDS[kind].items()}
    if 'gamma' in GRIDS[kind]:
        grid['model__gamma'] = [factor / vectors.shape[1] for factor in GRIDS[kind]['gamma']]
    # Processes take a second or two to start: a small search has ended by then.
    jobs = -1 if vectors.size > 200_000 else 1
    search = GridSearchCV(
        pipeline(kind, vectors.shape[1], seed),
        grid,
        scoring='roc_auc',
        cv=list(folds(vectors, labels, groups, seed)),
        n_jobs=jobs,
    )
    search.fit(vectors, labels)
    return from_pipeline(kind, search.best_estimator_), float(search.best_score_)


def folds(vectors: np.ndarray, labels: np.ndarray, groups: np.ndarray, seed: int):
    """Parts for cross-validation. No group (person, video, source photograph) is on both sides."""
    from sklearn.model_selection import StratifiedGroupKFold

    smallest = min(len(set(groups[labels == label])) for label in (0, 1))
    if smallest < 2:
        raise UserError(
            'Cross-validation needs two or more groups of each class in the training part: the manifest joins all '
            'images of a class into one.'
        )
    splitter = StratifiedGroupKFold(min(FOLDS, smallest), shuffle=True, random_state=seed)
    return splitter.split(vectors, labels, groups)


def from_pipeline(kind: str, fitted) -> Classifier:
    """The values and arrays of a fitted pipeline."""
    scaler, model = fitted['scale'], fitted['model']
    arrays = {'mean': scaler.mean_, 'scale': scaler.scale_, 'intercept': np.asarray(model.intercept_[0])}
    parameters = {'C': model.C}
    if kind in ('svm-linear', 'logistic'):
        arrays['coefficients'] = model.coef_[0]
    else:
        arrays |= {'support_vectors': model.support_vectors_, 'coefficients': model.dual_coef_[0]}
        used = {'svm-poly': ('gamma', 'coef0', 'degree'), 'svm-rbf': ('gamma',), 'svm-sigmoid': ('gamma', 'coef0')}
        parameters |= {name: getattr(model, name) for name in used[kind]}
    return Classifier(kind, parameters, arrays)


def fit_k_means(vectors: np.ndarray, labels: np.ndarray, seed: int) -> Classifier:
    """Two clusters found without the labels; the labels only decide which one is fake."""
    from sklearn.cluster import KMeans
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(vectors)
    means = KMeans(2, n_init=10, random_state=seed).fit(scaler.transform(vectors))
    share = [labels[means.labels_ == cluster].mean() for cluster in (0, 1)]
    real, fake = np.argsort(share)
    centres = means.cluster_centers_
    arrays = {'mean': scaler.mean_, 'scale': scaler.scale_, 'real': centres[real], 'fake': centres[fake]}
    return Classifier('k-means', {}, arrays)


def fit_calibration(decisions: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Platt scaling: the slope and offset for which P(fake) = 1 / (1 + exp(-(slope * decision + offset))) fits best.

    The slope stays positive. A detector whose decisions point the wrong way on validation is a bad one, and turning
    it round would hide that.
    """
    from scipy.optimize import minimize

    nof_fake, nof_real = labels.sum(), (1 - labels).sum()
    # Not 0 and 1, or perfectly separable classes would give an infinite slope.
    target = np.where(labels == 1, (nof_fake + 1) / (nof_fake + 2), 1 / (nof_real + 2))
    unit = decisions.std() or 1.0

    def loss(values: np.ndarray) -> float:
        logits = np.exp(values[0]) * decisions / unit + values[1]
        return float(np.mean(np.logaddexp(0, logits) - target * logits))

    log_slope, offset = minimize(loss, [0.0, 0.0], bounds=[(-7, 7), (-100, 100)]).x
    return {'slope': float(np.exp(log_slope) / unit), 'offset': float(offset)}


# --- detectors -------------------------------------------------------------------------------------------------


class ClassicalDetector(Detector):
    """Scores images. All that it needs is in one file."""

    def __init__(self, extractors: Sequence, classifier: Classifier, calibration: dict[str, float], run: dict):
        self.extractors, self.classifier, self.calibration, self.run = extractors, classifier, calibration, run

    @property
    def name(self) -> str:
        return self.run['model']

    def outputs(self, images: Iterable[Image.Image], doubts: Doubts) -> np.ndarray:
        """The logit of P(fake): a row an image, as a network with one output gives it."""
        images = iter(images)
        sizes, blocks = [], []
        while chunk := list(itertools.islice(images, features.CHUNK)):
            sizes += [image.size for image in chunk]
            blocks.append(features.of_images(self.extractors, chunk))
        if not blocks:
            return np.zeros((0, 1))
        vectors = np.concatenate(blocks)
        tell_doubts(doubts, sizes, vectors, self.extractors, self.run['trained_on'])
        return self.calibrated(self.classifier.decision(vectors))[:, None]

    def calibrated(self, decisions: np.ndarray) -> np.ndarray:
        return self.calibration['slope'] * decisions + self.calibration['offset']

    def save(self, path: str | Path) -> None:
        metadata = {
            'format': FORMAT,
            'features': [extractor.settings() for extractor in self.extractors],
            'classifier': {'kind': self.classifier.kind, 'parameters': self.classifier.parameters},
            'calibration': self.calibration,
            'run': self.run,
        }
        arrays = {f'classifier.{name}': values for name, values in self.classifier.arrays.items()}
        for extractor in self.extractors:
            if isinstance(extractor, features.Deep):
                arrays |= {f'{extractor.kind}.{name}': values for name, values in extractor.arrays().items()}
        with records.atomic_path(path) as temporary:
            np.savez(temporary, metadata=np.array(json.dumps(records.plain(metadata))), **arrays)
        self.loaded_from(path)


def load(path: str | Path, build_network: Callable | None = None) -> ClassicalDetector:
    """The detector in a file that train_svm.py wrote. Nothing in the file is executed.

    `build_network(name)` gives a network of the model registry without weights; only deep features need it.
    """
    if not Path(path).is_file():
        raise UserError(f'No detector {path}. Make it with `python train_svm.py ...`.')
    try:
        with np.load(path, allow_pickle=False) as content:
            arrays = dict(content)
        metadata = json.loads(str(arrays.pop('metadata')))
        if metadata['format'] != FORMAT:
            raise ValueError(f'its format is "{metadata["format"]}"')
        extractors = [make_extractor(settings, arrays, build_network) for settings in metadata['features']]
        classifier = Classifier(**metadata['classifier'], arrays=arrays_under(arrays, 'classifier'))
        detector = ClassicalDetector(extractors, classifier, metadata['calibration'], metadata['run'])
    except (OSError, ValueError, TypeError, KeyError, EOFError, BadZipFile) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise UserError(
            f'{path} is damaged or no detector of train_svm.py ({reason}). Make it with `python train_svm.py ...`.'
        ) from error
    records.check_label_names(detector.run.get('class_names'), path)
    return detector.loaded_from(path)


def make_extractor(settings: dict, arrays: dict[str, np.ndarray], build_network: Callable | None):
    settings = dict(settings)
    kind = settings.pop('kind')
    if kind == 'spectrum':
        return features.Spectrum(**settings)
    if build_network is None:
        raise ValueError(f'{kind} features need a network')
    import torch

    network = build_network(features.DEEP[kind])
    extractor = features.Deep(kind, network, **settings)
    state = {name: torch.from_numpy(values) for name, values in arrays_under(arrays, kind).items()}
    extractor.network.load_state_dict(state)
    return extractor


def arrays_under(arrays: dict[str, np.ndarray], prefix: str) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix + '.'): values for name, values in arrays.items() if name.startswith(prefix + '.')}


# --- doubts about the input ------------------------------------------------------------------------------------


def describe_training(sizes: Sequence[tuple[int, int]], vectors: np.ndarray, extractors: Sequence) -> dict:
    """The size and spectral tails of the training images, with which `tell_doubts` compares new ones."""
    size = list(sizes[0]) if len(set(sizes)) == 1 else None
    facts = {'size': size}
    tails = spectral_tails(vectors, extractors)
    if tails is not None:
        facts |= {'lowest_tail': float(tails.min()), 'highest_tail': float(tails.max())}
    return facts


def spectral_tails(vectors: np.ndarray, extractors: Sequence) -> np.ndarray | None:
    """The mean of the spectrum's last quarter: enlarging an image empties it."""
    start = 0
    for extractor in extractors:
        if isinstance(extractor, features.Spectrum):
            return vectors[:, start + 3 * extractor.n // 4 : start + extractor.n].mean(axis=1)
        start += extractor.length
    return None


def tell_doubts(
    doubts: Doubts, sizes: Sequence[tuple[int, int]], vectors: np.ndarray, extractors: Sequence, trained_on: dict
) -> None:
    """Tell why not to trust scores of these images: the input is not what was trained on."""
    doubts.images += len(sizes)
    oblong = sum(width != height for width, height in sizes)
    doubts.tell('are not square; crop them to the face, in a square.', oblong)
    tails = spectral_tails(vectors, extractors)
    if tails is None or not trained_on:
        return
    if trained_on['size']:
        other = sum(width == height and [width, height] != trained_on['size'] for width, height in sizes)
        doubts.tell(
            f'have not the {trained_on["size"][0]}x{trained_on["size"][1]} pixels of the training images; a spectrum '
            f'depends on the scale.',
            other,
        )
    outside = int(np.sum((tails < trained_on['lowest_tail']) | (tails > trained_on['highest_tail'])))
    doubts.tell(
        'have more or less in their highest frequencies than any training image: were they resampled, blurred or '
        'compressed? Crop without scaling (`preprocessing.py --keep-scale`).',
        outside,
    )
