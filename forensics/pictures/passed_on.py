"""What pictures go through on their way, at random, to train detectors that stand it: --augment passed-on."""

import random

from PIL import Image, ImageEnhance

from forensics.pictures import perturbations


class PassedOn:
    """Leaves half of the pictures as they are; scales, blurs, adds noise, changes the light and compresses the others.

    The half as it is keeps the fine traces that scaling and compressing take away, and that a generator is known by.
    Python's generator draws, so that a picture's seed decides. Every picture keeps at least `smallest` pixels a side:
    one that was made smaller than that is enlarged again, as by somebody who passes on a thumbnail.
    """

    def __init__(self, smallest: int):
        self.smallest = smallest

    def __call__(self, image: Image.Image) -> Image.Image:
        image = image.convert('RGB')
        if random.random() < 0.5:
            return image
        if random.random() < 0.4:
            image = self._scaled(image)
        if random.random() < 0.25:
            image = perturbations.blur(image, random.uniform(0.2, 1.5))
        if random.random() < 0.15:
            image = perturbations.noise(image, random.uniform(1, 8), random.getrandbits(32))
        if random.random() < 0.2:  # a screen and its screenshot
            for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
                image = change(image).enhance(random.uniform(0.8, 1.2))
        if random.random() < 0.6:
            compressed = random.choice((perturbations.jpeg, perturbations.jpeg, perturbations.webp))
            image = compressed(image, random.randint(30, 100))
        return image

    def _scaled(self, image: Image.Image) -> Image.Image:
        size = image.size
        factor = 2 ** random.uniform(-1, 1)
        filters = Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.LANCZOS
        scaled = image.resize([round(factor * side) for side in size], random.choice(filters))
        return scaled if min(scaled.size) >= self.smallest else scaled.resize(size, random.choice(filters))


AUGMENTATIONS = {'passed-on': PassedOn}
