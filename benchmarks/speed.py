"""Measure the project's speed against the obvious solution (benchmarks/textbook.py) and against bare computation:

python benchmarks/speed.py                                                   # some 25 minutes on two slow cores
python benchmarks/speed.py --quick --json speed.json --figure speed.png      # a trial of the benchmark, no measurement

Both work in one run on the same pictures, each in its own process, because the allocator's settings hold for a whole
process. They take turns, only one computes at a time, and the figures are medians. "Compute only" is what would be
left if pictures cost nothing: the same network and optimizer on random numbers in memory, in our process. Ours is the
project's own code, called as its commands call it.
"""

import argparse
import contextlib
import ctypes
import gc
import multiprocessing
import os
import shlex
import statistics
import subprocess
import sys
import tempfile
import time
import traceback
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import psutil
from PIL import Image

PROJECT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(PROJECT))

from forensics import records  # noqa: E402
from forensics.judging import plots  # noqa: E402
from make_demo_data import NUMBERS  # noqa: E402

XCEPTION_STEP = 37  # GFLOP an image
PARTS = ('train', 'val', 'test')


@dataclass(frozen=True)
class Row:
    """One kind of work and its targets: the ratio to the textbook loop, the share of compute-only, and with bf16 the
    ratio to our own float32."""

    name: str
    label: str
    model: str
    kind: str  # a method of the classes below
    counts: tuple[int, int, int]  # pictures in train, val and test
    ratio: float
    share: float | None = None
    bf16: float | None = None
    product: float | None = None  # share of the matrix product's GFLOP/s
    heavy: bool = False  # takes 8 GB, so a process must give freed memory back for the other
    batch: int = 32
    product_size: int = 3072  # of the matrices, in one direction

    @property
    def images(self) -> int:
        """The number of pictures that one turn works on."""
        train, val, test = self.counts
        return {'step': train, 'evaluation': test, 'saliency': test}.get(self.kind, train + val + test)

    @property
    def sides(self) -> list[str]:
        sides = ['textbook', 'ours', 'compute', 'product']
        sides += ['decode'] if self.kind in ('epoch', 'first_epoch') else []
        return sides + (['bf16', 'product_bf16'] if self.bf16 else [])


EPOCH = (256, 64, 64)
ROWS = (
    Row('simplenet-first', 'SimpleNet, first epoch', 'SimpleNet', 'first_epoch', EPOCH, ratio=1.6, share=0.80),
    Row('simplenet', 'SimpleNet, later epochs', 'SimpleNet', 'epoch', EPOCH, ratio=1.8, share=0.92),
    Row('bonusnet', 'BonusNet, later epochs', 'BonusNet', 'epoch', EPOCH, ratio=1.7, share=0.90),
    Row('mynet', 'MyNet, later epochs', 'MyNet', 'epoch', EPOCH, ratio=1.7, share=0.90),
    Row('xception-step', 'XceptionBased, training step', 'XceptionBased', 'step', (32, 2, 2),
        ratio=2.2, share=0.95, bf16=1.6, product=0.8, heavy=True),
    Row('xception-evaluation', 'XceptionBased, evaluation', 'XceptionBased', 'evaluation', (2, 2, 64),
        ratio=2.5, share=0.95, bf16=1.6),
    Row('saliency', 'SimpleNet, saliency maps', 'SimpleNet', 'saliency', (2, 2, 64), ratio=2.0),
    Row('xception-saliency', 'XceptionBased, saliency maps', 'XceptionBased', 'saliency', (2, 2, 16), ratio=2.0),
)  # fmt: skip
QUICK = ('simplenet-first', 'simplenet', 'bonusnet', 'mynet', 'saliency')  # and these with few pictures
QUICK_SIZES = {'counts': (8, 4, 4), 'batch': 4, 'product_size': 1024}
STARTUP, WHOLE = 'startup', 'whole'
TEXTBOOK_COMMANDS = ('train_main.py', 'numerical_analysis.py', 'saliency_map.py', 'grad_cam_analysis.py')
WHOLE_RATIO = 1.8
# Scripts that only read records or draw: they must start in LIGHT_SECONDS, others in HEAVY_RATIO of importing torch.
LIGHT = (
    'answer_questions', 'audit_dataset', 'make_demo_data', 'plot_accuracy_and_loss', 'plot_samples_of_faces_datasets',
    'preprocessing',
)  # fmt: skip
LIGHT_SECONDS, HEAVY_RATIO = 0.8, 1.15


