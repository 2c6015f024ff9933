"""Search a network's learning rate, optimizer, augmentation and own options, chosen on the validation part:

python hyperparameter_search.py -d fakes_dataset -m CustomCNN --trials 20 --epochs 5

The same line goes on with a search that was interrupted, up to the number of trials; machines that share a --storage
search together. The test part is never looked at: the line printed at the end trains the best network and reports it.
"""

import argparse
import contextlib
import json
import shlex
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import optuna
import sqlalchemy.exc
from optuna.trial import FrozenTrial, TrialState

import detectors
import options
from common import FIGURES_DIR, OUTPUT_DIR
from forensics import records
from forensics.data import datasets
from forensics.data.checks import check_backbone, check_memory
from forensics.data.parts import Part
from forensics.errors import UserError
from forensics.judging import plots, scoring
from forensics.running import runtime, starting
from models import build_with_origin, get_spec
from trainer import OPTIMIZERS, LossNotFinite, Trainer, make_optimizer

# The search space: TRAINING for every network, OPTIONS for the networks that have them.
TRAINING = {
    'optimizer': lambda trial: trial.suggest_categorical('optimizer', OPTIMIZERS),
    'lr': lambda trial: trial.suggest_float('lr', 1e-5, 1e-1, log=True),
    'augmentation': lambda trial: trial.suggest_categorical('augmentation', (True, False)),
}
OPTIONS = {
    'dense': lambda trial: trial.suggest_categorical('dense', (64, 128, 256, 512)),
    'dropout': lambda trial: trial.suggest_float('dropout', 0.0, 0.6, step=0.1),
    'frozen': lambda trial: trial.suggest_categorical('frozen', (True, False)),
}
VALID = {
    'optimizer': lambda value: value in OPTIMIZERS,
    'lr': lambda value: isinstance(value, (int, float)) and value > 0,
    'augmentation': lambda value: isinstance(value, bool),
}
FINISHED = (TrialState.COMPLETE, TrialState.PRUNED)
# A running trial gives a sign of life every HEARTBEAT seconds, and is repeated after GRACE seconds without one.
HEARTBEAT, GRACE = 5, 20
COLUMNS = (
    'optimizer', 'rate', 'loss', 'accuracy', 'model', 'augmentation', *OPTIONS, 'epoch', 'epochs', 'outcome', 'trial',
    'backbone_weights', 'data_source',
)  # fmt: skip
MARKS = {
    'SGD': ('o', plots.BLUE), 'Adam': ('s', plots.AMBER), 'AdamW': ('^', plots.WINE), 'NAdam': ('D', plots.GREEN),
}  # fmt: skip


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    parser = options.parser(__doc__)
    options.add_dataset(parser)
    options.add_model(parser)
    parser.set_defaults(model='CustomCNN')
    parser.add_argument(
        '--trials', type=options.positive, default=20, help='finished ones in all (default: %(default)s)'
    )
    parser.add_argument('-e', '--epochs', type=options.positive, default=5, help='of a trial (default: %(default)s)')
    parser.add_argument('-b', '--batch_size', type=options.positive, default=32, help='(default: %(default)s)')
    parser.add_argument(
        '--fix',
        metavar='NAME=VALUE',
        type=options.setting,
        action='append',
        default=[],
        help=f'do not search this one ({", ".join(TRAINING)}, {", ".join(OPTIONS)}); may be repeated: frozen=true',
    )
    options.add_backbone_weights(parser)
    parser.add_argument(
        '--storage',
        metavar='URL',
        help=f"the trials' database: mysql://..., postgresql://... (default: sqlite:///{OUTPUT_DIR}/searches.db)",
    )
    options.add_process_wide(parser)
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> None:
    args = parse_args(argv)
    options.apply(args)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    experiment = Experiment(args)
    storage = open_storage(args.storage)
    study = open_study(storage, args, experiment.setup())
    table = Path(OUTPUT_DIR) / f'{args.dataset}_search.md'

    def write_tables() -> None:  # after every trial, to be read while the search goes on
        rows = all_rows(storage, args.dataset)
        write_markdown(table, rows, args.dataset, experiment.constant)
        records.write_csv(table.with_suffix('.csv'), COLUMNS, rows)

    search(study, experiment, args.trials, after_trial=write_tables)
    write_tables()  # with what other machines have finished
    print(f'Wrote {table} and {table.with_suffix(".csv")}')
    draw(study, args, experiment.constant)
    report_best(study, experiment)


