"""Export a trained network as one ONNX file, which scores pictures without PyTorch:

python export_onnx.py -cpp checkpoints/bonus.pt -m BonusNet

The file takes bytes (pictures x size x size x 3, RGB) and gives `p_fake`, calibrated, and its `logit`;
networks that end in an average and one linear layer also give `evidence`, a map whose mean is the logit. Threshold,
temperature, the data it was trained on, limits and licence are in the metadata. A file whose answers are not those of
PyTorch on 100 pictures is not written.
"""

import argparse
import contextlib
import dataclasses
import io
import json
import logging
import sys
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn

import detectors
import options
from forensics import records
from forensics.classical.spectrum import azimuthal_spectra
from forensics.data import datasets
from forensics.data.crops import Settings
from forensics.data.datasets import CLASSES
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import exported, scoring
from forensics.judging.answers import validation_parts
from forensics.judging.detector import Doubts
from forensics.judging.exported import ExportedDetector
from forensics.pictures.files import open_image
from forensics.running import starting

PICTURES = 100
SPECTRA = 200  # faces of a class of a data set
PRECISIONS = {'float32': 1e-4, 'float16': 0.02, 'int8': 0.2}  # the largest difference that is let pass


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_checkpoint(parser)
    parser.add_argument('-m', '--model', metavar='NAME', help="only for a stranger's checkpoint, which does not say it")
    parser.add_argument('-o', '--output', metavar='FILE', help="(default: the checkpoint's name with .onnx)")
    parser.add_argument(
        '--precision',
        choices=PRECISIONS,
        default='float32',
        help='of the weights; int8 also computes in whole numbers (default: %(default)s)',
    )
    parser.add_argument(
        '--images',
        metavar='FOLDER',
        help='pictures to compare on (default: the validation part of the data set that it was trained on, else noise)',
    )
    parser.add_argument(
        '--spectra',
        action='store_true',
        help="also store the mean spectra of real and fake faces, of its data sets' validation parts, for app.py",
    )
    card = parser.add_argument_group('what its users should know; the checkpoint may say it, too')
    card.add_argument('--trained-on', metavar='TEXT')
    card.add_argument('--fails-on', metavar='TEXT', help='where it is known to be wrong')
    card.add_argument('--licence', metavar='TEXT', help='of the weights')
    card.add_argument('--smallest-face', type=options.positive, metavar='PIXELS', help='that it was trained on')
    card.add_argument(
        '--margin',
        type=float,
        metavar='SHARE',
        help=f'around the faces that it was trained on (default: {Settings.margin}, as preprocessing.py crops)',
    )
    options.add_data_root(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    need_onnx()
    path = Path(args.output or Path(args.checkpoint_path).with_suffix('.onnx'))
    records.check_writable(path)
    detector = load(args.checkpoint_path, args.model)
    detector.run = {**detector.run, 'model': detector.name, 'card': card_of(detector.run, args)}
    tell_what_is_not_known(detector)
    detector.mean_spectra = mean_spectra(detector.datasets) if args.spectra else None
    images, source = pictures_to_compare(args.images, detector.trained_on)
    write(path, detector, images, source, args.precision)
    print(f'Wrote {path}, {path.stat().st_size / 2**20:.1f} MiB')


def need_onnx() -> None:
    try:
        exported.import_onnxruntime()
        import onnx  # noqa: F401
        import onnxscript  # noqa: F401
    except ImportError as error:
        raise UserError(f'Exporting needs the package {error.name}: `pip install -r requirements.txt`.') from error


def load(checkpoint_path: str, model_name: str | None) -> detectors.NetworkDetector:
    """The network on the CPU."""
    if Path(checkpoint_path).suffix in ('.npz', '.onnx'):
        raise UserError(f'{checkpoint_path} holds no network of PyTorch: take a checkpoint of train_main.py (.pt).')
    detector = detectors.load_network(checkpoint_path, model_name)
    detector.model.cpu().eval()
    return detector


def card_of(run: dict, args: argparse.Namespace) -> dict:
    """What the command line says goes before what the checkpoint says."""
    said = {name: getattr(args, name) for name in ('trained_on', 'fails_on', 'licence', 'smallest_face', 'margin')}
    known = {'trained_on': run.get('dataset'), 'margin': Settings.margin, **(run.get('card') or {})}
    return {name: known.get(name) if value is None else value for name, value in said.items()}


def tell_what_is_not_known(detector: detectors.NetworkDetector) -> None:
    if not detector.fitted:
        print('Not calibrated: the checkpoint holds no temperature and no threshold. P(fake) of 0.5 or more is fake.')
        print(f'  `python calibrate.py -cpp {detector.file}` puts them in.')
    missing = [f'--{name.replace("_", "-")}' for name, value in detector.card.items() if value is None]
    if missing:
        print(f'The file will say "not stated" of {", ".join(missing)}.')


def pictures_to_compare(folder: str | None, dataset: str | None) -> tuple[list[Image.Image], str]:
    """(at most 100 pictures, whence they come)."""
    try:
        folder = Path(folder) if folder else datasets.find_part(dataset or '', 'val')
    except UserError:
        return [noise(number) for number in range(PICTURES)], 'noise'
    files = sorted(path for suffix in ('*', '*/*') for path in folder.glob(suffix) if path.is_file())
    chosen = files[:: max(1, len(files) // PICTURES)][:PICTURES]
    if not chosen:
        raise UserError(f'{folder} holds no picture to compare on.')
    return [open_image(path) for path in chosen], str(folder)


def noise(number: int, size: int = 256) -> Image.Image:
    """Noise of all wavelengths, as bytes."""
    rng = np.random.default_rng(number)
    side = 2 + number % 30
    coarse = Image.fromarray(rng.integers(0, 256, (side, side, 3), dtype=np.uint8)).resize((size, size))
    pixels = np.asarray(coarse) + rng.normal(0, number % 40, (size, size, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def mean_spectra(names: list[str]) -> dict:
    """Of at most 200 real and 200 fake faces of each validation part."""
    parts = [Part.find(name, 'val') for name in names if (datasets.find_dataset(name) / 'val').is_dir()]
    found: dict = {'of': validation_parts([part.dataset for part in parts])} if parts else {}
    for label in CLASSES:
        chosen = [part.folder / file for part in parts for file in spread(part.files_of_class(label), SPECTRA)]
        if not chosen:
            raise UserError(f'--spectra: {names or "this checkpoint"} has no {label} validation pictures to average.')
        spectra = azimuthal_spectra(open_image(path) for path in chosen)
        found[label] = spectra.mean(axis=0).round(5).tolist()
    return found


def spread(items: list, number: int) -> list:
    """At most so many of the items, from all over them."""
    return items[:: max(1, -(-len(items) // number))]


# --- the graph ------------------------------------------------------------


class FromBytes(nn.Module):
    """A network with its preprocessing and its calibration: uint8 pictures, channels last -> P(fake), logit."""

    def __init__(self, detector: detectors.NetworkDetector):
        super().__init__()
        self.network, self.temperature = detector.model, detector.temperature
        mean, std = (torch.tensor(values) for values in (detector.preprocessing.mean, detector.preprocessing.std))
        self.register_buffer('mean', 255 * mean[:, None, None])
        self.register_buffer('std', 255 * std[:, None, None])

    names = ['p_fake', 'logit']

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        inputs = (pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std
        return self.answers(self.network(inputs))

    def answers(self, scores: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        logit = scores[:, -1] if scores.shape[1] == 1 else scores[:, 1] - scores[:, 0]
        logit = logit / self.temperature
        return torch.sigmoid(logit), logit


class FromBytesWithEvidence(FromBytes):
    """The same of a network of timm that ends in the features' average and one linear layer.

    The layer may as well be applied before the average: that gives each place's share of the logit, exactly.
    """

    names = ['p_fake', 'logit', 'evidence']

    @staticmethod
    def fits(network: nn.Module) -> bool:
        pool = getattr(getattr(network, 'global_pool', None), 'pool_type', None)
        head = network.get_classifier() if hasattr(network, 'get_classifier') else None
        return pool == 'avg' and isinstance(head, nn.Linear) and hasattr(network, 'forward_features')

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        features = self.network.forward_features((pictures.permute(0, 3, 1, 2).float() - self.mean) / self.std)
        head = self.network.get_classifier()
        weight, bias = head.weight[1] - head.weight[0], head.bias[1] - head.bias[0]
        evidence = torch.einsum('c,nchw->nhw', weight, features) + bias
        return *self.answers(self.network.forward_head(features)), evidence / self.temperature


def to_onnx(detector: detectors.NetworkDetector):
    """The graph of the whole detector, for any number of pictures."""
    kind = FromBytesWithEvidence if FromBytesWithEvidence.fits(detector.model) else FromBytes
    module = kind(detector).eval()
    size = detector.preprocessing.size
    example = torch.randint(256, (2, size, size, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    if kind is FromBytesWithEvidence and not evidence_adds_up(module, example):
        module = FromBytes(detector).eval()
    with quiet():
        program = torch.onnx.export(
            module,
            (example,),
            input_names=['pictures'],
            output_names=module.names,
            dynamic_shapes={'pictures': {0: torch.export.Dim('number')}},
            external_data=False,
            dynamo=True,
            verbose=False,
        )
    return without_traces(program.model_proto)


def without_traces(model):
    """The graph without the exporter's notes, which name every file of this machine that it came through."""
    for own in (model.graph, *model.functions):
        for thing in (own, *own.node, *own.value_info):
            thing.ClearField('metadata_props')
            thing.ClearField('doc_string')
    for thing in (*model.graph.input, *model.graph.output, *model.graph.initializer):
        thing.ClearField('metadata_props')
        thing.ClearField('doc_string')
    return model


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Without the exporters' remarks on their own insides; errors still come through."""
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter('ignore')
            yield
    finally:
        logging.disable(logging.NOTSET)


@torch.inference_mode()
def evidence_adds_up(module: FromBytesWithEvidence, example: torch.Tensor) -> bool:
    _, logit, evidence = module(example)
    return bool(torch.allclose(evidence.mean((1, 2)), logit, atol=1e-3, rtol=1e-3))


def facts_of(detector: detectors.NetworkDetector, precision: str) -> dict:
    """The metadata, each value as JSON."""
    preprocessing = detector.preprocessing
    return {
        'format': exported.FORMAT,
        'model': detector.name,
        'input': {
            'size': preprocessing.size,
            'only_size': not preprocessing.resize,
            'resampling': 'bilinear' if preprocessing.resize else 'bicubic',
        },
        'precision': precision,
        'checkpoint_sha256': detector.sha256,
        'preprocessing': dataclasses.asdict(preprocessing),
        'run': detector.run,
        'spectra': detector.mean_spectra,
    }


# --- the file ------------------------------------------------------------


def write(
    path: Path,
    detector: detectors.NetworkDetector,
    images: list[Image.Image],
    source: str,
    precision: str,
    tolerance: float | None = None,
) -> ExportedDetector:
    """Write the file if its answers are PyTorch's, up to a difference of P(fake) that suits the precision."""
    import onnx

    if detector.preprocessing.any_size:  # the file takes pictures of one size, that of a data set's crops
        images = [image.resize((detector.preprocessing.size,) * 2) for image in images]
    graph = to_onnx(detector)
    if precision == 'float16':
        graph = in_half_precision(graph)
    elif precision == 'int8':
        graph = in_whole_numbers(graph, images, detector)
    facts = facts_of(detector, precision)
    with records.atomic_path(path) as temporary:
        onnx.helper.set_model_props(graph, {name: json.dumps(records.plain(fact)) for name, fact in facts.items()})
        onnx.save(graph, temporary)
        found = exported.load(temporary)
        difference = compare(detector, found, images, source)
        check(difference, precision, PRECISIONS[precision] if tolerance is None else tolerance)
    found.file = path
    return found


def compare(detector, found: ExportedDetector, images: list[Image.Image], source: str) -> float:
    """The largest difference of P(fake), or of the logit as a share of it: where P is near 0 or 1, it hides much."""
    logit = scoring.fake_logits(detector.outputs(images, Doubts()))
    expected = scoring.fake_probability(logit)
    given = found.answers('p_fake', images), found.score(images)  # the graph's own, and from its logit
    difference = np.max(np.abs(np.subtract(given, expected)), axis=0)
    share = np.abs(found.answers('logit', images) - logit) / (1 + np.abs(logit))
    print(
        f'P(fake) of {len(images)} pictures ({source}) beside PyTorch: at most {difference.max():.1e} apart, '
        f'{difference.mean():.1e} on average; logits by {share.max():.1e} of their size ({found.facts["precision"]}).'
    )
    return float(max(difference.max(), share.max()))


def check(difference: float, precision: str, tolerance: float) -> None:
    if not difference <= tolerance:  # also if it is not a number
        advice = 'Please report it.' if precision == 'float32' else 'Take --precision float32.'
        raise UserError(
            f'The exported network answers differently: {difference:.2g} apart, where {precision} is let pass up to '
            f'{tolerance:g}. Nothing was written. {advice}'
        )


def in_half_precision(graph):
    """The graph with weights of two bytes; what goes in and comes out keeps its type."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    with quiet():
        return convert_float_to_float16(graph, keep_io_types=True)


def in_whole_numbers(graph, images: list[Image.Image], detector: detectors.NetworkDetector):
    """The graph with weights of one byte. The ranges of what flows between the layers are measured on the images."""
    import onnx
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, QuantType, quantize_static

    class Pictures(CalibrationDataReader):
        def __init__(self) -> None:
            size = (detector.preprocessing.size,) * 2
            pixels = (np.asarray(image.convert('RGB').resize(size)) for image in images)
            self.inputs = ({'pictures': picture[None]} for picture in pixels)

        def get_next(self) -> dict | None:
            return next(self.inputs, None)

    with tempfile.TemporaryDirectory() as folder, quiet():
        path = Path(folder) / 'int8.onnx'
        quantize_static(
            graph,
            path,
            Pictures(),
            op_types_to_quantize=['Conv', 'Gemm', 'MatMul'],
            per_channel=True,
            reduce_range=True,  # or sums overflow on processors without the newest instructions
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )
        return onnx.load(path)


if __name__ == '__main__':
    sys.exit(starting.run(main))
