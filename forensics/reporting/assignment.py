"""The assignment's questions 1 to 35 and its bonus, each with its answer: numbers from records, and words of ours."""

import ast
from collections.abc import Callable
from functools import partial
from importlib import metadata
from pathlib import Path
from typing import NamedTuple

import numpy as np

from forensics import records
from forensics.errors import UserError
from forensics.judging import scoring
from forensics.reporting import findings
from forensics.reporting.album import Album
from forensics.reporting.evidence import UNEXPECTED, Evidence, Scored, sections
from forensics.reporting.page import UNCHECKED, Html, all_marks, code, digits, element, joined, paragraph, say

PROJECT = Path(__file__).resolve().parent.parent.parent


class Training(NamedTuple):
    """One of the assignment's three trainings."""

    dataset: str
    model: str
    epochs: int

    @property
    def name(self) -> str:
        return records.run_name(self.dataset, self.model, 'Adam')

    @property
    def scores(self) -> str:
        return records.scores_path('', self.name, self.dataset).as_posix()

    @property
    def command(self) -> str:
        return f'python train_main.py -d {self.dataset} -m {self.model} --lr 0.001 -b 32 -e {self.epochs} -o Adam'

    def plot_command(self) -> str:
        return f'python plot_accuracy_and_loss.py -m {self.model} -j out/{self.name}.json -d {self.dataset}'

    def checkpoint_command(self, script: str) -> str:
        return f'python {script} -m {self.model} -cpp checkpoints/{self.name}.pt -d {self.dataset}'


FAKES = Training('fakes_dataset', 'SimpleNet', 5)
SYNTHETIC = Training('synthetic_dataset', 'SimpleNet', 5)
XCEPTION = Training('synthetic_dataset', 'XceptionBased', 2)


class Figure(NamedTuple):
    file: str
    command: str  # draws it
    caption: str
    training: Training | None = None  # whose data and weights it shows

    @property
    def of(self) -> list[str]:
        return [self.training.name] if self.training else []


class Question(NamedTuple):
    number: str
    asks: str
    words: str | Callable[[Evidence], Html | str] = ''
    record: str = ''  # that answers it, below the folder of records
    command: str = ''  # makes the record
    answer: Callable[[Evidence, Path], Html] | None = None
    figures: tuple[Figure, ...] = ()
    shows: tuple[tuple[str, str], ...] = ()  # (file, function): code that the question asks for
    training: Training | None = None  # that its words speak of


# --- answers, each from one record -----------------------------------------------------------------------------------


def best_accuracy(evidence: Evidence, path: Path) -> Html:
    run = evidence.newest(path.stem)
    if run is None:
        raise UserError(f'{path}: {evidence.untrained(path.stem)}')
    answer = say('{} (epoch {}, validation {})', run.test_accuracy(), run.best_epoch(), run.validation())
    constant = scoring.run_constant_accuracy(run.log)
    if constant is not None:
        answer = say('{}; a constant predictor: {}', answer, digits(constant, '{:.2f}%'))
    return joined([answer, origin(run.facts.get('backbone_weights'))])


def own_scores(evidence: Evidence, path: Path) -> Scored:
    records.read_scores(path)  # raises, where the evidence had to do without it
    scored = evidence.scores[path.stem]
    if reason := evidence.strange(scored):
        raise UserError(f'{path} {reason}; score it with `{evidence.score_command(scored.detector, scored.dataset)}`.')
    return scored


def proportion(evidence: Evidence, path: Path) -> Html:
    labels = own_scores(evidence, path).labels
    real, fake = int(np.sum(labels == 0)), int(np.sum(labels == 1))
    answer = say('{} to {}', digits(fake, '{}'), digits(real, '{}'))
    return say('{} = {}', answer, digits(fake / real, '{:.2f}')) if real else answer


def aucs(evidence: Evidence, path: Path) -> Html:
    record = own_scores(evidence, path).record
    first, second = scoring.two_columns(record['scores']).T
    if reason := scoring.undefined(record['labels'], second - first):
        return say('undefined: {}', reason)
    values = auc_of_each(record)
    each = [say('{} {}', name, digits(value, '{:.3f}')) for name, value in values.items()]
    total = digits(values['first'] + values['second'], '{:.3f}')
    return joined([say('{} (first + second = {})', joined(each, ', '), total), origin(record.get('backbone_weights'))])


