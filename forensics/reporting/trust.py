"""How far the numbers can be trusted: calibration, coverage, the audit of the data, explanations, limits."""

from pathlib import Path

from forensics import records
from forensics.judging import scoring
from forensics.reporting.album import Album
from forensics.reporting.comparison import DASH, missing
from forensics.reporting.evidence import Evidence, Scored
from forensics.reporting.page import Html, Source, bullets, element, joined, paragraph, say, section, table

SHOWN = 8  # detectors with figures; a page of hundreds would be too large to send
ANALYSIS = 'python numerical_analysis.py -m SimpleNet -cpp checkpoints/fakes_dataset_SimpleNet_Adam.pt -d fakes_dataset'


def part(evidence: Evidence, album: Album) -> Html:
    return joined([
        section(3, 'calibration', 'Calibration, risk and coverage', calibration(evidence, album)),
        section(3, 'audit', 'The data: leaks and shortcuts', audits(evidence, album)),
        section(3, 'explanations', 'Explanations', explanations()),
        section(3, 'reading', 'Demo data and random weights', reading(evidence)),
        section(3, 'limits', 'Known limits', limits()),
    ])  # fmt: skip


def calibration(evidence: Evidence, album: Album) -> Html:
    sound = [scored for scored in evidence.scores.values() if not scored.reason]
    if not sound:
        return missing('No detector was scored yet.', ANALYSIS)
    rows = [calibration_row(scored, evidence) for scored in sound]
    head = ('detector', 'test part of', 'threshold', 'Brier score', 'calibration error', 'answered with at most 5% wrong')
    note = (
        'The threshold is on the logit of P(fake) and was chosen on validation. Brier score and calibration error are 0 for '
        'a detector whose P(fake) can be taken at its word. The last column is read off the test part itself: the share of images that '
        'can be answered, the surest first, before more than 5% of the answers are wrong.'
    )
    figures = []
    best = sorted(sound, key=lambda scored: -scored.auc)[:SHOWN]
    for scored in best:
        dataset, model = str(scored.record.get('dataset')), str(scored.record.get('model'))
        marks = evidence.marks_of_scored(scored)
        if scored.detector.startswith(f'{dataset}_{model}_'):  # figures are named after the model alone
            for name, caption in (('reliability', 'Reliability'), ('risk_and_coverage', 'Risk and coverage')):
                file = records.figure_path('', dataset, model, name).name
                figures.append(album.show(file, say('{}: {} on {}{}', caption, model, dataset, marks), f'{caption} of {model} on {dataset}'))
    figures = element('div', *figures, class_='figures') if any(figures) else Html('')
    return joined([table('How much P(fake) can be taken at its word', head, rows, words=2), paragraph(note), figures])


def calibration_row(scored: Scored, evidence: Evidence) -> list:
    dataset = str(scored.record.get('dataset'))
    metrics = evidence.metrics.get(records.metrics_path('', scored.detector, dataset).stem, {})
    same = metrics.get('checkpoint_sha256') == scored.record.get('checkpoint_sha256')
    threshold = metrics.get('threshold') if same and metrics.get('threshold_from') == 'val' else None
    values = scoring.values(scored.labels, scored.logits, threshold or 0.0)
    return [
        joined([scored.detector, evidence.marks_of_scored(scored)]), dataset,
        Source(f'metrics/{scored.detector}').show(threshold, '{:.3f}', f'threshold on {dataset}'),
        scored.source.show(values['brier'], '{:.3f}', 'brier'),
        scored.source.show(values['calibration_error'], '{:.3f}', 'calibration_error'),
        scored.source.show(scoring.coverage_at_risk(scored.labels, scored.logits), '{:.0%}', 'coverage at 5% wrong'),
    ]  # fmt: skip


def audits(evidence: Evidence, album: Album) -> Html:
    if not evidence.audits:
        return missing('No data set was audited yet.', 'python audit_dataset.py fakes_dataset')
    parts = []
    for name, findings in evidence.audits.items():
        source, marks = Source(f'audits/{name}.json'), evidence.marks(name)
        counts = [
            (f'{dataset}, {part}', source.show(both['real'], '{:,}', f'{dataset} {part} real'), source.show(both['fake'], '{:,}', f'{dataset} {part} fake'))
            for dataset, parts_of in (findings.get('counts') or {}).items()
            for part, both in parts_of.items()
        ]
        shortcuts = [
            (shortcut.replace('_', ' '), joined([
                source.show(auc, '{:.3f}', f'shortcut {shortcut}'),
                source.interval((findings.get('intervals') or {}).get(shortcut), '{:.3f}', f'shortcut {shortcut}'),
            ]))
            for shortcut, auc in (findings.get('shortcuts') or {}).items()
        ]  # fmt: skip
        problems = findings['problems']
        verdict = say('{} problems were found:', source.show(len(problems), '{}', 'problems')) if problems else say('No problem was found ({}).', source.show(0, '{} problems', 'problems'))
        caption = joined([f'{name}: the nearest pairs across parts', marks])
        parts += [
            paragraph(element('strong', name), marks, ': ', verdict), bullets([*problems[:15], *findings.get('notes', [])]),
            table(joined([f'{name}: images', marks]), ('part', 'real', 'fake'), counts),
            table(joined([f'{name}: how well a shortcut alone tells real from fake', marks]), ('shortcut', 'AuC (99% interval)'), shortcuts),
            album.show(f'{name}_audit_pairs.png', caption, f'The most similar pairs of pictures of {name}'),
        ]  # fmt: skip
    return joined(parts)


def explanations() -> Html:
    return joined([
        paragraph('The maps stand under ', element('a', 'question 32', href='#q32'), ' and ', element('a', 'question 35', href='#q35'), '.'),
        paragraph(
            'How faithful they are was not measured: nothing here tells whether the score falls when what a map marks is '
            'taken away. A map is a hint where to look, not a proof of what the network uses.'
        ),
    ])  # fmt: skip


def reading(evidence: Evidence) -> Html:
    demo = [run for run in evidence.runs if 'demo data' in evidence.marks_of(run)]
    unknown = [run for run in evidence.runs if 'unknown' in evidence.marks_of(run)]
    random = [run for run in evidence.runs if run.facts.get('backbone_weights') == 'random']
    total = len(evidence.runs)
    items = []
    if demo:
        items.append(f'{len(demo)} of {total} trainings are of demo data: drawn people. They show that the programs work and how the '
                     'methods differ; they say nothing about photographs.')  # fmt: skip
    if unknown:
        items.append(f'{len(unknown)} of {total} trainings do not say where their data came from, and the data are not here.')
    if random:
        items.append(f'{len(random)} of {total} trainings began with random backbone weights, because the pre-trained ones could not be '
                     'had or were not wanted. They tell nothing about transfer learning.')  # fmt: skip
    if not items:
        items.append('No training here is of demo data, and none began with random backbone weights.' if total else 'Nothing was trained yet.')
    return bullets(items)


def limits() -> Html:
    return bullets([
        'A score is not a proof. A detector knows the kinds of fakes that it was trained on; never accuse anyone on a score alone.',
        'One training of each kind shows one seed. Another seed may end elsewhere; differences smaller than the intervals mean nothing.',
        'Intervals resample the images of the test part, in whole groups where the data set\'s manifest.csv names them. They do not '
        'hold what another data set would show.',
        'Compression, scaling and screenshots wash traces out; how much, the perturbed pictures tell where they were scored.',
        'Detectors inherit the biases of their data. Error rates by group were not measured.',
    ])  # fmt: skip
