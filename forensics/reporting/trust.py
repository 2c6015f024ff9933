"""How far the numbers can be trusted: calibration, coverage, the audit of the data, explanations, limits."""

from forensics import records
from forensics.judging import scoring
from forensics.reporting.album import Album
from forensics.reporting.comparison import ANALYSE, missing
from forensics.reporting.evidence import Evidence, Scored
from forensics.reporting.faithful import faithfulness
from forensics.reporting.page import Html, Source, bullets, element, joined, paragraph, say, section, table

SHOWN = 8  # detectors with figures; a page of hundreds would be too large to send
PROBLEMS = 15  # of a data set; the rest stays in its record


def part(evidence: Evidence, album: Album) -> Html:
    return joined([
        section(3, 'calibration', 'Calibration, risk and coverage', calibration(evidence, album)),
        section(3, 'audit', 'The data: leaks and shortcuts', audits(evidence, album)),
        section(3, 'explanations', 'Explanations', joined([explanations(), faithfulness(evidence)])),
        section(3, 'reading', 'Demo data and random weights', reading(evidence)),
        section(3, 'limits', 'Known limits', bullets(LIMITS)),
    ])  # fmt: skip


def calibration(evidence: Evidence, album: Album) -> Html:
    sound = [scored for scored in evidence.scores.values() if not scored.reason]
    if not sound:
        return missing('No detector was scored yet.', ANALYSE)
    head = (
        'detector',
        'test part of',
        'threshold',
        'Brier score',
        'calibration error',
        'answered with at most 5% wrong',
    )
    rows = [calibration_row(scored, evidence) for scored in sound]
    note = (
        'The threshold is on the logit of P(fake) and was chosen on validation, where numerical_analysis.py recorded '
        'one. Brier score and calibration error are 0 for a detector whose P(fake) can be taken at its word. The last '
        'column is read off the test part itself: the share of images that can be answered, the surest first, before '
        'more than 5% of the answers are wrong.'
    )
    best = sorted(sound, key=lambda scored: -scored.auc)[:SHOWN]
    figures = [figure for scored in best for figure in calibration_figures(scored, evidence, album)]
    shown = element('div', *figures, class_='figures') if any(figures) else ''
    return joined([table('How much P(fake) can be taken at its word', head, rows, words=2), paragraph(note), shown])


def calibration_row(scored: Scored, evidence: Evidence) -> list:
    metrics, show = evidence.metrics_of(scored), scored.source.show
    threshold = metrics.get('threshold') if metrics.get('threshold_from') == 'val' else None
    values = scoring.values(scored.labels, scored.logits, threshold or 0.0)
    return [
        joined([scored.detector, evidence.marks_of_scored(scored)]), scored.dataset,
        Source(f'metrics/{scored.source.name}').show(threshold, '{:.3f}', 'threshold'),
        show(values['brier'], '{:.3f}', 'brier'), show(values['calibration_error'], '{:.3f}', 'calibration_error'),
        show(scoring.coverage_at_risk(scored.labels, scored.logits), '{:.0%}', 'coverage at 5% wrong'),
    ]  # fmt: skip


def calibration_figures(scored: Scored, evidence: Evidence, album: Album) -> list[Html]:
    model = str(scored.record.get('model'))
    if not scored.detector.startswith(f'{scored.dataset}_{model}_'):  # a figure's name tells only of the model
        return []
    figures = []
    for name, words in (('reliability', 'Reliability'), ('risk_and_coverage', 'Risk and coverage')):
        file, words = records.figure_path('', scored.dataset, model, name).name, f'{words}: {model} on {scored.dataset}'
        figures.append(album.show(file, joined([words, evidence.marks_of_scored(scored)]), words))
    return figures


def audits(evidence: Evidence, album: Album) -> Html:
    if not evidence.audits:
        return missing('No data set was audited yet.', 'python audit_dataset.py fakes_dataset')
    found = []
    for name in evidence.audits:
        found.append(evidence.attempt(f'audits/{name}.json', lambda name=name: audited(name, evidence, album)))
    return joined(text for text in found if text)


def audited(name: str, evidence: Evidence, album: Album) -> Html:
    findings, source, marks = evidence.audits[name], Source(f'audits/{name}.json'), evidence.marks(name)
    problems = findings['problems']
    counts = [
        (
            f'{dataset}, {part}',
            *(source.show(both[kind], '{:,}', f'{dataset} {part} {kind}') for kind in ('real', 'fake')),
        )
        for dataset, parts in findings['counts'].items()
        for part, both in parts.items()
    ]
    shortcuts = []
    for shortcut, auc in findings['shortcuts'].items():
        key = f'shortcut {shortcut}'
        interval = source.interval(findings['intervals'][shortcut], '{:.3f}', key)
        shortcuts.append((shortcut.replace('_', ' '), joined([source.show(auc, '{:.3f}', key), interval])))
    title, alt = (
        f'{name}: how well a shortcut alone tells real from fake',
        f'The most similar pairs of pictures of {name}',
    )
    return joined([
        paragraph(element('strong', name), marks, ', problems found: ', source.show(len(problems), '{}', 'problems')),
        bullets([*problems[:PROBLEMS], *findings['notes']]),
        table(joined([f'{name}: images', marks]), ('part', 'real', 'fake'), counts),
        table(joined([title, marks]), ('shortcut', 'AuC (99% interval)'), shortcuts),
        album.show(f'{name}_audit_pairs.png', joined([f'{name}: the most similar pairs across parts', marks]), alt),
    ])  # fmt: skip


def explanations() -> Html:
    saliency, grad_cam = (element('a', f'question {number}', href=f'#q{number}') for number in (32, 35))
    return paragraph(say('The maps stand under {} and {}.', saliency, grad_cam))


def reading(evidence: Evidence) -> Html:
    """What the marks mean, for those that there are."""
    total = len(evidence.runs)
    marks = [evidence.marks_of(run) for run in evidence.runs]
    items = [
        f'{number} of {total} trainings {meaning}'
        for mark, meaning in MEANINGS.items()
        if (number := sum(mark in each for each in marks))
    ]
    none = 'No training here is of demo data, and none began with random backbone weights.'
    return bullets(items or [none if total else 'Nothing was trained yet.'])


MEANINGS = {
    'demo data': 'are of demo data: drawn people. They show that the programs work and how the methods differ; they '
    'say nothing about photographs.',
    'origin of the data unknown': 'do not say where their data came from, and the data are not here.',
    'random backbone weights': 'began with random backbone weights, because the pre-trained ones could not be had or '
    'were not wanted. They tell nothing about transfer learning.',
}
LIMITS = (
    'A score is not a proof. A detector knows the kinds of fakes that it was trained on; never accuse anyone on a '
    'score alone.',
    'One training of each kind shows one seed. Another seed may end elsewhere; differences smaller than the intervals '
    'mean nothing.',
    "Intervals resample the images of the test part, in whole groups where the data set's manifest.csv names them. "
    'They do not hold what another data set would show.',
    'Compression, scaling and screenshots wash traces out; how much, the perturbed pictures tell where they were '
    'scored.',
    'Detectors inherit the biases of their data. Error rates by group were not measured.',
)
