"""What others reported of the same questions, to stand beside ours: their data, their splits, their figures."""

from typing import NamedTuple


class Student(NamedTuple):
    dataset: str
    model: str
    first: str  # report 1: best validation accuracy -> its test accuracy
    second: str


STUDENTS = (
    Student('fakes_dataset', 'SimpleNet', '87.29% → 84.62% (epoch 3)', '87.5% → 81.1% (epoch 5), AuC 0.885 and 0.116'),
    Student('synthetic_dataset', 'SimpleNet', '50.04% → 50.04%, a constant predictor', '50.04% → 49.95%'),
    Student('synthetic_dataset', 'XceptionBased', '97.27% → 97.10% (epoch 2)', '94.7% → 96.1% (epoch 2)'),
)
BONUS = 'report 2: MyNet, 34,850 parameters, AuC 95.8, score 2.61 by its formula (2.89 in print)'
# The lab report: AuC of the spectrum with each kernel on UADFV.
KERNELS = {'svm-poly': '0.78', 'svm-linear': '0.71', 'svm-rbf': '0.73', 'svm-sigmoid': '0.42'}
LAB = (
    'The lab report took UADFV, and had AuC 0.43 on Celeb-DF without training again; 0.62 with the features of '
    'ResNet-50 and a linear kernel on a third set. Augmentation and joined features brought it no gain.'
)
# The slides' two approaches, on 16,000 balanced faces of a set like DFDC.
SLIDES = {'CustomCNN': ('own CNN from scratch', '49.6%'), 'XceptionTransfer': ('Xception, transfer learning', '82.66%')}
