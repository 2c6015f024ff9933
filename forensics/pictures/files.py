"""Open images safely: whatever the file holds, the answer is an RGB picture or an error that names the file."""

import warnings
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from forensics.errors import UserError

IMAGE_EXTENSIONS = frozenset(
    ['.jpg', '.jpeg', '.jfif', '.png', '.bmp', '.webp', '.tif', '.tiff', '.gif', '.ppm', '.pgm']
)

# Pillow knows three dozen more, old ones among them, which have had holes, and EPS, for which it starts a program.
FORMATS = ('JPEG', 'PNG', 'WEBP', 'TIFF', 'GIF', 'BMP', 'PPM', 'AVIF')

# Pillow refuses "decompression bombs" only at twice its own limit. No face crop comes near this.
MAX_PIXELS = 100_000_000


class BrokenFile(UserError):
    """A file that cannot be read."""

    def __init__(self, path: str | Path, reason: str):
        super().__init__(f'{path}: {reason}')
        self.path, self.reason = str(path), reason

    def __reduce__(self):  # the default pickles only the message, and workers send exceptions by pickle
        return type(self), (self.path, self.reason)


class BrokenImage(BrokenFile):
    """An image file that cannot be read."""


def is_image_file(path: Path) -> bool:
    return path.suffix.lower() in IMAGE_EXTENSIONS and not path.name.startswith('.') and path.is_file()


def image_files(folder: str | Path) -> list[str]:
    """Sorted names of the images in a folder. Hidden files, sub-folders and other kinds of files are left out."""
    return sorted(entry.name for entry in Path(folder).iterdir() if is_image_file(entry))


def open_image(path: str | Path, *, upright: bool = False, content: IO[bytes] | None = None) -> Image.Image:
    """The picture as 8-bit RGB, fully decoded; `upright` turns it as the camera noted that it was held.

    `content` is what the file holds if it is no file on the disk; then `path` is only its name.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter('ignore')  # Pillow warns of odd metadata and big images; we judge size ourselves
            with Image.open(content or path, formats=FORMATS) as image:
                if image.width * image.height > MAX_PIXELS:
                    raise BrokenImage(path, f'{image.width}x{image.height} pixels are more than {MAX_PIXELS:,}')
                image.load()
                return to_rgb(ImageOps.exif_transpose(image) if upright else image)
    except UnidentifiedImageError as error:
        raise BrokenImage(path, 'not an image') from error
    except FileNotFoundError as error:
        raise BrokenImage(path, 'no such file') from error
    except Image.DecompressionBombError as error:
        raise BrokenImage(path, f'more than {MAX_PIXELS:,} pixels') from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:  # Pillow's decoders raise all of these
        raise BrokenImage(path, f'cannot be read ({error})') from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Grey, palette, CMYK and 16-bit pictures as RGB; transparent ones on white, as a viewer shows them."""
    if image.mode == 'RGB':
        return image
    if image.mode in ('I', 'F') or image.mode.startswith('I;16'):
        # Pillow would clip 16-bit values at 255 and return a white picture.
        values = np.array(image, dtype=np.float32)  # changed in place: 100 million pixels take 400 MB
        if values.max(initial=0) > 255:
            values /= 257
        values += 0.5
        return Image.fromarray(np.clip(values, 0, 255, out=values).astype(np.uint8)).convert('RGB')
    if image.has_transparency_data:
        rgba = image.convert('RGBA')
        white = Image.new('RGBA', rgba.size, 'white')
        return Image.alpha_composite(white, rgba).convert('RGB')
    return image.convert('RGB')
