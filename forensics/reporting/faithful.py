"""How far the maps can be believed: a table for each record of faithfulness.py."""

from pathlib import Path

from forensics import records
from forensics.errors import UserError
from forensics.judging.faithfulness import moves_little, verdict
from forensics.reporting.evidence import Evidence
from forensics.reporting.page import DASH, Html, code, joined, paragraph, say, table

MEASURE = 'python faithfulness.py -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset'
HEAD = ('method', 'what that says', 'deletion', 'insertion', 'above a random map (95% interval)', 'after scrambling')


def faithfulness(evidence: Evidence) -> Html:
    paths = sorted(evidence.folder.glob('faithfulness/*.json'))
    tables = [evidence.attempt(path, lambda path=path: told(path, evidence)) for path in paths]
    if not any(tables):
        return paragraph(say('How faithful they are was not measured. Type {}', code(MEASURE)))
    note = (
        'Deletion and insertion are areas under the curve of P(explained class) while the pixels that a map marks are '
        'taken away, or brought back; low and high are good. A random map of the same smoothness does some harm, too: '
        'what a map does beyond that is its faithfulness. The last column is the rank correlation with the map of the '
        'same network with its weights in another order; near 1, the map has nothing to do with what was learned.'
    )
    return joined([*(each for each in tables if each), paragraph(note)])


def told(path: Path, evidence: Evidence) -> Html:
    record = records.read_faithfulness(path)
    if evidence.others({'detectors': {record['detector']: record}}, [record['detector']]):
        raise UserError(f'{path} is of another training of {record["detector"]}. Make it anew with `{MEASURE}`.')
    title = f'{record["detector"]}: its maps of {len(record["files"])} test pictures of {record["dataset"]}'
    marks = evidence.marks(record['dataset'], record.get('data_fingerprint'), record)
    rows = [
        (
            name,
            verdict(row),
            number(row['deletion']),
            number(row['insertion']),
            number(row['difference'], '{:+.3f}') + between(row['interval']),
            number(row['scrambled']['correlation'], '{:.2f}'),
        )
        for name, row in record['methods'].items()
    ]
    return joined([table(joined([title, marks]), HEAD, rows, words=2), paragraph(moves_little(**record['answer']))])


def number(value: float | None, form: str = '{:.3f}') -> str:
    return DASH if value is None else form.format(value)


def between(interval: list[float] | None) -> str:
    return ' ({:+.3f} to {:+.3f})'.format(*interval) if interval else ''