def auc_of_each(record: dict) -> dict[str, float]:
    scores = scoring.three_scores(*scoring.two_columns(record['scores']).T)
    return {name: scoring.auc(record['labels'], values) for name, values in scores.items()}


def origin(weights: str | None) -> str:
    """A warning for the answer if the backbone began with random weights."""
    return '; the backbone began with RANDOM weights' if weights == 'random' else ''


def kind_of_classifier(evidence: Evidence, path: Path) -> Html:
    return findings.kind_of_classifier(own_scores(evidence, path))


def parameters(key: str, evidence: Evidence, path: Path) -> Html:
    return digits(records.read_json(path)[key], '{:,}')


def bonus_pair(evidence: Evidence, path: Path) -> Html:
    bonus = records.read_json(path)
    accuracy = digits(bonus['accuracy'], '{:.2f}%')
    answer = say('accuracy {}, {} parameters', accuracy, digits(bonus['parameters'], '{:,}'))
    if bonus['auc'] is None:
        return answer
    auc, score = digits(bonus['auc'], '{:.4f}'), digits(bonus['score'], '{:.3g}')
    return say("{}; AuC {}, report 2's score {}", answer, auc, score)


# --- words that hang on numbers --------------------------------------------------------------------------------------


def scores_of(training: Training, evidence: Evidence) -> Scored | None:
    scored = evidence.scores.get(Path(training.scores).stem)
    return None if scored is None or evidence.strange(scored) else scored


def untrained(training: Training, evidence: Evidence) -> Html:
    return say('{}: {}', capitalised(evidence.untrained(training.name)), code(training.command))


def training_words(training: Training, evidence: Evidence) -> Html:
    run = evidence.newest(training.name)
    if run is None:
        return untrained(training, evidence)
    optimizer = run.log.get('optimizer', {}).get('name', 'an optimizer that is not recorded')
    words = say('Trained for {} epochs with {}', run.epochs(), optimizer)
    if run.log.get('seconds'):
        words = say('{} in {}', words, run.duration())
    accuracy = findings.curve(run.log, 'train_acc')
    if accuracy is not None:
        first, last = (digits(accuracy[epoch], '{:.2f}%') for epoch in (0, -1))
        words = say('{}; the training accuracy goes from {} to {}', words, first, last)
    return say('{}.{}', words, evidence.marks_of(run))


def sense_of_the_log(evidence: Evidence) -> Html:
    run = evidence.newest(FAKES.name)
    if run is None:
        return untrained(FAKES, evidence)
    keys = [f'{part}_{quantity}' for part in ('train', 'val', 'test') for quantity in ('loss', 'acc')]
    curves = {key: findings.curve(run.log, key) for key in keys}
    odd = [
        key
        for key, curve in curves.items()
        if curve is None or len(curve) != len(run.log['val_acc']) or curve.min() < 0
    ]
    odd += [key for key in keys if key.endswith('acc') and key not in odd and curves[key].max() > 100]
    if odd:
        return say('Not wholly: {} should hold one number for each epoch.', ', '.join(odd))
    return say(
        'Yes. It names model, data set and optimizer and holds six lists with one number for each of the {} epochs: '
        'loss and accuracy (in percent) of the training, validation and test part. {}',
        run.epochs(), findings.course(run),
    )  # fmt: skip


def course_words(training: Training, evidence: Evidence) -> Html:
    run = evidence.newest(training.name)
    return findings.course(run) if run else untrained(training, evidence)


def why_mirrored(evidence: Evidence) -> Html:
    words = Html(
        'The two outputs say the same in opposite directions. Cross-entropy sees only their difference, so training '
        'raises one where it lowers the other: an image with a high "fake" score has a low "real" score. Ordered by '
        'the first score the images stand the other way round, and the curve is mirrored: AuC becomes 1 − AuC.'
    )
    scored = scores_of(FAKES, evidence)
    if scored is None or scored.reason:
        return words
    values = auc_of_each(scored.record)
    total = values['first'] + values['second']
    shown = digits(total, '{:.3f}')
    if abs(total - 1) <= findings.ONE:
        return say('{} Here the two AuCs add up to {}.', words, shown)
    return say('{} Here the two AuCs add up to {} and not to 1: the outputs are no exact opposites.', words, shown)


