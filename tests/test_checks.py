"""What is looked at before the work, in every command that explains a trained model."""

import pytest
from conftest import make_dataset

import grad_cam_analysis
import numerical_analysis
import saliency_map
from forensics import records
from models import MyNet

ANALYSES = [numerical_analysis, saliency_map, grad_cam_analysis]


@pytest.fixture
def checkpoint(workdir) -> str:
    records.save_checkpoint('checkpoints/x.pt', {'model': MyNet().state_dict()})
    return 'checkpoints/x.pt'


@pytest.mark.parametrize('command', ANALYSES)
def test_images_of_another_size_are_named_in_every_analysis(command, checkpoint, call_main, workdir):
    make_dataset(workdir / 'my data' / 'other', counts={'test': 1, 'val': 1}, size=200)
    status, _, said = call_main(
        command, '-d', 'other', '-m', 'MyNet', '-cpp', checkpoint, '--data-root', workdir / 'my data'
    )
    assert status == 1 and '200x200 pixels' in said
    assert f"--from '{workdir}/my data/other'" in said  # a path with a space can be pasted, too


@pytest.mark.parametrize('command', ANALYSES)
def test_what_was_trained_with_skip_broken_can_be_analysed(command, checkpoint, call_main, workdir):
    folder = make_dataset(workdir / 'data' / 'own', counts={'test': 2, 'val': 1})
    (folder / 'test' / 'real' / '000.jpg').write_text('no picture')
    line = ['-d', 'own', '-m', 'MyNet', '-cpp', checkpoint, '--data-root', workdir / 'data']
    status, _, said = call_main(command, *line)
    assert status == 1 and '000.jpg' in said and '--skip-broken' in said
    status, printed, _ = call_main(command, *line, '--skip-broken')
    assert status == 0 and str(folder / 'test') in printed  # and says where the data lies
