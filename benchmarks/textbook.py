"""The obvious solution of the assignment, as a textbook would write it. The project's speed is measured against it:

python benchmarks/textbook.py demo_datasets train_main.py -d fakes_dataset -m SimpleNet -e 5     # into this folder

Pillow opens the pictures, torchvision transforms them one by one, a DataLoader without workers puts them together.
Networks apply ReLU before the pooling and keep PyTorch's default memory format, Adam is the default one, evaluation
goes the way of training, and the C library's allocator is left as it is.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import transforms

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bonus_model import BonusNet  # noqa: E402
from models import MyNet, SimpleNet, get_xception_based_model  # noqa: E402

NORMALIZE = transforms.Normalize((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
TEST = transforms.Compose([transforms.ToTensor(), NORMALIZE])
TRAIN = transforms.Compose([transforms.RandomCrop(256, padding=4), transforms.RandomHorizontalFlip(), *TEST.transforms])


class Faces(Dataset):
    def __init__(self, folder: str | Path, transform):
        self.files = [
            (path, label) for label in (0, 1) for path in sorted(Path(folder, ('real', 'fake')[label]).iterdir())
        ]
        self.transform = transform

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        path, label = self.files[index]
        return self.transform(Image.open(path).convert('RGB')), label

    def __len__(self) -> int:
        return len(self.files)


# --- networks: the project's layers, so that one seed gives one set of weights ------------------------------------


class PlainSimpleNet(SimpleNet):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3):
            x = self.pool(self.relu(convolution(x)))
        x = self.relu(self.fc1(x.flatten(1)))
        return self.fc3(self.relu(self.fc2(x)))


class PlainMyNet(MyNet):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        for convolution in (self.conv1, self.conv2, self.conv3, self.conv4, self.conv5):
            x = self.pool(self.relu(convolution(x)))
        return self.fc(self.dropout(x.flatten(1)))


def plain_xception() -> nn.Module:
    return get_xception_based_model('none')


MODELS = {
    'SimpleNet': PlainSimpleNet,
    'MyNet': PlainMyNet,
    'BonusNet': BonusNet,  # which pools nothing
    'XceptionBased': plain_xception,
}


# --- loops ------------------------------------------------------------


def train_epoch(model, loader, optimizer, criterion) -> tuple[float, float]:
    """The mean loss over the samples and the accuracy in percent."""
    model.train()
    total_loss, correct, samples = 0.0, 0, 0
    for inputs, labels in loader:
        optimizer.zero_grad()
        outputs = model(inputs)
        loss = criterion(outputs, labels)
        loss.backward()
        optimizer.step()
        total_loss += loss.item() * len(labels)
        correct += (outputs.argmax(dim=1) == labels).sum().item()
        samples += len(labels)
    return total_loss / samples, 100 * correct / samples


def evaluate(model, loader, criterion) -> tuple[float, float]:
    model.eval()
    total_loss, correct, samples = 0.0, 0, 0
    with torch.no_grad():
        for inputs, labels in loader:
            outputs = model(inputs)
            total_loss += criterion(outputs, labels).item() * len(labels)
            correct += (outputs.argmax(dim=1) == labels).sum().item()
            samples += len(labels)
    return total_loss / samples, 100 * correct / samples


def saliency_maps(model, dataset: Dataset) -> dict[int, np.ndarray]:
    """Every picture's map by a backward pass of its own, as an array a class."""
    model.eval()
    maps = {0: [], 1: []}
    for image, label in DataLoader(dataset):
        image.requires_grad_()
        model.zero_grad()
        model(image)[0, label].backward()
        maps[label.item()].append(image.grad.abs().amax(dim=1)[0].numpy())
    return {label: np.stack(of_class) for label, of_class in maps.items()}


# --- the assignment's commands ------------------------------------------------------------