def sense_of_the_kind(evidence: Evidence) -> Html | str:
    scored = scores_of(SYNTHETIC, evidence)
    if scored is None:
        return say(
            'What kind of classifier it is, is not known yet: {}',
            code(SYNTHETIC.checkpoint_command('numerical_analysis.py')),
        )
    traces = (
        'Swapped faces show seams, blurred patches and colours that do not fit, which a few large filters can see. '
        'A generated face is one whole picture without a seam; its traces lie in the finest texture.'
    )
    return {
        'constant': f'It does: the network gives nearly all images one answer. {traces}',
        'chance': f'It does: the network cannot tell the two apart. {traces}',
        'telling': 'The samples alone would not have told so: side by side the generated faces look as real as the '
        'others, and yet the network tells them apart better than chance.',
        'misplaced': 'At P(fake) 0.5 the network gives nearly all images one answer; but its scores tell the two apart '
        'better than chance, so another threshold would.',
        'reversed': 'It does not: the network calls real faces fake and fakes real more often than chance would. Do '
        'labels or scores mean the opposite somewhere?',
        'unknown': f'Nothing can be said with one class alone. {traces}',
    }[findings.kind_of(scored)]


def pretraining(evidence: Evidence) -> Html:
    run = evidence.newest(XCEPTION.name)
    words = 'On ImageNet: 1.28 million photographs of 1000 kinds of things (its authors also used JFT, a private set).'
    if run is None:
        return Html(words)
    return say(
        '{} The network here began with these weights: {}.', words, run.facts.get('backbone_weights') or 'not recorded'
    )


def why_better(evidence: Evidence) -> Html | str:
    both = [scores_of(training, evidence) for training in (SYNTHETIC, XCEPTION)]
    if None in both or any(scored.reason or not scored.interval for scored in both):
        return ''
    simple, xception = both
    shown = [digits(scoring.auc(scored.labels, scored.logits), '{:.3f}') for scored in both]
    same = len({scored.record.get('data_fingerprint') for scored in both}) == 1
    compared = say(
        '{}SimpleNet has AuC {} and XceptionBased {}.', 'On the same data ' if same else 'On data that differ ', *shown
    )
    if xception.interval[1] < simple.interval[0]:
        return say('{} XceptionBased is the worse one here, so there is no better result to explain.', compared)
    if simple.interval[1] >= xception.interval[0]:
        return say('{} Their 95% intervals overlap, so there is no better result to explain.', compared)
    networks = evidence.parameters.get('networks', {})
    counts = {name: networks.get(name) for name in ('SimpleNet', 'XceptionBased')}
    sizes = [digits(count, '{:,}') for name, count in counts.items()]
    parameters = say('The numbers of parameters are {} and {}. ', *sizes) if all(counts.values()) else ''
    return say(
        '{} {}What differs besides: depth, separable convolutions that keep fine texture for longer, and, where the '
        'weights are ImageNet\'s, filters learned from a million photographs. Which of these counts most, one training '
        'of each does not tell.',
        compared, parameters,
    )  # fmt: skip


def maps_words(evidence: Evidence) -> Html:
    words = [Html(
        'Each '
        'pixel\'s brightness says how much the score of the true class would change with it. Bright spots on the face '
        'or along its border mean that the decision hangs on them; a map spread over the whole picture means a trace '
        'that is everywhere, or a network that has found nothing. The mean maps average this over the whole test part.'
    )]  # fmt: skip
    for training in (FAKES, XCEPTION):
        scored = scores_of(training, evidence)
        if scored and findings.kind_of(scored) in ('constant', 'chance', 'reversed'):
            words.append(
                say(
                    '{} on {} does not tell real from fake, so its maps explain no knowledge.',
                    training.model,
                    training.dataset,
                )
            )
    return joined(words, ' ')


def grad_cam_package(evidence: Evidence) -> Html:
    try:
        version = element('span', metadata.version('grad-cam'), **UNCHECKED)
        return say('The package grad-cam {} is among the requirements and installed.', version)
    except metadata.PackageNotFoundError:
        return say('It is not installed here: {}', code('pip install grad-cam'))


