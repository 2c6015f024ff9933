"""Train any model that gives scores on any data set, and log loss and accuracy of every epoch:

Trainer(model, optimizer, criterion, batch_size, train_dataset, validation_dataset, test_dataset).run(epochs, logging)
"""

import math
import time
import uuid
from collections.abc import Callable
from dataclasses import astuple, dataclass
from pathlib import Path

import torch
from torch import nn
from torch.optim.lr_scheduler import LRScheduler, OneCycleLR
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import Dataset

from common import CHECKPOINT_DIR, OUTPUT_DIR
from forensics import records
from forensics.errors import UserError
from forensics.running import distributed, memory, runtime
from forensics.running.batches import Batches, evaluated
from forensics.running.progress import Progress

OPTIMIZERS = ('SGD', 'Adam', 'AdamW', 'NAdam')
SCHEDULES = ('constant', 'one-cycle')
METRICS = ('train_loss', 'train_acc', 'val_loss', 'val_acc', 'test_loss', 'test_acc')

SAME_SCORES = 1e-4  # differences of the two scores (or logits) no further apart count as the same
BLIND = (
    f'All test images got the same answer (scores within {SAME_SCORES:g}): the network does not look at them. '
    'Where the ReLUs of a layer give zero for good, more epochs do not help; another --seed or --lr may.'
)


@dataclass
class LoggingParameters:
    """A run's names and settings, for its log and for the names of its files."""

    model_name: str
    dataset_name: str
    optimizer_name: str
    optimizer_params: dict

    @property
    def run_name(self) -> str:
        return records.run_name(self.dataset_name, self.model_name, self.optimizer_name)


class LossNotFinite(UserError):
    """Training has diverged."""


def make_optimizer(
    name: str, model: nn.Module, lr: float, momentum: float = 0.9, weight_decay: float | None = None
) -> torch.optim.Optimizer:
    """One of OPTIMIZERS for the parameters that are not frozen; the momentum is SGD's, and without a weight decay the
    optimizer has its own (AdamW 0.01, the others none)."""
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    options = {'momentum': momentum} if name == 'SGD' else {}
    if weight_decay is not None:
        options['weight_decay'] = weight_decay
    if name != 'NAdam':  # it has no fused version
        # One pass over the weights instead of a dozen, which take 12% of a step.
        options['fused'] = True
    return getattr(torch.optim, name)(parameters, lr=lr, **options)


def make_schedule(name: str, optimizer: torch.optim.Optimizer, steps: int) -> LRScheduler | None:
    """How the learning rate changes over all steps of a run: one-cycle rises to --lr and falls to next to nothing."""
    if name == 'one-cycle':
        return OneCycleLR(optimizer, [group['lr'] for group in optimizer.param_groups], total_steps=steps)
    return None


def running_average(share: float) -> Callable[[list, list, torch.Tensor], None]:
    """For AveragedModel: `share` of the average stays in a step; less in the first ones, or it would keep to the first
    weights for as long as a short run lasts."""

    def update(averaged: list[torch.Tensor], trained: list[torch.Tensor], steps: torch.Tensor) -> None:
        stays = min(share, (1 + int(steps)) / (10 + int(steps)))
        get_ema_multi_avg_fn(stays)(averaged, trained, steps)

    return update


