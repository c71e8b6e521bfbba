"""Pixels: decoding the pictures and the single frames of videos that the sources name.

A frame of a video is named by its number: its time multiplied by the video's average rate, rounded. A video's frames
are read by seeking, so that 32 frames of an hour cost 32 groups of pictures and not the hour.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, groupby
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.error import FFmpegError

from dfa_instruct.records import Pixels
from dfa_instruct.sources import SourceItem
from dfa_instruct.sources.pictures import BadPictureError, check_size, read_image
from dfa_instruct.sources.walk import is_video

LONGEST_GROUP = 250
"""Frames from one that can be sought to the next, at most, in a video without an index (the encoders' default)."""


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """Which frames of a video are taken: of every `interval`-th one, at most `count`, evenly spread."""

    count: int | None = 32
    interval: int = 1

    def of(self, numbers: Sequence[int], matching: Collection[int] = ()) -> Sequence[int]:
        """Choose among the frame numbers of a video, in order.

        Args:
            numbers: the frames that there are, ascending.
            matching: the frames of its bona fide video; they are chosen from where they give half as many at least.
        """
        candidates = numbers[:: self.interval]
        if self.count is None or len(candidates) <= self.count:
            return candidates
        common = [number for number in numbers if number in matching]
        if 2 * len(common) >= self.count:
            candidates = common
        if (total := len(candidates)) <= self.count:
            return candidates
        return [candidates[(2 * i + 1) * total // (2 * self.count)] for i in range(self.count)]


class Video:
    """A video file, open: how many frames it has, and some of them. A context manager.

    Attributes:
        width, height: in pixels, as they are stored.
        rate: frames a second, on average.

    Args:
        path: the file.
        formats: FFmpeg's names of those that are opened; None: all. Some of them are lists of other files and of URLs.

    Raises:
        BadPictureError: on opening, it is not a video, is cut before its index, or its pictures are too large or small.
    """

    def __init__(self, path: Path, formats: tuple[str, ...] | None = None) -> None:
        if not path.is_file():
            raise BadPictureError("no such file")
        try:
            options = {"format_whitelist": ",".join(formats)} if formats else {}
            self._container = av.open(str(path), options=options, metadata_errors="replace")
        except Exception as error:  # FFmpeg's errors, but also others: PyAV reads what a damaged header says
            raise BadPictureError("does not open as a video (it is empty, truncated or not a video)") from error
        try:
            if not self._container.streams.video:
                raise BadPictureError("no picture in this video")
            self._stream = self._container.streams.video[0]
            if self._stream.codec_context is None:
                raise BadPictureError("the video's index is cut short")
            self._stream.thread_count = 1  # the engine's workers share the processors already
            self.width, self.height = self._stream.width, self._stream.height
            check_size(self.width, self.height)
            rate = self._stream.average_rate or self._stream.guessed_rate
            if not rate or not self._stream.time_base:
                raise BadPictureError("the video states no frame rate")
            self.rate = float(rate)
            self._ticks = 1 / (rate * self._stream.time_base)  # from one frame to the next
            self._start = self._stream.start_time or 0
        except BaseException as error:
            self._container.close()
            if isinstance(error, BadPictureError) or not isinstance(error, Exception):
                raise
            raise BadPictureError("the video's header is damaged") from error

    def __enter__(self) -> Video:
        return self

    def __exit__(self, *_: object) -> None:
        self._container.close()

    def _number(self, timestamp: int) -> int:
        return round((timestamp - self._start) / self._ticks)

    def _seek(self, number: int) -> None:
        self._container.seek(self._start + round(max(0, number) * self._ticks), stream=self._stream)

    def _packets(self) -> Iterator[Any]:
        """Yield the whole packets up to the end, or to where the file was cut."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size and not packet.is_corrupt:
                    yield packet
        except FFmpegError:
            return

    def count(self) -> tuple[int, int]:
        """Count the frames without decoding: those that are in the file, and those that its header promises."""
        seconds = (self._container.duration or 0) / 1_000_000
        promised = self._stream.frames or round(seconds * self.rate)
        # a whole file ends where it promises: looking at its tail spares reading it all
        for start in (promised - 1, 0):
            try:
                self._seek(start)
            except FFmpegError:
                continue
            stamps = [p.dts if p.pts is None else p.pts for p in self._packets()]
            numbers = sorted({self._number(stamp) for stamp in stamps if stamp is not None})
            if start and (not numbers or numbers[-1] < promised - 1):
                continue
            present = numbers[-1] + 1 if numbers else 0
            if present < promised:  # of the frames at a cut, those shown later come first: end before the first gap
                tail = set(range(max(0, present - 32), present)) - set(numbers)
                present = min(tail, default=present)
            return present, max(present, promised)
        return 0, promised

    def frames(self, numbers: Iterable[int]) -> Iterator[tuple[int, Pixels]]:
        """Yield the frames of these numbers, ascending, as RGB, upright, shape (height, width, 3).

        A number that no frame has (the rate varies) gives the next frame. Frames that the file lacks or that do not
        decode are not yielded.
        """
        # x264 says in the first frame only which version it is, and FFmpeg decodes those that older ones wrote by that
        self._decode_from(0)
        keys = [self._number(e.timestamp) for e in self._stream.index_entries if e.is_keyframe]
        decoded: Iterator[tuple[int, Any]] = iter(())
        position, current = -1, None
        for number in sorted(set(numbers)):
            leap = number - position > LONGEST_GROUP or any(position + 1 < key <= number for key in keys)
            if current is None or (position < number and leap):
                decoded, position, current = self._decode_from(number)
            while current is not None and position < number:
                position, current = next(decoded, (position, None))
            if current is None:
                return
            try:
                pixels = current.to_ndarray(format="rgb24")
            except FFmpegError:  # the frame's pixel format is damaged
                continue
            yield number, np.ascontiguousarray(np.rot90(pixels, round(current.rotation / 90)))

    def _decode_from(self, number: int) -> tuple[Iterator[tuple[int, Any]], int, Any]:
        """Seek to a keyframe at or before a frame; return the frames from there on, and the first one."""
        back = 0
        while True:
            try:
                self._seek(number - back)
            except FFmpegError:
                return iter(()), number, None
            decoded = self._decoded()
            position, current = next(decoded, (number, None))
            # an index in decoding order may lead to a keyframe that is shown after the frame: go further back
            if (current is not None and position <= number) or back >= number:
                return decoded, position, current
            back = min(number, max(16, 4 * back))

    def _decoded(self) -> Iterator[tuple[int, Any]]:
        for packet in chain(self._packets(), (None,)):
            try:
                frames = self._stream.codec_context.decode(packet)
            except FFmpegError:
                continue
            for frame in frames:
                stamp = frame.dts if frame.pts is None else frame.pts
                if stamp is not None and not frame.is_corrupt:
                    yield self._number(stamp), frame


def read_items(items: Iterable[SourceItem]) -> Iterator[tuple[SourceItem, Pixels | BadPictureError]]:
    """Decode items one after the other, or say why not. Neighbours of one video are read in one opening of it."""
    for path, group in groupby(items, key=lambda item: item.path):
        if not is_video(path.name):
            for item in group:
                try:
                    yield item, read_image(path)
                except BadPictureError as error:
                    yield item, error
            continue
        wanted = sorted(group, key=lambda item: item.frame or 0)
        try:
            with Video(path) as video:
                frames = video.frames(item.frame or 0 for item in wanted)
                number, pixels = next(frames, (-1, None))
                for item in wanted:
                    while pixels is not None and number < (item.frame or 0):
                        number, pixels = next(frames, (-1, None))
                    if pixels is None:
                        yield item, BadPictureError(f"frame {item.frame} does not decode (a video cut short?)")
                    else:
                        yield item, pixels
        except BadPictureError as error:
            for item in wanted:
                yield item, error