def bonus_words(evidence: Evidence) -> Html:
    return say(
        'BonusNet: one plain and a few depthwise separable convolutions, pooled to a mean and a maximum over the '
        'picture. A seam or a blurred patch may lie anywhere, and the maximum finds a single spot that differs. '
        'Separable convolutions and the missing dense layers keep it small. How its weights were made: '
        'checkpoints/bonus.md.{}',
        evidence.marks('fakes_dataset', source=evidence.bonus.get('data_source')),
    )


# --- the table -------------------------------------------------------------------------------------------------------


def curves(training: Training) -> tuple[Figure, ...]:
    return tuple(
        Figure(f'{training.dataset}_{training.model}_{name}.png', training.plot_command(), caption, training)
        for name, caption in (('losses_plot', 'Loss over the epochs'), ('accuracies_plot', 'Accuracy over the epochs'))
    )


def of_checkpoint(training: Training, script: str, **captions: str) -> tuple[Figure, ...]:
    command = training.checkpoint_command(script)
    return tuple(
        Figure(f'{training.dataset}_{training.model}_{name}.png', command, caption, training)
        for name, caption in captions.items()
    )


def roc_and_det(training: Training) -> tuple[Figure, ...]:
    captions = {'roc_curve': 'ROC of the three scores', 'det_curve': 'DET of the three scores'}
    return of_checkpoint(training, 'numerical_analysis.py', **captions)


def saliency(training: Training) -> tuple[Figure, ...]:
    return of_checkpoint(
        training, 'saliency_map.py',
        saliency_maps_and_images_pairs='Random test images, each beside its saliency map',
        mean_saliency_maps='Mean saliency maps of all test images',
    )  # fmt: skip


def grad_cam(training: Training) -> tuple[Figure, ...]:
    captions = {'Real_Image_grad_cam': 'Grad-CAM of real images', 'Fake_Image_grad_cam': 'Grad-CAM of fake images'}
    return of_checkpoint(training, 'grad_cam_analysis.py', **captions)


SAMPLES = Figure(
    'datasets_samples.png', 'python plot_samples_of_faces_datasets.py', 'Samples of both data sets, real and fake'
)


def about_training(number: str, training: Training) -> Question:
    asks = f'Test accuracy at the best validation accuracy: {training.model} on {training.dataset}'
    return Question(number, asks, '', f'{training.name}.json', training.command, best_accuracy)


def about_scores(number: str, asks: str, training: Training, answer: Callable, **more) -> Question:
    command = training.checkpoint_command('numerical_analysis.py')
    return Question(number, asks, record=training.scores, command=command, answer=answer, **more)


def about_parameters(number: str, asks: str, key: str, words: str = '') -> Question:
    return Question(number, asks, words, 'nof_params.json', 'python nof_params.py', partial(parameters, key))


