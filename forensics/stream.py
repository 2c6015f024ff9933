"""An endless stream of pictures with a known history, in blocks: block n of a seed is the same wherever it is made."""

import functools
from dataclasses import dataclass

import cv2
import numpy as np
from torch.utils.data import Dataset

from forensics.camera import to_bytes
from forensics.drawn_faces import draw_face
from forensics.histories import CLASSES, apply_trace, compressed, photograph
from forensics.people import draw_moment, draw_person
from forensics.textures import draw_texture

SCENES = 16  # in view of a block; many pictures show one scene, so that the scene does not tell the trace
ALIKE = 4  # pictures of a block that show the same photograph
BLOCKS = 8  # one after the other that show the same scenes, as drawing those is most of the work
FACES = 0.25  # of the scenes: a face takes ten times as long to draw as a texture
MARGIN = 24  # cut off in the end, so that no filter's border shows and the blocks of the JPEG start anywhere


@dataclass(frozen=True)
class Recipe:
    """What the pictures of a stream are."""

    size: int = 96
    pictures: int = 32  # in a block
    faces: float = FACES
    classes: tuple[str, ...] = CLASSES
    faintest: float = 0.0  # strength
    quality: int = 70  # the lowest of the last JPEG


class Blocks(Dataset):
    """Block number -> (pictures as bytes, classes, strengths)."""

    def __init__(self, recipe: Recipe, seed: int):
        self.recipe, self.seed = recipe, seed
        cv2.setNumThreads(1)  # here, too: a forked process would wait for ever for threads that only its parent has

    def __getitem__(self, number: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        cv2.setNumThreads(1)  # the other cores have their own blocks
        scenes = draw_scenes(self.recipe.size, self.recipe.faces, self.seed, number // BLOCKS)
        return draw_block(self.recipe, scenes, np.random.default_rng([self.seed, number]))


@functools.lru_cache(maxsize=1)
def draw_scenes(size: int, faces: float, seed: int, number: int) -> list[np.ndarray]:
    rng = np.random.default_rng([seed, number, SCENES])
    return [draw_scene(size, faces, rng) for _ in range(SCENES)]


def draw_scene(size: int, faces: float, rng: np.random.Generator) -> np.ndarray:
    size += MARGIN
    if rng.random() < faces:
        return draw_face(draw_person(rng), draw_moment(rng), rng, max(256, size)).image
    return draw_texture(rng, max(160, size))


def draw_block(recipe: Recipe, scenes: list, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    # The opposite of every trace is none.
    weights = np.array([3.0 if name == 'untouched' else 1.0 for name in recipe.classes])
    classes = rng.choice(len(recipe.classes), recipe.pictures, p=weights / weights.sum())
    strengths = rng.uniform(recipe.faintest, 1, recipe.pictures).astype(np.float32)
    # The same photograph carries several traces: then nothing but the trace can tell them apart.
    photographs = [take_photograph(scenes, recipe.size + MARGIN, rng) for _ in range(-(-recipe.pictures // ALIKE))]
    pictures = np.stack(
        [
            draw_sample(recipe, recipe.classes[label], float(strength), photographs[index // ALIKE], scenes, rng)
            for index, (label, strength) in enumerate(zip(classes, strengths, strict=True))
        ]
    )
    return pictures, classes.astype(np.int64), strengths


def take_photograph(scenes: list, size: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """A piece of a scene, and what a camera made of it."""
    light = piece(scenes, size, rng)
    return light, photograph(light, rng)


def draw_sample(
    recipe: Recipe, name: str, strength: float, taken: tuple, scenes: list, rng: np.random.Generator
) -> np.ndarray:
    """One picture: a photograph, the trace, a JPEG."""
    size = recipe.size
    light, image = taken
    other = image
    if name.startswith('splice'):  # mostly of the same scene: not what is planted there shall tell, but its history
        other = light if rng.random() < 0.7 else piece(scenes, size + MARGIN, rng)
        other = photograph(other, rng)
    image = apply_trace(name, image, other, strength, rng)
    image = cut_out(image, size + 8, 8 + rng.integers(0, MARGIN - 16 + 1, 2))
    image = compressed(image, rng.integers(recipe.quality, 101), int(rng.choice([0, 2])))
    return to_bytes(cut_out(image, size, rng.integers(0, 9, 2)))


def piece(scenes: list[np.ndarray], size: int, rng: np.random.Generator) -> np.ndarray:
    """A square of a scene, turned and mirrored at random."""
    scene = scenes[rng.integers(len(scenes))]
    window = cut_out(scene, size, rng.integers(0, scene.shape[0] - size + 1, 2))
    window = np.rot90(window, rng.integers(4) if rng.random() < 0.5 else 0)
    return np.ascontiguousarray(window[:, ::-1] if rng.random() < 0.5 else window)


def cut_out(image: np.ndarray, size: int, corner: np.ndarray) -> np.ndarray:
    y, x = corner
    return image[y : y + size, x : x + size]