# --- one trial -----------------------------------------------------------------------------------------------


class Experiment:
    """Train a network with the settings that Optuna suggests; its value is the best accuracy on validation."""

    def __init__(self, args: argparse.Namespace):
        self.args, self.spec, self.fixed = args, get_spec(args.model), dict(args.fix)
        own = {name: suggest for name, suggest in OPTIONS.items() if name in self.spec.options}
        self.space = TRAINING | own
        for name, value in self.fixed.items():
            if name not in self.space:
                raise UserError(f'--fix {name}: {args.model} is searched for {", ".join(self.space)}.')
            if name in VALID and not VALID[name](value):
                kinds = {'optimizer': ', '.join(OPTIMIZERS), 'lr': 'a positive number', 'augmentation': 'true or false'}
                raise UserError(f'--fix {name}={value}: it can be {kinds[name]}.')
        self.trial = None  # the number of the running trial

        parts, _ = detectors.open_parts(args.dataset, ('train', 'val'), self.spec.preprocessing)
        self.train, self.validation = parts.values()
        self.transforms = {True: self.train.transform, False: self.validation.transform}
        labels = [self.validation.label(index) for index in range(len(self.validation))]
        self.constant = scoring.commonest_decision(labels)[0], scoring.constant_accuracy(labels)

        # The network that takes most memory. Its backbone's first weights, decided here, hold for every trial.
        own = {name: self.fixed[name] for name in own if name in self.fixed}
        if 'frozen' in self.space:
            own.setdefault('frozen', False)
        model, self.weights = build_with_origin(args.model, args.backbone_weights, **own)
        check_memory(model.to(runtime.device()), self.train[0][0], args.batch_size)

    def setup(self) -> dict:
        """The facts that all trials of a search must share, or they could not be compared."""
        return records.plain(
            {
                'dataset': self.args.dataset,
                'model': self.args.model,
                'epochs': self.args.epochs,
                'batch_size': self.args.batch_size,
                'seed': self.args.seed,
                'fix': self.fixed,
                'backbone_weights': self.weights,
                'train': Part.of(self.args.dataset, 'train', self.train).fingerprint,
                'val': Part.of(self.args.dataset, 'val', self.validation).fingerprint,
            }
        )

    def weights_argument(self) -> str | None:
        """The value of --backbone-weights or, where none was given, the one that fits the first network's weights."""
        return self.args.backbone_weights or {'random': 'none', None: None}.get(self.weights, 'imagenet')

    def __call__(self, trial: optuna.Trial) -> float:
        self.trial = trial.number
        settings = {name: suggest(trial) for name, suggest in self.space.items() if name not in self.fixed}
        settings |= self.fixed
        for name, value in {'settings': settings, 'best': None, 'diverged': False}.items():
            trial.set_user_attr(name, value)
        described = ', '.join(f'{name} {as_text(value)}' for name, value in settings.items())
        print(f'\nTrial {trial.number}: {described}', flush=True)
        trainer = self.trainer(settings)
        best = None
        for epoch in range(1, self.args.epochs + 1):
            try:
                train_loss, _ = trainer.train_one_epoch()
            except LossNotFinite as error:
                print(error)
                trial.set_user_attr('diverged', True)
                raise optuna.TrialPruned from error
            loss, accuracy = trainer.validate()
            summary = f'train loss {train_loss:.4f}; val loss {loss:.4f}, accuracy {accuracy:.2f}'
            print(f'Epoch {epoch}/{self.args.epochs}: {summary}', flush=True)
            if best is None or accuracy > best['accuracy']:  # the epoch whose checkpoint train_main.py would keep
                best = records.plain({'epoch': epoch, 'loss': loss, 'accuracy': accuracy})
                trial.set_user_attr('best', best)
            trial.report(accuracy, epoch)
            if epoch < self.args.epochs and trial.should_prune():
                print('Given up: worse than half of the trials were at this epoch.')
                raise optuna.TrialPruned
        return best['accuracy']

    def trainer(self, settings: dict) -> Trainer:
        """The trainer of train_main.py for these settings, so the line printed at the end gives these numbers."""
        runtime.seed_everything(self.args.seed)
        self.train.transform = self.transforms[settings['augmentation']]
        own = {name: value for name, value in settings.items() if name not in TRAINING}
        model, origin = build_with_origin(self.args.model, self.weights_argument(), **own)
        check_backbone(model.to(runtime.device()), origin)
        optimizer = make_optimizer(settings['optimizer'], model, settings['lr'])
        return Trainer(model, optimizer, self.spec.criterion(), self.args.batch_size, self.train, self.validation, None)

    def training_line(self, row: dict) -> str:
        """The command that trains a trial's network again, and gives the trial's numbers."""
        args = self.args
        words = ['python', 'train_main.py', '-d', args.dataset, '-m', args.model, '-o', row['optimizer']]
        words += ['--lr', row['rate'], '-b', args.batch_size, '-e', args.epochs, '--seed', args.seed]
        for name in self.spec.options:
            if row.get(name) is not None:
                words += ['--option', f'{name}={json.dumps(row[name])}']
        if not row['augmentation']:
            words.append('--no-augmentation')
        for option, value in (('backbone-weights', self.weights_argument()), ('data-root', args.data_root)):
            if value:
                words += [f'--{option}', value]
        return shlex.join(map(str, words))