# --- what the two processes do ------------------------------------------------------------


class Textbook:
    def __init__(self, row: Row, root: Path):
        import torch

        from benchmarks import textbook

        torch.manual_seed(0)
        self.textbook, self.root = textbook, root
        self.model = textbook.MODELS[row.model]()
        self.optimizer = torch.optim.Adam(self.model.parameters(), lr=0.001)
        self.criterion = torch.nn.CrossEntropyLoss()
        self.train, self.val, self.test = (
            torch.utils.data.DataLoader(self.faces(part), row.batch, shuffle=part == 'train') for part in PARTS
        )
        self.run = getattr(self, row.kind)

    def faces(self, part: str):
        return self.textbook.Faces(self.root / part, self.textbook.TRAIN if part == 'train' else self.textbook.TEST)

    def epoch(self) -> None:
        self.step()
        self.textbook.evaluate(self.model, self.val, self.criterion)
        self.evaluation()

    first_epoch = epoch  # nothing is cached

    def step(self) -> None:
        self.textbook.train_epoch(self.model, self.train, self.optimizer, self.criterion)

    def evaluation(self) -> None:
        self.textbook.evaluate(self.model, self.test, self.criterion)

    def saliency(self) -> None:
        maps = self.textbook.saliency_maps(self.model, self.test.dataset)
        for of_class in maps.values():
            of_class.mean(axis=0)


class Decode:
    """The floor of everything that reads pictures: Pillow alone, on one core."""

    def __init__(self, row: Row, root: Path):
        from benchmarks import textbook

        self.files = [path for part in PARTS for path, _ in textbook.Faces(root / part, None).files]

    def run(self) -> None:
        for path in self.files:
            Image.open(path).convert('RGB')


class Ours:
    def __init__(self, row: Row, root: Path, precision: str = 'float32'):
        import torch

        from models import build_model, get_spec
        from trainer import Trainer, make_optimizer

        torch.manual_seed(0)
        self.root = root
        model = build_model(row.model, 'none')
        # The trainer sets the process up as well: allocator, memory format.
        self.trainer = Trainer(
            model, make_optimizer('Adam', model, 0.001), get_spec(row.model).criterion(), row.batch, None, None, None,
            precision=precision,
        )  # fmt: skip
        self.read_data()
        self.run = getattr(self, row.kind)

    def read_data(self) -> None:
        from faces_dataset import FacesDataset
        from forensics.data.checks import check_images
        from utils import TRANSFORM_TEST, TRANSFORM_TRAIN

        parts = {
            part: FacesDataset(str(self.root / part), TRANSFORM_TRAIN if part == 'train' else TRANSFORM_TEST)
            for part in PARTS
        }
        check_images(parts, 256, skip_broken=False)  # train_main.py begins with it, so it counts
        self.trainer.train_dataset, self.trainer.validation_dataset, self.trainer.test_dataset = parts.values()

    def first_epoch(self) -> None:
        self.read_data()
        self.epoch()

    def epoch(self) -> None:
        self.step()
        self.trainer.validate()
        self.evaluation()

    def step(self) -> None:
        self.trainer.train_one_epoch()

    def evaluation(self) -> None:
        self.trainer.test()

    def saliency(self) -> None:
        from saliency_map import mean_saliency_maps

        mean_saliency_maps(self.trainer.test_dataset, self.trainer.model)


class Bf16(Ours):
    def __init__(self, row: Row, root: Path):
        super().__init__(row, root, precision='bf16')


