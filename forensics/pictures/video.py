"""Frames of a video, evenly spaced over all of it and turned upright, in any codec that FFmpeg reads (by PyAV)."""

from bisect import bisect_right
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from PIL import Image

from forensics.pictures.files import MAX_PIXELS, BrokenFile

VIDEO_EXTENSIONS = frozenset(
    ('.mp4', '.m4v', '.mov', '.avi', '.mkv', '.webm', '.mpg', '.mpeg', '.wmv', '.flv', '.3gp', '.ts')
)

# A playlist may name other files and addresses, which are not ours to open: only files that hold their own frames.
SAFE = {
    'protocol_whitelist': 'file,pipe',
    'format_whitelist': 'mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,avi,mpeg,mpegvideo,mpegts,asf,flv,live_flv,ogg',
}


class BrokenVideo(BrokenFile):
    """A video file that cannot be read."""


def is_video_file(path: Path) -> bool:
    return path.suffix.lower() in VIDEO_EXTENSIONS and not path.name.startswith('.') and path.is_file()


def sample_frames(
    path: str | Path, nof_frames: int | None, content: IO[bytes] | None = None
) -> Iterator[tuple[float, Image.Image]]:
    """(second, picture) of `nof_frames` frames spread over the whole video; None gives only the first frame.

    A video of fewer frames gives all of them. Each frame stands for an equal stretch of the video and is taken from
    that stretch's middle, because many videos begin and end with a fade. `content` is what the file holds if it is no
    file on the disk; then `path` is only its name.
    """
    import av

    av.logging.set_level(av.logging.PANIC)  # what FFmpeg says of a broken file is in its error
    try:
        with av.open(content or str(path), options=SAFE) as container:
            if not container.streams.video:
                raise BrokenVideo(path, 'holds no video stream')
            stream = container.streams.video[0]
            if stream.width * stream.height > MAX_PIXELS:
                raise BrokenVideo(path, f'{stream.width}x{stream.height} pixels are more than {MAX_PIXELS:,}')
            stream.thread_type = 'AUTO'
            if nof_frames is None:
                frame = next(container.decode(stream), None)
                if frame is None:
                    raise BrokenVideo(path, 'holds no frame')
                yield 0.0, upright(frame)
                return
            yield from spread_frames(path, container, stream, nof_frames)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise BrokenVideo(path, f'cannot be read ({getattr(error, "strerror", None) or error})') from error


def spread_frames(path, container, stream, nof_frames: int) -> Iterator[tuple[float, Image.Image]]:
    # Reading the packets without decoding them gives the true number of frames and their times. The header's
    # number is missing in some formats and wrong in videos that were cut.
    times, keys = [], []
    for packet in container.demux(stream):
        if packet.pts is not None and not packet.is_discard:
            times.append(packet.pts)
            if packet.is_keyframe:
                keys.append(packet.pts)
    times, keys = sorted(set(times)), sorted(keys)
    if not times:
        raise BrokenVideo(path, 'holds no frame')
    nof_frames = min(nof_frames, len(times))
    wanted = [times[int((i + 0.5) * len(times) / nof_frames)] for i in range(nof_frames)]

    container.seek(times[0], stream=stream)
    frames, position, found = container.decode(stream), times[0] - 1, 0
    for target in wanted:
        key = keys[bisect_right(keys, target) - 1] if keys and keys[0] <= target else None
        if key is not None and key > position:  # nothing between here and that key frame is needed
            container.seek(key, stream=stream)
            frames = container.decode(stream)
        for frame in frames:
            if frame.pts is None:
                continue
            position = frame.pts
            if position >= target:
                found += 1
                yield float((target - times[0]) * stream.time_base), upright(frame)
                break
    if not found:
        raise BrokenVideo(path, 'none of its frames can be decoded')


def upright(frame) -> Image.Image:
    """The frame as a player shows it: telephones store every video in landscape and note how they were held."""
    image = frame.to_image()
    turn = round(frame.rotation) % 360
    return image.rotate(turn, expand=True) if turn else image
