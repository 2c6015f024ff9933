"""How far the numbers can be trusted: calibration, coverage, the audit of the data, explanations, limits."""

from forensics import records
from forensics.judging import scoring
from forensics.reporting.album import Album
from forensics.reporting.comparison import ANALYSE, missing
from forensics.reporting.evidence import Evidence, Scored, sections
from forensics.reporting.faithful import faithfulness
from forensics.reporting.page import Html, bullets, digits, element, joined, paragraph, say, span, table

SHOWN = 8  # detectors with figures; a page of hundreds would be too large to send
PROBLEMS = 15  # of a data set; the rest stays in its record


def part(evidence: Evidence, album: Album) -> Html:
    return sections(
        evidence,
        ('calibration', 'Calibration, risk and coverage', lambda: calibration(evidence, album)),
        ('audit', 'The data: leaks and shortcuts', lambda: audits(evidence, album)),
        ('explanations', 'Explanations', lambda: joined([explanations(), faithfulness(evidence)])),
        ('reading', 'Demo data and random weights', lambda: reading(evidence, album)),
        ('limits', 'Known limits', lambda: bullets(LIMITS)),
    )


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
    rows = evidence.each(sound, lambda scored: calibration_row(scored, evidence))
    note = (
        'The threshold is on the logit of P(fake) and was chosen on validation, where numerical_analysis.py recorded '
        'one. Brier score and calibration error are 0 for a detector whose P(fake) can be taken at its word. The last '
        'column is read off the test part itself: the share of images that can be answered, the surest first, before '
        'more than 5% of the answers are wrong.'
    )
    best = sorted(sound, key=lambda scored: -scored.auc)[:SHOWN]
    figures = evidence.each(best, lambda scored: joined(calibration_figures(scored, evidence, album)))
    shown = element('div', *figures, class_='figures') if any(figures) else ''
    return joined([table('How much P(fake) can be taken at its word', head, rows, words=2), paragraph(note), shown])


def calibration_row(scored: Scored, evidence: Evidence) -> list:
    metrics = evidence.metrics_of(scored)
    threshold = metrics.get('threshold') if metrics.get('threshold_from') == 'val' else None
    values = scoring.values(scored.labels, scored.logits, threshold or 0.0)
    return [
        joined([scored.detector, evidence.marks_of_scored(scored)]), scored.dataset,
        digits(threshold, '{:.3f}'), digits(values['brier'], '{:.3f}'), digits(values['calibration_error'], '{:.3f}'),
        digits(scoring.coverage_at_risk(scored.labels, scored.logits), '{:.0%}'),
    ]  # fmt: skip


def calibration_figures(scored: Scored, evidence: Evidence, album: Album) -> list[Html]:
    model = str(scored.record.get('model'))
    if not scored.detector.startswith(f'{scored.dataset}_{model}_'):  # a figure's name tells only of the model
        return []
    figures = []
    command = evidence.score_command(scored.detector, scored.dataset)
    for name, words in (('reliability', 'Reliability'), ('risk_and_coverage', 'Risk and coverage')):
        file, words = records.figure_path('', scored.dataset, model, name).name, f'{words}: {model} on {scored.dataset}'
        caption = joined([words, evidence.marks_of_scored(scored)])
        shown = album.show(file, caption, words, command, of=[scored.detector]) if album.has(file) else Html('')
        figures.append(shown)
    return figures


def audits(evidence: Evidence, album: Album) -> Html:
    if not evidence.audits:
        return missing('No data set was audited yet.', 'python audit_dataset.py fakes_dataset')
    found = []
    for name in evidence.audits:
        found.append(evidence.attempt(f'audits/{name}.json', lambda name=name: audited(name, evidence, album)))
    return joined(text for text in found if text)


def audited(name: str, evidence: Evidence, album: Album) -> Html:
    findings, marks = evidence.audits[name], evidence.marks(name)
    problems = findings['problems']
    counts = [
        (f'{dataset}, {part}', *(digits(both[kind], '{:,}') for kind in ('real', 'fake')))
        for dataset, parts in findings['counts'].items()
        for part, both in parts.items()
    ]
    shortcuts = []
    for shortcut, auc in findings['shortcuts'].items():
        interval = span(findings['intervals'][shortcut], '{:.3f}')
        shortcuts.append((shortcut.replace('_', ' '), joined([digits(auc, '{:.3f}'), interval])))
    title, alt = (
        f'{name}: how well a shortcut alone tells real from fake',
        f'The most similar pairs of pictures of {name}',
    )
    return joined([
        paragraph(element('strong', name), marks, ', problems found: ', digits(len(problems), '{}')),
        bullets([*problems[:PROBLEMS], *findings['notes']]),
        table(joined([f'{name}: images', marks]), ('part', 'real', 'fake'), counts),
        table(joined([title, marks]), ('shortcut', 'AuC (99% interval)'), shortcuts),
        album.show(f'{name}_audit_pairs.png', joined([f'{name}: the most similar pairs across parts', marks]), alt),
    ])  # fmt: skip


def explanations() -> Html:
    saliency, grad_cam = (element('a', f'question {number}', href=f'#q{number}') for number in (32, 35))
    return paragraph(say('The maps stand under {} and {}.', saliency, grad_cam))


def reading(evidence: Evidence, album: Album) -> Html:
    """What the marks mean, for those that there are."""
    total = len(evidence.runs)
    marks = [evidence.marks_of(run) for run in evidence.runs]
    items = [
        f'{number} of {total} trainings {meaning}'
        for mark, meaning in MEANINGS.items()
        if (number := sum(mark in each for each in marks))
    ]
    none = 'No training here is of demo data, and none began with random backbone weights.'
    items = items or [none if total else 'Nothing was trained yet.']
    elsewhere = sum('trained on demo data' in evidence.marks_of_scored(scored) for scored in evidence.scores.values())
    if elsewhere:
        items.append(f'{elsewhere} of {len(evidence.scores)} scored test parts {TRAINED_ELSEWHERE}')
    if album.silent:
        items.append(SILENT)
    return bullets(items)


MEANINGS = {
    'demo data': 'are of demo data: drawn people. They show that the programs work and how the methods differ; they '
    'say nothing about photographs.',
    'origin of the data unknown': 'do not say where their data came from, and the data are not here.',
    'random backbone weights': 'began with random backbone weights, because the pre-trained ones could not be had or '
    'were not wanted. They tell nothing about transfer learning.',
}
TRAINED_ELSEWHERE = (
    'are no drawings, and their detector was trained on drawn people. What it does there tells nothing of a detector '
    'that was trained on photographs.'
)
SILENT = (
    'A figure that does not say of which training it is was drawn by an older version, and may be of another training '
    'of the same model and data set.'
)
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