class Compute(Ours):
    """The floor: our network, optimizer and process on random numbers in memory, and nothing else."""

    def __init__(self, row: Row, root: Path):
        import torch

        from saliency_map import BATCH_SIZE

        super().__init__(row, root)
        self.torch, self.model = torch, self.trainer.model
        self.nof_batches = [-(-pictures // row.batch) for pictures in row.counts]
        batch = BATCH_SIZE if row.kind == 'saliency' else row.batch
        self.batches = [
            (
                torch.randn(batch, 3, 256, 256).contiguous(memory_format=torch.channels_last),
                torch.randint(2, (batch,)),
            )
            for _ in range(4)  # more than a processor's cache holds
        ]
        self.saliency_batches = -(-row.counts[2] // BATCH_SIZE)

    def read_data(self) -> None:
        pass

    def inputs(self, nof_batches: int):
        return (self.batches[number % len(self.batches)] for number in range(nof_batches))

    def first_epoch(self) -> None:
        self.epoch()

    def epoch(self) -> None:
        self.step()
        self.evaluate(self.nof_batches[1])
        self.evaluation()

    def step(self) -> None:
        self.model.train()
        for inputs, labels in self.inputs(self.nof_batches[0]):
            self.trainer.optimizer.zero_grad()
            self.trainer.criterion(self.model(inputs), labels).backward()
            self.trainer.optimizer.step()

    def evaluation(self) -> None:
        self.evaluate(self.nof_batches[2])

    def evaluate(self, nof_batches: int) -> None:
        self.model.eval()
        with self.torch.no_grad():
            for inputs, _ in self.inputs(nof_batches):
                self.model(inputs)

    def saliency(self) -> None:
        self.model.eval().requires_grad_(False)
        for inputs, labels in self.inputs(self.saliency_batches):
            pixels = inputs.clone().requires_grad_()
            scores = self.model(pixels).gather(1, labels[:, None])
            self.torch.autograd.grad(scores.sum(), pixels)


class Product:
    """The machine's limit: a matrix product on all cores."""

    type = 'float32'

    def __init__(self, row: Row, root: Path):
        import torch

        self.torch = torch
        self.factors = torch.randn(2, row.product_size, row.product_size).to(getattr(torch, self.type))

    def run(self) -> None:
        self.torch.mm(*self.factors)


class ProductBf16(Product):
    type = 'bfloat16'


PROCESSES = {
    'textbook': {'textbook': Textbook, 'decode': Decode},
    'ours': {
        'ours': Ours, 'bf16': Bf16, 'compute': Compute, 'product': Product, 'product_bf16': ProductBf16,
    },
}  # fmt: skip


def serve(connection, root: Path) -> None:
    """Run one turn for every (row, side) received; answer its seconds, or the traceback."""
    with open(os.devnull, 'w') as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        tasks, current = {}, None
        while (message := connection.recv()) is not None:
            row, side = message
            if side == 'process':
                connection.send(describe_process())
                continue
            if row != current:
                tasks, current = {}, row
                gc.collect()
            try:
                connection.send(turn(tasks, row, side, root))
            except Exception:
                connection.send(traceback.format_exc())


def describe_process() -> dict:
    import torch

    from forensics.running import runtime

    return {'threads': torch.get_num_threads(), 'slow_in_bf16': runtime.slow_in_bf16(torch.device('cpu'))}


def turn(tasks: dict, row: Row, side: str, root: Path) -> float:
    first = side not in tasks
    if first:
        tasks[side] = {**PROCESSES['textbook'], **PROCESSES['ours']}[side](row, root / row.name)
    # A process that gave freed pages back has to fetch them anew, which is no part of a long training.
    if first or (row.heavy and side in PROCESSES['ours']):
        tasks[side].run()
    start = time.perf_counter()
    tasks[side].run()
    seconds = time.perf_counter() - start
    if row.heavy:
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL('libc.so.6').malloc_trim(0)
    return seconds


# --- measuring ------------------------------------------------------------


class Workers:
    """The two processes. Only one works at a time, the other sleeps."""

    def __init__(self, root: Path):
        context = multiprocessing.get_context('spawn')
        self.connections = {}
        for sides in PROCESSES.values():
            ours, theirs = context.Pipe()
            context.Process(target=serve, args=(theirs, root), daemon=True).start()
            theirs.close()
            self.connections |= dict.fromkeys(sides, ours)

    def describe(self) -> dict:
        self.connections['ours'].send((None, 'process'))
        return self.connections['ours'].recv()

    def turn(self, row: Row, side: str) -> float:
        try:
            self.connections[side].send((row, side))
            answer = self.connections[side].recv()
        except (EOFError, OSError):
            raise SystemExit(
                f'The process of "{side}" died in the row {row.name}; is there memory enough? '
                f'Leave the row out: --rows takes names.'
            ) from None
        if isinstance(answer, str):
            raise SystemExit(f'"{side}" failed in the row {row.name}:\n{answer}')
        return answer

    def close(self) -> None:
        for connection in set(self.connections.values()):
            connection.send(None)


def measure(row: Row, workers: Workers, repeats: int) -> dict:
    """The seconds of every turn of every side, and the speeds and ratios of their medians."""
    seconds = {side: [] for side in row.sides}
    for repeat in range(repeats):
        for side in row.sides if repeat % 2 == 0 else reversed(row.sides):
            seconds[side].append(workers.turn(row, side))
    median = {side: statistics.median(values) for side, values in seconds.items()}
    speed = {
        side: sum(row.counts if side == 'decode' else [row.images]) / median[side]
        for side in ('textbook', 'ours', 'compute', 'decode', 'bf16')
        if side in median
    }
    figures = [figure('ours / textbook', speed['ours'] / speed['textbook'], row.ratio)]
    figures.append(figure('ours / compute only', speed['ours'] / speed['compute'], row.share))
    if row.bf16:
        figures.append(figure('bf16 / our float32', speed['bf16'] / speed['ours'], row.bf16))
    if row.product:
        share = XCEPTION_STEP * speed['ours'] / product_speed(seconds['product'], row.product_size)
        figures.append(figure('share of the matrix product', share, row.product))
    return {**asdict(row), 'images': row.images, 'seconds': seconds, 'images_a_second': speed, 'figures': figures}


def figure(name: str, value: float, target: float | None) -> dict:
    return {'name': name, 'value': value, 'to_reach': target, 'reached': None if target is None else value >= target}


def product_speed(seconds: list[float], size: int) -> float:
    """GFLOP/s."""
    return 2 * size**3 / statistics.median(seconds) / 1e9


def make_pictures(folder: Path, counts: tuple[int, int, int]) -> None:
    """Pictures of 256 pixels, with files as large as a face's photograph; the fake ones are grainier."""
    rng = np.random.default_rng(0)
    for part, nof_pictures in zip(PARTS, counts, strict=True):
        for label in ('real', 'fake'):
            target = folder / part / label
            target.mkdir(parents=True)
            for number in range(nof_pictures // 2):
                coarse = Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).resize((256, 256), 3)
                grain = rng.normal(scale=12 if label == 'fake' else 6, size=(256, 256, 1))
                pixels = np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8)
                Image.fromarray(pixels).save(target / f'{number:04}.jpg', quality=90)


def run(command: list, **options) -> float:
    """Seconds that a process took."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, *map(str, command)], capture_output=True, text=True, **options)
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f'{shlex.join(map(str, command))} failed:\n{done.stdout}{done.stderr}')
    return seconds


def measure_startup(quick: bool, repeats: int) -> list[dict]:
    """Wall time of `SCRIPT --help`, beside what importing torch and torchvision takes."""
    scripts = sorted(path.stem for path in PROJECT.glob('*.py') if "__name__ == '__main__'" in path.read_text())
    if quick:
        scripts, repeats = [script for script in scripts if script in (*LIGHT, 'train_main')], 1
    imports, seconds = [], {script: [] for script in scripts}
    for _ in range(repeats):
        imports.append(run(['-c', 'import torch, torchvision'], cwd=PROJECT))
        for script in scripts:
            seconds[script].append(run([f'{script}.py', '--help'], cwd=PROJECT))
    torch = statistics.median(imports)
    results = [{'script': 'import torch, torchvision', 'seconds': torch, 'limit': None, 'reached': None}]
    for script in scripts:
        light, median = script in LIGHT, statistics.median(seconds[script])
        limit = LIGHT_SECONDS if light else HEAVY_RATIO * torch
        has_torch = imports_torch(script) if light else True
        results.append({
            'script': f'{script}.py', 'seconds': median, 'limit': limit, 'imports_torch': has_torch,
            'reached': median <= limit and not (light and has_torch),
        })  # fmt: skip
    return results


def imports_torch(script: str) -> bool:
    command = [sys.executable, '-X', 'importtime', f'{script}.py', '--help']
    lines = subprocess.run(command, capture_output=True, text=True, cwd=PROJECT).stderr.splitlines()
    return any(line.rpartition('|')[2].strip() == 'torch' for line in lines)


def measure_whole(root: Path, counts: dict[str, tuple]) -> dict:
    """run_me.sh's training and analysis, command by command, each beside the textbook's. One run of each."""
    environment = {**os.environ, 'FACES_DATASETS': str(root), 'HF_HUB_OFFLINE': '1'}
    textbook, ours = {}, {}
    with tempfile.TemporaryDirectory() as their_folder, tempfile.TemporaryDirectory() as our_folder:
        for words in whole_commands():
            line = ' '.join(words)
            ours[line] = run([PROJECT / words[0], *words[1:]], cwd=our_folder, env=environment)
            if words[0] in TEXTBOOK_COMMANDS:  # the textbook draws its curves where it trains
                command = [PROJECT / 'benchmarks' / 'textbook.py', root, *words]
                textbook[line] = run(command, cwd=their_folder)
    ratio = sum(textbook.values()) / sum(ours.values())
    return {
        'counts': counts, 'textbook': textbook, 'ours': ours,
        'figures': [figure('ours / textbook', ratio, WHOLE_RATIO)],
    }  # fmt: skip


def whole_commands() -> list[list[str]]:
    """run_me.sh's lines up to the bonus and the questions."""
    lines = (PROJECT / 'run_me.sh').read_text().splitlines()
    return [shlex.split(line)[1:] for line in lines if line.startswith('python ')][:15]


def machine() -> dict:
    """The machine's facts, and how busy it is before the start."""
    busy = psutil.cpu_percent(interval=1)
    load = os.getloadavg()[0] if hasattr(os, 'getloadavg') else None
    model = ''
    with contextlib.suppress(OSError):
        lines = Path('/proc/cpuinfo').read_text().splitlines()
        model = next((line.partition(':')[2].strip() for line in lines if line.startswith('model name')), '')
    cores = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count()
    return {
        'cpu': model or 'unknown', 'cores': cores, 'load': load, 'busy_percent': busy,
        'commit': records.commit(), 'versions': records.versions('torch', 'torchvision', 'numpy', 'pillow'),
    }  # fmt: skip


# --- showing ------------------------------------------------------------


def show_machine(facts: dict) -> None:
    versions = facts['versions']
    print(
        f'{facts["cpu"]}, {facts["cores"]} cores; torch {versions["torch"]}, Python {versions["python"]}; '
        f'load {facts["load"]}; commit {facts["commit"]}'
    )
    if facts['busy_percent'] > 10 or (facts['load'] or 0) > 0.3 * facts['cores']:
        print(
            f'! The machine was busy before the start (load {facts["load"]}, {facts["busy_percent"]:.0f}% of its cores '
            f'in use): these figures are no measurement.'
        )


def show_rows(rows: list[dict]) -> None:
    print(f'\n{"images a second":30}{"textbook":>9}{"ours":>8}{"compute":>9}   {"/ textbook":24}{"/ compute only"}')
    for row in rows:
        speed = row['images_a_second']
        ratio, share, *others = row['figures']
        print(
            f'{row["label"]:30}{speed["textbook"]:9.1f}{speed["ours"]:8.1f}{speed["compute"]:9.1f}   '
            f'{verdict(ratio):24}{verdict(share)}'
        )
        for other in others:
            value = f'{speed["bf16"]:8.1f}' if 'bf16' in other['name'] else ''
            print(f'{"":5}{other["name"]:34}{value:8}{"":12}{verdict(other)}')
    decode = [row['images_a_second']['decode'] for row in rows if 'decode' in row['images_a_second']]
    if decode:
        print(f'decode only (Pillow, one core): {statistics.median(decode):,.0f} images a second')
    for kind, name in (('product', 'float32'), ('product_bf16', 'bf16')):
        seconds = [value for row in rows for value in row['seconds'].get(kind, [])]
        if seconds:
            size = rows[0]['product_size']
            low, high = product_speed([max(seconds)], size), product_speed([min(seconds)], size)
            print(
                f'matrix product in {name}, all cores: {product_speed(seconds, size):.0f} GFLOP/s '
                f'(median of {len(seconds)}, {low:.0f} to {high:.0f})'
            )


def verdict(figure: dict) -> str:
    if figure['to_reach'] is None:
        return f'{figure["value"]:.2f}'
    return f'{figure["value"]:.2f} ({figure["to_reach"]:.2f}) {"reached" if figure["reached"] else "MISSED"}'


def show_startup(rows: list[dict]) -> None:
    print(f'\n{"--help of":40}{"seconds":>9}{"at most":>9}')
    for row in rows:
        limit = '' if row['limit'] is None else f'{row["limit"]:9.2f} {"reached" if row["reached"] else "MISSED"}'
        torch = ', imports torch' if row['reached'] is False and row['imports_torch'] else ''
        print(f'{row["script"]:40}{row["seconds"]:9.2f}{limit}{torch}')


def show_whole(whole: dict) -> None:
    counts = ', '.join(f'{"/".join(map(str, parts))} images in {name}' for name, parts in whole['counts'].items())
    print(
        f'\nrun_me.sh, training and analysis, {counts}: '
        f'textbook {sum(whole["textbook"].values()):.0f} s, ours {sum(whole["ours"].values()):.0f} s; '
        f'{verdict(whole["figures"][0])}'
    )


def draw(results: dict, path: Path) -> None:
    """Bars of the share of compute-only; images a second beside them."""
    rows, startup = results.get('rows', []), results.get('startup', [])
    bars = 0.5 * len(rows) + 1.2 if rows else 0
    lines = 0.2 * len(startup) + 0.9 if startup else 0
    with plots.style():
        drawing = plots.new_figure(height=0.5 + bars + lines)
        versions = results['machine']['versions']
        drawing.suptitle(
            f'{results["machine"]["cpu"]}, {results["machine"]["cores"]} cores, torch {versions["torch"]}',
            fontsize=plots.STYLE['axes.titlesize'],
        )
        panels = [height for height in (bars, lines) if height]
        axes = list(drawing.subplots(len(panels), 1, height_ratios=panels, squeeze=False)[:, 0])
        if rows:
            draw_rows(rows, axes.pop(0))
        if startup:
            draw_startup(startup, axes.pop(0))
        plots.save(drawing, path)


PAPER = {'facecolor': 'white', 'edgecolor': 'none', 'alpha': 0.8, 'pad': 0.5}  # behind text that crosses a line


def draw_rows(rows: list[dict], ax) -> None:
    styles = {'textbook': ('textbook loop', plots.GREY), 'ours': ('this project', plots.BLUE),
              'bf16': ('this project, bf16', plots.AMBER)}  # fmt: skip
    for number, row in enumerate(rows):
        speed = row['images_a_second']
        shown = [side for side in styles if side in speed]
        height = 0.8 / len(shown)
        for position, side in enumerate(shown):
            y = number - 0.4 + (position + 0.5) * height
            ax.barh(y, speed[side] / speed['compute'], height * 0.92, color=styles[side][1])
            text = f' {speed[side]:.3g}/s'
            if side != 'textbook':
                text += f', {speed[side] / speed["textbook"]:.2f} times'
            ax.text(speed[side] / speed['compute'], y, text, va='center', fontsize=6.5, bbox=PAPER)
        if row['share']:
            ax.plot([row['share']] * 2, [number - 0.45, number + 0.45], color=plots.VERMILION, linewidth=1.4)
    ax.axvline(1, color='black', linewidth=1, linestyle='--')
    ax.set_yticks(range(len(rows)), [row['label'] for row in rows])
    ax.invert_yaxis()
    ax.grid(False, axis='y')
    ax.set_axisbelow(True)
    ax.set_xlim(0, 1.35 * max(max(row['images_a_second'].get(side, 0) for side in styles)
                              / row['images_a_second']['compute'] for row in rows))  # fmt: skip
    ax.set_xlabel('speed as a share of compute only (dashed: random numbers in memory)')
    handles = [ax.barh(0, 0, color=colour, label=label) for side, (label, colour) in styles.items()
               if any(side in row['images_a_second'] for row in rows)]  # fmt: skip
    if any(row['share'] for row in rows):
        handles += ax.plot([], [], color=plots.VERMILION, linewidth=1.4, label='share to reach')
    ax.legend(handles=handles, loc='lower center', bbox_to_anchor=(0.5, 1), ncols=len(handles), frameon=False)


def draw_startup(rows: list[dict], ax) -> None:
    for number, row in enumerate(rows):
        ax.barh(number, row['seconds'], 0.7, color=plots.GREY if row['limit'] is None else plots.BLUE)
        if row['limit']:
            ax.plot([row['limit']] * 2, [number - 0.4, number + 0.4], color=plots.VERMILION, linewidth=1.4)
    ax.set_yticks(range(len(rows)), [row['script'] for row in rows])
    ax.invert_yaxis()
    ax.grid(False, axis='y')
    ax.set_axisbelow(True)
    ax.set_xlabel('seconds until --help is printed; the line is the limit')


# --- the command ------------------------------------------------------------


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    names = [*(row.name for row in ROWS), STARTUP, WHOLE]
    parser.add_argument(
        '--rows',
        nargs='+',
        choices=names,
        metavar='NAME',
        help=f'only these: {", ".join(names)} (default: all but {WHOLE}, which takes an hour on slow cores)',
    )
    parser.add_argument('--quick', action='store_true', help='small networks, few pictures and two turns')
    parser.add_argument('--repeats', type=int, metavar='N', help='turns of each side (default: 5; quick: 2)')
    parser.add_argument('--json', type=Path, metavar='FILE', help='write everything measured')
    parser.add_argument('--figure', type=Path, metavar='FILE', help='draw bars')
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    args = parse_args(argv)
    for name in [name for name in os.environ if name.startswith(('MALLOC_', 'GLIBC_TUNABLES'))]:
        del os.environ[name]  # the textbook's allocator is the default one
    repeats = args.repeats or (2 if args.quick else 5)
    chosen = args.rows or [*(QUICK if args.quick else [row.name for row in ROWS]), STARTUP]
    rows = [row for row in ROWS if row.name in chosen]
    if args.quick:
        rows = [replace(row, **QUICK_SIZES) for row in rows]
    results: dict = {'machine': machine(), 'quick': args.quick, 'repeats': repeats}
    show_machine(results['machine'])
    with tempfile.TemporaryDirectory() as scratch:
        root = Path(scratch)
        if rows:
            for row in rows:
                make_pictures(root / row.name, row.counts)
            workers = Workers(root)
            results['machine'] |= workers.describe()
            print(f'{results["machine"]["threads"]} threads in PyTorch')
            if results['machine']['slow_in_bf16']:
                print('bf16 is left out: this processor does it in software.')
                rows = [replace(row, bf16=None) for row in rows]
            results['rows'] = []
            for row in rows:
                print(f'{row.label} ...', file=sys.stderr, flush=True)
                results['rows'].append(measure(row, workers, repeats))
            workers.close()
            show_rows(results['rows'])
        if STARTUP in chosen:
            results['startup'] = measure_startup(args.quick, repeats)
            show_startup(results['startup'])
        if WHOLE in chosen:
            # As many pictures as the demo data have: with few, importing torch takes most of the time.
            counts = {
                name: QUICK_SIZES['counts'] if args.quick else tuple(numbers[part] for part in PARTS)
                for name, numbers in NUMBERS.items()
            }
            for dataset, parts in counts.items():
                make_pictures(root / dataset, parts)
            results['whole'] = measure_whole(root, counts)
            show_whole(results['whole'])
    if args.json:
        records.write_json(args.json, results)
        print(f'Wrote {args.json}')
    if args.figure:
        draw(results, args.figure)
    return 0


if __name__ == '__main__':
    sys.exit(main())
