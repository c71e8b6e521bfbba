"""Degrade training images as cameras, editors and platforms do, in the same way for bona fide and forged faces.

A tower that has seen clean bona fide faces and recompressed forgeries learns the compression instead of the forgery.
`augment` does not know the label. It is fast enough to run while a tower trains.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Final

import av
import cv2
import numpy as np

from dfa_instruct.face.colour import to_lab, to_rgb
from dfa_instruct.records import Pixels


def augment(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Randomly degrade an image, in the order of `OPERATIONS`.

    Args:
        image: An RGB image, shape (height, width, 3).
        rng: The only source of randomness. The same state gives the same image.

    Returns:
        The degraded image, in the same shape. Some images stay as they are.
    """
    for operation, share in OPERATIONS.items():
        if rng.random() < share:
            image = operation(image, rng)
    return image


def colour(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Change contrast, brightness, saturation and tint."""
    lab = to_lab(image)
    lab[..., 0] = 50 + rng.uniform(0.8, 1.2) * (lab[..., 0] - 50) + rng.uniform(-8, 8)
    lab[..., 1:] = rng.uniform(0.7, 1.3) * lab[..., 1:] + rng.uniform(-4, 4, 2).astype(np.float32)
    return np.rint(to_rgb(lab)).astype(np.uint8)


def blur(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Blur by a Gaussian with a standard deviation of 0.3 to 1.5 pixels."""
    return np.asarray(cv2.GaussianBlur(image, (0, 0), rng.uniform(0.3, 1.5)), np.uint8)


def rescale(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Resize an image to between 0.4 and 1.5 times its size and back, with random interpolations."""
    height, width = image.shape[:2]
    factor = rng.uniform(0.4, 1.5)
    size = max(1, round(width * factor)), max(1, round(height * factor))
    there, back = rng.choice([cv2.INTER_AREA, cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_LANCZOS4], 2).tolist()
    scaled = cv2.resize(image, size, interpolation=there)
    return np.asarray(cv2.resize(scaled, (width, height), interpolation=back), np.uint8)


def noise(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Add Gaussian noise with a standard deviation of 1 to 8 levels of 255."""
    grain = rng.standard_normal(image.shape, np.float32) * np.float32(rng.uniform(1, 8))
    return np.rint((image + grain).clip(0, 255)).astype(np.uint8)


def h264(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Encode as the second frame of a video in H.264, with a constant rate factor of 20 to 40, and decode it.

    The first frame is the same picture, shifted by one pixel, so that the second is predicted from it, as nearly all
    frames of a video are.
    """
    height, width = image.shape[:2]
    # The colours of 4:2:0 need even sides.
    even = cv2.copyMakeBorder(image, 0, height % 2, 0, width % 2, cv2.BORDER_REPLICATE)
    encoder = av.VideoCodecContext.create("libx264", "w")
    encoder.height, encoder.width = even.shape[:2]
    encoder.pix_fmt, encoder.framerate = "yuv420p", Fraction(25)
    crf = str(int(rng.integers(20, 41)))
    encoder.options = {"preset": "ultrafast", "tune": "zerolatency", "crf": crf, "threads": "1"}
    decoder = av.VideoCodecContext.create("h264", "r")
    decoder.thread_count = 1
    packets = []
    for pixels in (np.roll(even, 1, axis=1), even):
        picture = np.ascontiguousarray(pixels, np.uint8)
        packets += encoder.encode(av.VideoFrame.from_ndarray(picture, format="rgb24"))
    frames = [frame for packet in [*packets, *encoder.encode(None), None] for frame in decoder.decode(packet)]
    return np.asarray(frames[-1].to_ndarray(format="rgb24")[:height, :width], np.uint8)


def jpeg(image: Pixels, rng: np.random.Generator) -> Pixels:
    """Encode as a JPEG with a quality of 40 to 95, and decode it."""
    quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(40, 96))]
    # The codec takes the channels as blue, green, red, and treats them differently.
    _, encoded = cv2.imencode(".jpg", image[..., ::-1], quality)
    return np.ascontiguousarray(np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)[..., ::-1])


OPERATIONS: Final[dict[Callable[[Pixels, np.random.Generator], Pixels], float]] = {
    colour: 0.4,
    blur: 0.2,
    rescale: 0.3,
    noise: 0.2,
    h264: 0.15,
    jpeg: 0.6,
}
"""Operation → the share of images that it is applied to, applied in this order."""