# --- the search ----------------------------------------------------------------------------------------------


def open_storage(url: str | None) -> optuna.storages.RDBStorage:
    if url is None:
        Path(OUTPUT_DIR).mkdir(parents=True, exist_ok=True)
        url = f'sqlite:///{OUTPUT_DIR}/searches.db'

    def connect() -> optuna.storages.RDBStorage:
        with quiet():
            return optuna.storages.RDBStorage(
                url,
                # Several processes may write at the same moment: wait for each other.
                engine_kwargs={'connect_args': {'timeout': 60}} if url.startswith('sqlite') else None,
                heartbeat_interval=HEARTBEAT,
                grace_period=GRACE,
                heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
            )

    try:
        try:
            return connect()
        except sqlalchemy.exc.DBAPIError:  # such as when two searches make the tables of a new database at once
            time.sleep(2)
            return connect()
    except Exception as error:  # each database's driver raises its own kinds
        # The URL may hold a password, so it is not repeated.
        raise UserError(f'The --storage cannot be opened ({str(error).splitlines()[0]}).') from error


def open_study(storage: optuna.storages.RDBStorage, args: argparse.Namespace, setup: dict) -> optuna.Study:
    """The search of this model on this data set; an earlier one goes on if its setup is the same."""
    study = optuna.create_study(
        storage=storage,
        study_name=f'{args.dataset}_{args.model}',
        direction='maximize',
        load_if_exists=True,
        pruner=optuna.pruners.MedianPruner(n_warmup_steps=2),  # a first epoch says little
    )
    before = study.user_attrs.get('setup', setup)
    changed = [name for name in setup if before.get(name) != setup[name]]
    if changed:
        raise UserError(
            f'The search of {args.model} on {args.dataset} was begun with another {", ".join(changed)}, so its trials '
            f'and new ones cannot be compared. Give the same line, or begin anew with another --storage, such as '
            f'sqlite:///{OUTPUT_DIR}/another.db.'
        )
    study.set_user_attr('setup', setup)
    study.set_user_attr('data_source', datasets.read_card(datasets.find_dataset(args.dataset)).get('source'))
    return study