QUESTIONS = (
    Question(
        '1', 'Implement __getitem__ and __len__ of FacesDataset',
        'Real images come first, then fakes, each sorted by name, so that the order does not depend on the file '
        'system. An item is (image, label): 0 real, 1 fake; the transform is applied where there is one.',
        shows=(('faces_dataset.py', 'FacesDataset.__len__'), ('faces_dataset.py', 'FacesDataset.__getitem__')),
    ),
    Question('2', 'Samples of the two data sets', figures=(SAMPLES,)),
    Question(
        '3', 'Implement the training of one epoch',
        'Loss and accuracy are means over the samples, so that a short last batch weighs what it holds.',
        shows=(('trainer.py', 'Trainer.train_one_epoch'),),
    ),
    Question(
        '4', 'Implement the evaluation on a data set', 'The same means, in evaluation mode and without gradients.',
        shows=(('trainer.py', 'Trainer.evaluate_model_on_dataloader'),),
    ),
    Question('5', 'Train SimpleNet on the deepfakes', partial(training_words, FAKES), training=FAKES),
    Question('6', 'The JSON of the training: does it make sense?', sense_of_the_log, training=FAKES),
    Question('7', 'Loss and accuracy of SimpleNet on the deepfakes', partial(course_words, FAKES),
             figures=curves(FAKES), training=FAKES),
    about_training('8', FAKES),
    about_scores('9', 'Fake to real images in the test part of fakes_dataset', FAKES, proportion),
    about_scores(
        '10', 'AuC of the scores: SimpleNet on fakes_dataset', FAKES, aucs, figures=roc_and_det(FAKES),
        shows=(('numerical_analysis.py', 'plot_roc_curve'), ('numerical_analysis.py', 'plot_det_curve')),
    ),
    Question('11', 'Why do the graphs of the first and of the second score differ so?', why_mirrored),
    Question('12', 'Train SimpleNet on the synthetic faces', partial(training_words, SYNTHETIC), training=SYNTHETIC),
    Question('13', 'Loss and accuracy of SimpleNet on the synthetic faces', partial(course_words, SYNTHETIC),
             figures=curves(SYNTHETIC), training=SYNTHETIC),
    about_training('14', SYNTHETIC),
    about_scores('15', 'Synthetic to real images in the test part of synthetic_dataset', SYNTHETIC, proportion),
    about_scores('16', 'What kind of classifier is SimpleNet on synthetic_dataset?', SYNTHETIC, kind_of_classifier),
    Question('17', 'Looking at samples of both data sets, does this result make sense?', sense_of_the_kind,
             figures=(SAMPLES,)),
    Question('18', 'What is Xception pre-trained on?', pretraining),
    Question(
        '19', 'What are the basic building blocks of Xception?',
        'Depthwise separable convolutions: a small filter for each channel by itself, then a 1x1 convolution across '
        'the channels, with batch normalisation and ReLU. 36 convolutional layers stand in 14 modules; all but the '
        'first and the last module have a linear shortcut around them, as in ResNet.',
    ),
    Question('20', 'What is Xception pre-trained on? (the assignment asks twice)', 'On ImageNet; see question 18.'),
    about_parameters('21', "Input dimension of Xception's fc", 'fc_input'),
    about_parameters('22', "Parameters of Xception", 'Xception', 'The paper gives 22,855,952 in its table 3.'),
    Question(
        '23', 'Xception with a perceptron as its head',
        "The pre-trained backbone's fc is replaced by 2048 - 1000 - 256 - 64 - 2 with ReLU between.",
        shows=(('models.py', 'get_xception_based_model'),),
    ),
    about_parameters('24', 'Parameters that the new head adds', 'added_by_the_head'),
    Question('25', 'Train XceptionBased on the synthetic faces', partial(training_words, XCEPTION), training=XCEPTION),
    Question('26', 'Loss and accuracy of XceptionBased on the synthetic faces', partial(course_words, XCEPTION),
             figures=curves(XCEPTION), training=XCEPTION),
    about_training('27', XCEPTION),
    about_scores('28', 'AuC of the scores: XceptionBased on synthetic_dataset', XCEPTION, aucs, words=why_better,
                 figures=roc_and_det(XCEPTION)),
    Question(
        '29', 'What are saliency maps?',
        'The gradient of the score of a class (before softmax) by the pixels of one image: which pixels would change '
        'the score most if they changed a little. Drawn is its absolute value, the largest of the three channels. It '
        'needs one backward pass and no labels of places; it shows sensitivity, not what is in the picture.',
    ),
    Question(
        '30', 'What are Grad-CAMs?',
        'The maps of a late convolutional layer, added up with weights: each map counts as much as the score of the '
        'class rises with it (the mean of the gradient over the map). Negative sums are cut off. The result is as '
        'coarse as the layer, is enlarged to the size of the image, and shows the regions that speak for the class.',
    ),
    Question('31', 'Implement saliency maps', 'One backward pass for a whole batch.',
             shows=(('saliency_map.py', 'compute_gradient_saliency_maps'),)),
    Question('32', 'Saliency maps of SimpleNet on the deepfakes and of XceptionBased on the synthetic faces',
             maps_words, figures=(*saliency(FAKES), *saliency(XCEPTION))),
    Question('33', 'Install the grad-cam package', grad_cam_package),
    Question('34', 'Grad-CAM of a random image',
             'For the predicted class, at conv3, as '
             'the assignment asks; a model without '
             'that layer is explained by the last '
             'one that has maps.', shows=(('grad_cam_analysis.py', 'get_grad_cam_visualization'),)),
    Question('35', 'Grad-CAM of the three trainings',
             'Bright regions speak for the class that the network names; the title of each row has the true '
             'one.',
             figures=(*grad_cam(FAKES), *grad_cam(SYNTHETIC), *grad_cam(XCEPTION))),
    Question('bonus', 'The bonus network on the test part of fakes_dataset', bonus_words, 'bonus.json',
             'python bonus_main.py', bonus_pair),
)  # fmt: skip


