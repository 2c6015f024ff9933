"""Imports point down only: command -> by name -> building -> forensics, and so do those between the wings of forensics
(see README, "How it is built")."""

import ast
import subprocess
import sys

import pytest
from conftest import PROJECT

LAYERS = [
    {'common', 'faces_dataset', 'trainer', 'models', 'xception', 'bonus_model'},  # building
    {'options', 'detectors', 'utils'},  # by name
]
ROOT_MODULES = {path.stem for path in PROJECT.glob('*.py')}
FORENSICS = sorted((PROJECT / 'forensics').rglob('*.py'))

TOP = {'records', 'errors', 'weights'}  # what lies in forensics/ itself; every wing may import it
WINGS = {  # and the other wings that a wing may import
    'drawing': set(),
    'pictures': set(),
    'running': {'pictures'},
    'data': {'running', 'pictures'},
    'judging': {'running', 'pictures', 'data'},  # of data the names of the classes, and the parts that are scored
    'reporting': {'judging', 'data'},  # what they left on disk, in sentences, tables and figures
    'classical': {'running', 'pictures', 'judging'},  # of judging what every detector is
}


def layer(module: str) -> int:
    return next((number for number, names in enumerate(LAYERS) if module in names), len(LAYERS))


def imported_modules(path) -> set[str]:
    """First names of everything imported anywhere in the file, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split('.')[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module.split('.')[0])
    return names


@pytest.mark.parametrize('path', FORENSICS, ids=lambda path: f'{path.parent.name}.{path.stem}')
def test_forensics_never_imports_the_root(path):
    assert not imported_modules(path) & ROOT_MODULES


def test_forensics_has_seven_wings_and_little_at_its_top():
    inside = {path.relative_to(PROJECT / 'forensics').with_suffix('').parts for path in FORENSICS}
    assert {parts[0] for parts in inside if len(parts) == 1} == {*TOP, '__init__'}
    assert {parts[0] for parts in inside if len(parts) > 1} == WINGS.keys()
    assert all(not (PROJECT / 'forensics' / wing / '__init__.py').read_text() for wing in WINGS)  # or torch may come in


def rooms(path) -> set[str]:
    """Wings and top modules of forensics that are imported anywhere in the file, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f'{path.name} imports by dots, which this test cannot follow'
            names |= {f'{node.module}.{alias.name}' for alias in node.names}
    return {name.split('.')[1] for name in names if name.startswith('forensics.')}


@pytest.mark.parametrize('path', FORENSICS, ids=lambda path: f'{path.parent.name}.{path.stem}')
def test_the_wings_of_forensics_import_downwards(path):
    wing = path.parent.name
    allowed = TOP | ({wing} | WINGS[wing] if wing in WINGS else set())
    assert rooms(path) <= allowed, f'{wing} must not import {rooms(path) - allowed}'


@pytest.mark.parametrize('module', sorted(ROOT_MODULES))
def test_imports_point_down(module):
    for imported in imported_modules(PROJECT / f'{module}.py') & ROOT_MODULES:
        command = layer(imported) == len(LAYERS)
        assert not command, f'{module} imports the command {imported}'
        assert layer(imported) <= layer(module), f'{module} imports {imported} from above'


LIGHT = [
    'plot_samples_of_faces_datasets', 'plot_accuracy_and_loss', 'answer_questions', 'make_demo_data', 'audit_dataset',
    'preprocessing', 'compare_detectors', 'make_report', 'predict', 'app',
]  # fmt: skip
HELP = """
import runpy, sys
sys.argv = [sys.argv[1], '--help']
try:
    runpy.run_path(sys.argv[0], run_name='__main__')
finally:
    print('torch' in sys.modules)
"""


@pytest.mark.parametrize('module', LIGHT)
def test_scripts_that_only_read_or_draw_do_not_import_torch(module):
    """Nor does their help."""
    command = [sys.executable, '-c', HELP, f'{module}.py']
    done = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0 and '--help' in done.stdout and done.stdout.endswith('False\n'), done.stderr


def test_importing_prints_and_writes_nothing(tmp_path):
    """In one process, because each would import torch anew; whose doing it is shows in what is printed."""
    code = f'import sys; sys.path.insert(0, {str(PROJECT)!r}); import {", ".join(sorted(ROOT_MODULES))}'
    done = subprocess.run([sys.executable, '-c', code], cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stdout, done.stderr) == (0, '', '')
    assert list(tmp_path.iterdir()) == []