def search(study: optuna.Study, experiment: Experiment, trials: int, after_trial: Callable[[], None]) -> None:
    """Run until `trials` are finished. One that was killed, here or on another machine, is repeated."""
    print(f'{count_trials(study, *FINISHED)} of {trials} trials are finished.')
    waiting = False
    with quiet():
        while count_trials(study, *FINISHED) < trials:
            begun = count_trials(study, *FINISHED, TrialState.RUNNING)
            if begun >= trials:
                if not waiting:
                    print('Waiting for trials that run elsewhere; one that was killed is repeated.', flush=True)
                waiting = True
                time.sleep(1)
                optuna.storages.fail_stale_trials(study)
                continue
            # A new seed for each trial: with one seed, a resumed search would suggest the first trials again.
            seed = int(np.random.SeedSequence((experiment.args.seed, begun)).generate_state(1)[0])
            study.sampler = optuna.samplers.TPESampler(seed=seed)
            try:
                study.optimize(experiment, n_trials=1)
            except KeyboardInterrupt:
                if experiment.trial is not None:
                    optuna.storages.RetryHeartbeatStaleTrialCallback()(study, study.trials[experiment.trial])
                print(f'\nInterrupted. {count_trials(study, *FINISHED)} of {trials} trials are finished; the same line '
                      f'repeats this one and goes on.', flush=True)  # fmt: skip
                raise
            experiment.trial = None
            print(f'{count_trials(study, *FINISHED)} of {trials} trials are finished.')
            after_trial()


def count_trials(study: optuna.Study, *states: TrialState) -> int:
    return len(study.get_trials(deepcopy=False, states=states))


@contextlib.contextmanager
def quiet():
    """Silence Optuna's warnings that heartbeats, which it has had for years, may still change."""
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', optuna.exceptions.ExperimentalWarning)
        yield


# --- what it found -------------------------------------------------------------------------------------------


def rows_of(study: optuna.Study) -> list[dict]:
    """The finished trials, the best first: by accuracy and, where that is equal, by loss."""
    setup = study.user_attrs['setup']

    def row(trial: FrozenTrial) -> dict:
        settings = trial.user_attrs['settings']
        best = trial.user_attrs.get('best') or {'loss': None, 'accuracy': None, 'epoch': None}
        outcome = 'complete' if trial.state == TrialState.COMPLETE else 'given up'
        values = {
            **settings,
            **best,
            'rate': settings['lr'],
            'model': setup['model'],
            'backbone_weights': setup['backbone_weights'],
            'data_source': study.user_attrs.get('data_source'),
            'epochs': setup['epochs'],
            'outcome': 'diverged' if trial.user_attrs['diverged'] else outcome,
            'trial': trial.number,
        }
        return {column: values.get(column) for column in COLUMNS}

    return sorted(map(row, study.get_trials(deepcopy=False, states=FINISHED)), key=rank)


def rank(row: dict) -> tuple:
    if row['accuracy'] is None:
        return True, True, 0, 0
    return False, row['outcome'] != 'complete', -row['accuracy'], np.inf if row['loss'] is None else row['loss']


def all_rows(storage: optuna.storages.RDBStorage, dataset: str) -> list[dict]:
    """The trials of every model on this data set: the table compares models."""
    rows = []
    for summary in optuna.get_all_study_summaries(storage, include_best_trial=False):
        if summary.user_attrs.get('setup', {}).get('dataset') == dataset:
            rows += rows_of(optuna.load_study(study_name=summary.study_name, storage=storage))
    return sorted(rows, key=rank)


def write_markdown(path: Path, rows: list[dict], dataset: str, constant: tuple[str, float]) -> None:
    """The slides' table: optimizer, rate, [loss, accuracy], model; and the other settings."""
    extra = ['augmentation', *OPTIONS]
    lines = [
        f'# Hyper-parameters searched on {dataset}',
        '',
        f'Loss and accuracy on the validation part, in the epoch of the best accuracy; always saying "{constant[0]}" '
        f'gets {constant[1]:.2f}%. The test part was not looked at.',
        '',
        f'| optimizer | rate | [loss, accuracy] | model | {" | ".join(extra)} | epoch | outcome | trial |',
        '|' + '---|' * (len(extra) + 7),
    ]
    for row in rows:
        reached = f'[{number(row["loss"])}, {number(row["accuracy"])}]'
        cells = [row['optimizer'], f'{row["rate"]:.3g}', reached, row['model'], *(as_text(row[name]) for name in extra)]
        cells += [f'{as_text(row["epoch"])}/{row["epochs"]}', row['outcome'], row['trial']]
        lines.append('| ' + ' | '.join(map(str, cells)) + ' |')
    with records.atomic_path(path) as temporary:
        temporary.write_text('\n'.join(lines) + '\n')