class Trainer:
    """The epoch loop, for any model and any data set.

    Without an optimizer it evaluates only. The seed is the one last given to `torch.manual_seed`. Several processes
    share the work, and the figures are those of a single one (see forensics/running/distributed.py).

    `schedule` is one of SCHEDULES. With `average`, the weights that are evaluated and saved are a running average of
    those that are trained: after every step, this share of the average stays, less at first. `teacher` gives P(fake) of
    a batch's inputs: then `teacher_share` of the loss in training is the cross-entropy to that, not to the labels.
    """

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer | None,
        criterion: nn.Module,
        batch_size: int,
        train_dataset: Dataset | None,
        validation_dataset: Dataset | None,
        test_dataset: Dataset | None,
        *,
        workers: int = 0,
        precision: str = 'float32',
        schedule: str = 'constant',
        average: float | None = None,
        teacher: Callable[[torch.Tensor], torch.Tensor] | None = None,
        teacher_share: float = 0.5,
    ):
        memory.tune_allocator()
        self.model = model.to(memory_format=torch.channels_last)  # the layout in which convolutions are fastest
        self.optimizer = optimizer
        self.criterion = criterion
        self.batch_size = batch_size
        self.train_dataset = train_dataset
        self.validation_dataset = validation_dataset
        self.test_dataset = test_dataset
        self.workers = workers
        self.precision = precision
        self.schedule = schedule
        self.teacher = teacher
        self.teacher_share = teacher_share
        self.scheduler: LRScheduler | None = None  # `run` makes it, because it knows the number of steps
        self.averaged: AveragedModel | None = None
        if average is not None:
            self.averaged = AveragedModel(self.model, multi_avg_fn=running_average(average), use_buffers=True)
        self.seed = distributed.from_first(torch.initial_seed)
        self.epoch = 0  # finished epochs
        self.blind = False  # True if the last evaluation gave all samples the same answer

    @property
    def judged(self) -> nn.Module:
        """The model that is evaluated and saved as the best."""
        return self.averaged.module if self.averaged else self.model

    # --- one pass ------------------------------------------------------------

    def train_one_epoch(self) -> tuple[float, float]:
        """Train on every sample once; return (mean loss over the samples, accuracy in percent)."""
        self.model.train()
        model = distributed.data_parallel(self.model)
        runtime.seed_dropout(self.seed, self.epoch)
        batches = self._batches(self.train_dataset, shuffle=True)
        totals = Totals()
        progress = Progress(batches, len(batches), f'epoch {self.epoch + 1} train')
        for number, (inputs, labels, indices) in enumerate(progress, start=1):
            self.optimizer.zero_grad()
            with distributed.whole_batch_statistics(bool(indices)):
                outputs = runtime.forward(model, inputs, self.precision)
            loss = self._loss(outputs, labels)
            if self.teacher:
                loss = (1 - self.teacher_share) * loss + self.teacher_share * self._loss_to_teacher(outputs, inputs)
            self._stop_if_not_finite(loss, f'epoch {self.epoch + 1}', number, self.train_dataset, indices)
            distributed.weighted(loss, self.criterion, len(indices), batches.sizes[number - 1]).backward()
            self.optimizer.step()
            if self.scheduler:
                self.scheduler.step()
            if self.averaged:
                self.averaged.update_parameters(self.model)
            if indices:  # else a sample stands in for an empty slice
                totals.add(loss, outputs, labels, self.criterion)
            progress.show(loss=totals.loss, accuracy=totals.accuracy)
        self.epoch += 1
        totals = totals.of_all_processes()
        return totals.loss, totals.accuracy

    def evaluate_model_on_dataloader(self, dataset: Dataset) -> tuple[float, float]:
        """(mean loss over the samples, accuracy in percent), with the model in evaluation mode."""
        batches = self._batches(dataset)
        totals = Totals()
        progress = Progress(batches, len(batches), 'evaluate')
        for outputs, labels, indices in evaluated(self.judged, progress, self.precision):
            loss = self._loss(outputs, labels)
            number = 1 + indices[0] // self.batch_size
            self._stop_if_not_finite(loss, f'the evaluation after epoch {self.epoch}', number, dataset, indices)
            totals.add(loss, outputs, labels, self.criterion)
            totals.widen(outputs)
            progress.show(loss=totals.loss, accuracy=totals.accuracy)
        totals = totals.of_all_processes()
        self.blind = totals.blind
        return totals.loss, totals.accuracy

    def validate(self) -> tuple[float, float]:
        return self.evaluate_model_on_dataloader(self.validation_dataset)

    def test(self) -> tuple[float, float]:
        return self.evaluate_model_on_dataloader(self.test_dataset)

    def _batches(self, dataset: Dataset, shuffle: bool = False) -> Batches:
        # Order and augmentations follow from seed and epoch alone, so a resumed run meets the same ones.
        seed = self.seed + 1_000_003 * self.epoch if shuffle else self.seed
        return Batches(
            dataset,
            self.batch_size,
            runtime.model_device(self.model),
            shuffle=shuffle,
            seed=seed,
            workers=self.workers,
            whole=not shuffle,  # batches to train on are cut into slices
        )

    def _loss(self, outputs: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
        if outputs.dim() == 2 and outputs.shape[1] == 1 and labels.dim() == 1:  # one logit: the score of "fake"
            outputs, labels = outputs[:, 0], labels.to(outputs.dtype)
        return self.criterion(outputs, labels)

    def _loss_to_teacher(self, outputs: torch.Tensor, inputs: torch.Tensor) -> torch.Tensor:
        """The cross-entropy to the teacher's probabilities. It has the gradient of the Kullback-Leibler divergence."""
        return nn.functional.binary_cross_entropy_with_logits(
            score_differences(outputs),
            self.teacher(inputs).to(outputs),
            reduction=getattr(self.criterion, 'reduction', 'mean'),
        )

    def _stop_if_not_finite(
        self, loss: torch.Tensor, when: str, batch: int, dataset: Dataset, indices: list[int]
    ) -> None:
        if math.isfinite(loss.item()):
            return
        name = getattr(dataset, 'image_path', lambda index: f'sample {index}')
        raise LossNotFinite(
            f'The loss is {loss.item()} in {when}, batch {batch}. A smaller --lr may help. '
            f'The batch: {", ".join(name(index) for index in indices)}'
        )

    # --- all epochs ------------------------------------------------------------

    def run(
        self,
        epochs: int,
        logging_parameters: LoggingParameters,
        *,
        facts: dict | None = None,
        resume: bool = False,
    ) -> None:
        """Train, evaluate after every epoch, keep the checkpoint that is best on validation, and log the run.

        `facts` are added to the record of the run. With `resume` an unfinished run of the same name goes
        on after its last whole epoch, bit for bit as if it had never stopped.
        """
        log = new_log(logging_parameters, facts or {})
        best_accuracy = -1.0
        self.epoch = 0  # a trainer that was used before begins a new run
        steps = epochs * -(-len(self.train_dataset) // self.batch_size)
        self.scheduler = make_schedule(self.schedule, self.optimizer, steps)
        last_path = records.last_checkpoint_path(CHECKPOINT_DIR, logging_parameters.run_name)
        if resume and distributed.from_first(last_path.exists):
            log, best_accuracy, finished = self._restore(last_path, log)
            if finished:
                print(f'This run was finished after {self.epoch} epochs; {last_path} has nothing to go on with.')
                return
        elif resume:
            print(f'No unfinished run ({last_path}): starting from the beginning.')
        else:
            last_path.unlink(missing_ok=True)  # or this run, killed in its first epoch, would resume an older one
        check_output(last_path, records.log_path(OUTPUT_DIR, logging_parameters.run_name))
        saved = self.epoch
        try:
            while self.epoch < epochs:
                start = time.monotonic()
                results = (*self.train_one_epoch(), *self.validate(), *self.test())
                for metric, value in zip(METRICS, results, strict=True):
                    log[metric].append(value)
                log.setdefault('seconds', []).append(time.monotonic() - start)
                print(self._summary(epochs, log), flush=True)
                if self.blind:
                    print(BLIND, flush=True)
                if log['val_acc'][-1] > best_accuracy:
                    best_accuracy = log['val_acc'][-1]
                    self._save_best(logging_parameters, log)
                self._save_last(last_path, log, best_accuracy, finished=False)
                saved = self.epoch
        except KeyboardInterrupt:
            distributed.say_why_all_stop(
                f'\nInterrupted. {saved} of {epochs} epochs are saved; the same line with --resume goes on after them.'
            )
            raise
        self.write_output(logging_parameters, log)
        self._save_last(last_path, log, best_accuracy, finished=True)

    @staticmethod
    @distributed.on_first
    def write_output(logging_parameters: LoggingParameters, data: dict) -> None:
        """Append the run to the list in out/{dataset}_{model}_{optimizer}.json."""
        records.append_run(records.log_path(OUTPUT_DIR, logging_parameters.run_name), data)

    def _summary(self, epochs: int, log: dict) -> str:
        values = {metric: log[metric][-1] for metric in METRICS}
        parts = [
            f'{part} loss {values[f"{part}_loss"]:.4f}, accuracy {values[f"{part}_acc"]:.2f}'
            for part in ('train', 'val', 'test')
        ]
        return f'Epoch {self.epoch}/{epochs}: {"; ".join(parts)}  ({log["seconds"][-1]:.1f} s)'

    # --- checkpoints ------------------------------------------------------------

    @distributed.on_first
    def _save_best(self, logging_parameters: LoggingParameters, log: dict) -> None:
        checkpoint = {
            'model': {name: tensor.cpu().contiguous() for name, tensor in self.judged.state_dict().items()},
            'val_acc': log['val_acc'][-1],
            'test_acc': log['test_acc'][-1],
            'epoch': self.epoch,
            'run': log.get('run', {}),
        }
        records.save_checkpoint(records.checkpoint_path(CHECKPOINT_DIR, logging_parameters.run_name), checkpoint)

    @distributed.on_first
    def _save_last(self, path, log: dict, best_accuracy: float, finished: bool) -> None:
        records.save_checkpoint(
            path,
            {
                'model': self.model.state_dict(),
                'optimizer': self.optimizer.state_dict(),
                'scheduler': self.scheduler.state_dict() if self.scheduler else None,
                'averaged': self.averaged.state_dict() if self.averaged else None,
                'epoch': self.epoch,
                'seed': self.seed,
                'rng': runtime.rng_state(),
                'best_val_acc': best_accuracy,
                'log': log,
                'finished': finished,
            },
        )

    def _restore(self, path, log: dict) -> tuple[dict, float, bool]:
        state = distributed.from_first(lambda: records.load_checkpoint(path))
        before, now = state['log'], log
        for what, old, new in (
            ('arguments', before['run'].get('arguments'), now['run'].get('arguments')),
            ('data', before['run'].get('data'), now['run'].get('data')),
            ('teacher', before['run'].get('teacher'), now['run'].get('teacher')),
            ('optimizer', before['optimizer']['params'], now['optimizer']['params']),
        ):
            old, new = old or {}, new or {}
            changed = sorted(key for key in {**old, **new} if old.get(key) != new.get(key))
            if changed:
                raise UserError(
                    f'{path}: the {what} changed since ({", ".join(changed)}). A run that goes on must see what it saw '
                    f'before; give the same line, or leave --resume out to start anew.'
                )
        try:
            self.model.load_state_dict(state['model'])
        except RuntimeError as error:
            raise UserError(f'{path} does not fit this model; leave --resume out to start anew.') from error
        self.optimizer.load_state_dict(state['optimizer'])
        if self.scheduler:
            self.scheduler.load_state_dict(state['scheduler'])
        if self.averaged:
            self.averaged.load_state_dict(state['averaged'])
        self.epoch, self.seed = state['epoch'], state['seed']
        runtime.set_rng_state(state['rng'])
        if 'processes' in log['run']:
            state['log']['run']['processes'] = log['run']['processes']  # a run may go on with another number
        return state['log'], state['best_val_acc'], state['finished']


@distributed.on_first
def check_output(last_path: Path, log_path: Path) -> None:
    """Raise now, not after hours of training, if a folder takes no files or the log is damaged."""
    for path in (last_path, log_path):
        records.check_writable(path)
    if log_path.exists():
        records.read_runs(log_path)


@dataclass
class Totals:
    """Loss, accuracy and range of the scores over samples, not batches: a short last batch weighs less."""

    samples: int = 0
    loss_sum: float = 0.0
    correct: int = 0
    lowest: float = math.inf
    highest: float = -math.inf

    def add(self, loss: torch.Tensor, outputs: torch.Tensor, labels: torch.Tensor, criterion: nn.Module) -> None:
        batch = len(labels)
        self.samples += batch
        self.loss_sum += loss.item() * (1 if getattr(criterion, 'reduction', 'mean') == 'sum' else batch)
        self.correct += int((predicted_classes(outputs) == true_classes(labels)).sum())

    def widen(self, outputs: torch.Tensor) -> None:
        """Note the range of the scores, which training does not ask for and would have to wait for."""
        lowest, highest = score_differences(outputs).aminmax()
        self.lowest, self.highest = min(self.lowest, lowest.item()), max(self.highest, highest.item())

    def of_all_processes(self) -> 'Totals':
        samples, loss_sums, correct, lowest, highest = zip(*distributed.joined([astuple(self)]), strict=True)
        return Totals(sum(samples), sum(loss_sums), sum(correct), min(lowest), max(highest))

    @property
    def loss(self) -> float:
        return self.loss_sum / max(self.samples, 1)  # one process alone may have no samples

    @property
    def accuracy(self) -> float:
        return 100 * self.correct / max(self.samples, 1)

    @property
    def blind(self) -> bool:
        """True if all samples got the same answer; a single sample proves nothing."""
        return self.samples > 1 and self.highest - self.lowest <= SAME_SCORES


def score_differences(outputs: torch.Tensor) -> torch.Tensor:
    """The last score minus the first, or the single logit: its sign decides."""
    rows = outputs.reshape(len(outputs), -1)
    return rows[:, -1] - rows[:, 0] if rows.shape[1] > 1 else rows[:, 0]


def predicted_classes(outputs: torch.Tensor) -> torch.Tensor:
    """The class of the largest score; a single logit above 0 means class 1."""
    if outputs.dim() == 1 or outputs.shape[1] == 1:
        return (outputs.reshape(-1) > 0).long()
    return outputs.argmax(dim=1)


def true_classes(labels: torch.Tensor) -> torch.Tensor:
    """Class numbers; one-hot rows are taken too, because some criteria want them."""
    return labels.argmax(dim=1) if labels.dim() == 2 and labels.shape[1] > 1 else labels.reshape(-1).long()


def new_log(logging_parameters: LoggingParameters, facts: dict) -> dict:
    return {
        'model': logging_parameters.model_name,
        'dataset': logging_parameters.dataset_name,
        'optimizer': {
            'name': logging_parameters.optimizer_name,
            'params': logging_parameters.optimizer_params,
        },
        **{metric: [] for metric in METRICS},
        'run': {'id': uuid.uuid4().hex, **records.plain(facts)},
    }