def train_main(root: Path, dataset: str, name: str, epochs: int) -> None:
    """Train, keep the best epoch and plot the curves: plot_accuracy_and_loss.py's work is in here."""
    import matplotlib.pyplot as plt

    model = MODELS[name]()
    optimizer, criterion = torch.optim.Adam(model.parameters(), lr=0.001), nn.CrossEntropyLoss()
    loaders = {
        part: DataLoader(Faces(root / dataset / part, TRAIN if part == 'train' else TEST), 32, shuffle=part == 'train')
        for part in ('train', 'val', 'test')
    }
    curves, best = [], -1.0
    for _ in range(epochs):
        results = [train_epoch(model, loaders['train'], optimizer, criterion)]
        results += [evaluate(model, loaders[part], criterion) for part in ('val', 'test')]
        curves.append(results)
        if results[1][1] > best:
            best = results[1][1]
            torch.save(model.state_dict(), f'{dataset}_{name}.pt')
    for quantity in (0, 1):
        figure, ax = plt.subplots()
        ax.plot([[part[quantity] for part in results] for results in curves])
        figure.savefig(f'{dataset}_{name}_{quantity}.png')


def trained(dataset: str, name: str) -> nn.Module:
    model = MODELS[name]()
    model.load_state_dict(torch.load(f'{dataset}_{name}.pt'))
    return model.eval()


def numerical_analysis(root: Path, dataset: str, name: str) -> None:
    import matplotlib.pyplot as plt
    from sklearn.metrics import det_curve, roc_auc_score, roc_curve

    model = trained(dataset, name)
    scores, labels = [], []
    with torch.no_grad():
        for inputs, targets in DataLoader(Faces(root / dataset / 'test', TEST), 32):
            scores.append(model(inputs).numpy())
            labels.append(targets.numpy())
    scores, labels = np.concatenate(scores), np.concatenate(labels)
    for what, curve in (('roc', roc_curve), ('det', det_curve)):
        figure, ax = plt.subplots()
        for values in (scores[:, 0], scores[:, 1], scores[:, 1] - scores[:, 0]):
            ax.plot(*curve(labels, values)[:2], label=f'AuC {roc_auc_score(labels, values):.3f}')
        ax.legend()
        figure.savefig(f'{dataset}_{name}_{what}.png')


def saliency_map(root: Path, dataset: str, name: str) -> None:
    import matplotlib.pyplot as plt

    test = Faces(root / dataset / 'test', TEST)
    maps = saliency_maps(trained(dataset, name), test)
    figure, axes = plt.subplots(1, 2)
    for ax, of_class in zip(axes, maps.values(), strict=True):
        ax.imshow(of_class.mean(axis=0))
    figure.savefig(f'{dataset}_{name}_mean_saliency.png')
    in_order = [*maps[0], *maps[1]]
    figure, axes = plt.subplots(9, 8, figsize=(7, 9))
    for index, (left, right) in zip(np.random.permutation(len(test))[:36], axes.reshape(-1, 2), strict=False):
        left.imshow(test[index][0].permute(1, 2, 0).clamp(0, 1))
        right.imshow(in_order[index])
    figure.savefig(f'{dataset}_{name}_saliency.png')


def grad_cam_analysis(root: Path, dataset: str, name: str) -> None:
    import matplotlib.pyplot as plt
    from pytorch_grad_cam import GradCAM
    from pytorch_grad_cam.utils.image import show_cam_on_image

    test, model = Faces(root / dataset / 'test', TEST), trained(dataset, name)
    cam = GradCAM(model, [model.conv3])
    for label in (0, 1):
        figure, axes = plt.subplots(3, 2)
        members = [index for index, (_, other) in enumerate(test.files) if other == label]
        for index, (left, right) in zip(members, axes, strict=False):
            image = test[index][0]
            picture = image.permute(1, 2, 0).clamp(0, 1).numpy()
            left.imshow(picture)
            right.imshow(show_cam_on_image(picture, cam(image[None], targets=None)[0]))
        figure.savefig(f'{dataset}_{name}_grad_cam_{label}.png')


COMMANDS = {
    f'{function.__name__}.py': function
    for function in (train_main, numerical_analysis, saliency_map, grad_cam_analysis)
}


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('root', type=Path, help='the folder of the data sets')
    parser.add_argument('command', choices=COMMANDS, help="a command of the assignment; its other options don't matter")
    parser.add_argument('-d', '--dataset', default='fakes_dataset')
    parser.add_argument('-m', '--model', choices=MODELS, default='SimpleNet')
    parser.add_argument('-e', '--epochs', type=int)
    args, _ = parser.parse_known_args(argv)
    import matplotlib

    matplotlib.use('Agg')
    epochs = {} if args.epochs is None else {'epochs': args.epochs}
    COMMANDS[args.command](args.root, args.dataset, args.model, **epochs)


if __name__ == '__main__':
    main()