def number(value: float | None) -> str:
    return '-' if value is None else f'{value:.4g}'


def as_text(value) -> str:
    """A setting's value as people read it."""
    if isinstance(value, bool):
        return 'yes' if value else 'no'
    return number(value) if value is None or isinstance(value, float) else str(value)


def plot_history(rows: list[dict], constant: tuple[str, float], ax) -> None:
    """Every trial's accuracy, in the order in which they began, and the best so far."""
    rows = sorted((row for row in rows if row['accuracy'] is not None), key=lambda row: row['trial'])
    if not rows:
        return plots.plot_message('No trial has finished an epoch.', ax)
    best = np.maximum.accumulate([row['accuracy'] for row in rows])
    ax.step([row['trial'] for row in rows], best, where='post', color='black', linewidth=1, label='best so far')
    for name, (marker, colour) in MARKS.items():
        for given_up in (False, True):
            chosen = [row for row in rows if row['optimizer'] == name and (row['outcome'] != 'complete') == given_up]
            if chosen:
                ax.plot(
                    [row['trial'] for row in chosen],
                    [row['accuracy'] for row in chosen],
                    marker=marker,
                    color=colour,
                    markerfacecolor='white' if given_up else colour,
                    linestyle='none',
                    label=f'{name}, given up' if given_up else name,
                )
    ax.axhline(constant[1], color=plots.GREY, linewidth=1, linestyle='--', label=f'always "{constant[0]}"')
    ax.set(xlabel='trial', ylabel='best accuracy on validation [%]')
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.legend(loc='upper left', bbox_to_anchor=(1, 1), frameon=False)
    return None


def plot_importance(study: optuna.Study, ax) -> None:
    """Each setting's share in the difference between good and other trials, as Optuna estimates it."""
    completed = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if len({trial.value for trial in completed}) < 2:
        return plots.plot_message(
            f'{len(completed)} completed trials, all with one accuracy:\nwhat matters cannot be told.', ax
        )
    with quiet():
        importances = optuna.importance.get_param_importances(study)
    names = list(importances)[::-1]  # bars are drawn from the bottom
    bars = ax.barh(names, [importances[name] for name in names], color=plots.BLUE)
    ax.bar_label(bars, fmt='%.2f', padding=3)
    ax.set(xlabel=f'importance for the accuracy (PED-ANOVA, {len(completed)} completed trials)', xlim=(0, 1.1))
    ax.set_axisbelow(True)
    ax.grid(visible=False, axis='y')
    return None


def draw(study: optuna.Study, args: argparse.Namespace, constant: tuple[str, float]) -> None:
    for name, plot in (
        ('search_history', lambda ax: plot_history(rows_of(study), constant, ax)),
        ('search_importance', lambda ax: plot_importance(study, ax)),
    ):
        with plots.style():
            figure = plots.new_figure(height=3)
            plot(figure.gca())
            figure.suptitle(f'{args.model} on {args.dataset}: search of hyper-parameters')
            plots.save(figure, records.figure_path(FIGURES_DIR, args.dataset, args.model, name))


def report_best(study: optuna.Study, experiment: Experiment) -> None:
    rows = rows_of(study)
    if not rows or rows[0]['outcome'] != 'complete':
        print('No trial was completed: all diverged or were given up. Smaller rates: --fix lr=0.0001.')
        return
    name, constant = experiment.constant
    print(f'\nBest on validation: {rows[0]["accuracy"]:.2f}% (always "{name}": {constant:.2f}%).')
    print(f'Train it, and report it on the test part, with:\n{experiment.training_line(rows[0])}')


if __name__ == '__main__':
    sys.exit(starting.run(main))