def measured(question: Question, evidence: Evidence) -> Html:
    """The answer from the question's record, or the reason why there is none."""
    path = evidence.folder / question.record
    if not path.exists():
        return say('not known yet; run {}', code(question.command))
    if str(path) in evidence.broken:
        return say('no answer: {}', evidence.broken[str(path)])
    try:
        return question.answer(evidence, path)
    except UserError as error:
        return say('no answer: {}', error)
    except UNEXPECTED as error:
        return say('no answer: {} is not as expected ({}); run {}', path, repr(error), code(question.command))


# --- the part of the report ------------------------------------------------------------------------------------------


def still_open(evidence: Evidence, album: Album) -> list[Question]:
    """The questions whose record, training or figure is missing or bad."""

    def is_open(question: Question) -> bool:
        record = evidence.folder / question.record
        scored = evidence.scores.get(record.stem)
        return (
            bool(scored and evidence.strange(scored))
            or bool(question.record and (not record.exists() or str(record) in evidence.broken))
            or bool(question.training and not evidence.newest(question.training.name))
            or any(not album.has(figure.file, figure.of) for figure in question.figures)
        )

    return [question for question in QUESTIONS if is_open(question)]


def part(evidence: Evidence, album: Album) -> Html:
    shown: set[str] = set()
    return sections(
        evidence,
        *(
            (f'q{question.number}', title(question), partial(one, question, evidence, album, shown))
            for question in QUESTIONS
        ),
    )


def title(question: Question) -> Html:
    number = f'Question {question.number}' if question.number.isdigit() else 'Bonus'
    return joined([element('span', number, class_='count'), ' ', question.asks])


def one(question: Question, evidence: Evidence, album: Album, shown: set[str]) -> Html:
    words = question.words(evidence) if callable(question.words) else question.words
    answer = ''
    if question.answer:
        answer = paragraph(element('strong', capitalised(measured(question, evidence))), marks_of(question, evidence))
    figures = []
    for figure in question.figures:
        if figure.file in shown:
            figures.append(paragraph(say('The figure stands under {}.', element('a', 'question 2', href='#q2'))))
            continue
        shown.add(figure.file)
        figures.append(picture(figure, evidence, album))
    listings = [listing(file, name) for file, name in question.shows]
    return joined([
        answer, paragraph(words), *listings, element('div', *figures, class_='figures') if figures else ''
    ])  # fmt: skip


def capitalised(text: Html) -> Html:
    return Html(text[:1].upper() + text[1:])


def marks_of(question: Question, evidence: Evidence) -> Html:
    """Parameters are those of the architecture, whatever the data."""
    stem = Path(question.record).stem
    if stem in evidence.scores:
        return evidence.marks_of_scored(evidence.scores[stem])
    run = evidence.newest(stem)
    return evidence.marks_of(run) if run else Html('')


def picture(figure: Figure, evidence: Evidence, album: Album) -> Html:
    training = figure.training
    if training is None:
        marks = all_marks(evidence.marks(name) for name in ('fakes_dataset', 'synthetic_dataset'))
        return album.show(figure.file, joined([figure.caption, marks]), figure.caption, figure.command)
    run = evidence.newest(training.name)
    marks = evidence.marks_of(run) if run else evidence.marks(training.dataset)
    caption = f'{figure.caption}: {training.model} on {training.dataset}'
    wide = 'pairs' in figure.file  # a page of small pictures
    return album.show(figure.file, joined([caption, marks]), caption, figure.command, wide, figure.of)


def listing(file: str, name: str) -> Html:
    """The source of a function of the project, folded away."""
    text = (PROJECT / file).read_text(encoding='utf-8')
    node = ast.parse(text)
    for inner in name.split('.'):
        node = next(child for child in node.body if getattr(child, 'name', '') == inner)
    source = ast.get_source_segment(text, node, padded=True)
    inside = element('pre', element('code', source), tabindex='0')
    return element('details', element('summary', f'{file}: {name}'), inside)
