"""Decode the pictures and the frames of videos that the sources list.

The number of a frame is its time multiplied by the average frame rate of its video, rounded. Frames are read by
seeking: to read 32 frames from an hour of video, 32 groups of pictures are decoded instead of the whole hour.
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

MAX_KEYFRAME_GAP = 250
"""The largest number of frames from one keyframe to the next that is assumed for a video without an index. It is the
default of the encoders."""


@dataclass(frozen=True, slots=True)
class FrameChoice:
    """A rule that chooses frames of a video.

    Args:
        count: The largest number of frames, which are evenly spread over the video. None means no limit.
        interval: The rule chooses from every `interval`-th frame.
    """

    count: int | None = 32
    interval: int = 1

    def of(self, numbers: Sequence[int], matching: Collection[int] = ()) -> Sequence[int]:
        """Choose from the frame numbers of a video.

        Args:
            numbers: The numbers of the frames in the video, in ascending order.
            matching: The frame numbers of its bona fide video. If some frames must be left out, and at least half of
                `count` frames have a matching number, the rule chooses only from these and ignores `interval`.

        Returns:
            The chosen frame numbers in ascending order.
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
    """An open video file, which counts and decodes its frames. Use it as a context manager.

    Args:
        path: The path of the file.
        formats: FFmpeg's names of the formats that may be opened, or None for all formats. Some of FFmpeg's formats are
            lists of other files and of URLs.

    Attributes:
        width: The stored width in pixels, before any rotation.
        height: The stored height in pixels, before any rotation.
        rate: The average number of frames per second.

    Raises:
        BadPictureError: The file does not exist, is not a video, is cut before its index, has a damaged header or no
            frame rate, or its frames are too large or too small.
    """

    def __init__(self, path: Path, formats: tuple[str, ...] | None = None) -> None:
        if not path.is_file():
            raise BadPictureError("no such file")
        try:
            options = {"format_whitelist": ",".join(formats)} if formats else {}
            self._container = av.open(str(path), options=options, metadata_errors="replace")
        except Exception as error:  # not only FFmpegError: PyAV raises other errors on a damaged header
            raise BadPictureError("does not open as a video (it is empty, truncated or not a video)") from error
        try:
            if not self._container.streams.video:
                raise BadPictureError("the file contains no video stream")
            self._stream = self._container.streams.video[0]
            if self._stream.codec_context is None:
                raise BadPictureError("the video's index is cut short")
            self._stream.thread_count = 1  # the workers of a build already use all processors
            self.width, self.height = self._stream.width, self._stream.height
            check_size(self.width, self.height)
            rate = self._stream.average_rate or self._stream.guessed_rate
            if not rate or not self._stream.time_base:
                raise BadPictureError("the video has no frame rate")
            self.rate = float(rate)
            self._ticks = 1 / (rate * self._stream.time_base)  # the duration of a frame in units of the time base
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
        """Convert a timestamp in units of the time base to a frame number."""
        return round((timestamp - self._start) / self._ticks)

    def _seek(self, number: int) -> None:
        self._container.seek(self._start + round(max(0, number) * self._ticks), stream=self._stream)

    def _packets(self) -> Iterator[Any]:
        """Yield the intact packets up to the end of the file, or up to the point where it was cut."""
        try:
            for packet in self._container.demux(self._stream):
                if packet.size and not packet.is_corrupt:
                    yield packet
        except FFmpegError:
            return

    def count(self) -> tuple[int, int]:
        """Count the frames without decoding them.

        Returns:
            The number of frames in the file, and the number that its header states. The first is smaller if the file
            was cut.
        """
        seconds = (self._container.duration or 0) / 1_000_000
        stated = self._stream.frames or round(seconds * self.rate)
        # An intact file ends where its header says. Reading its end first usually avoids reading all of it.
        for start in (stated - 1, 0):
            try:
                self._seek(start)
            except FFmpegError:
                continue
            timestamps = [p.dts if p.pts is None else p.pts for p in self._packets()]
            numbers = sorted({self._number(timestamp) for timestamp in timestamps if timestamp is not None})
            if start and (not numbers or numbers[-1] < stated - 1):
                continue
            present = numbers[-1] + 1 if numbers else 0
            if present < stated:
                # Before a cut, frames that are shown later may be stored first: count only up to the first gap.
                missing = set(range(max(0, present - 32), present)) - set(numbers)
                present = min(missing, default=present)
            return present, max(present, stated)
        return 0, stated

    def frames(self, numbers: Iterable[int]) -> Iterator[tuple[int, Pixels]]:
        """Decode the frames with the given numbers, in ascending order.

        If the frame rate varies, there may be no frame with a given number; the next frame is then yielded. Frames that
        are missing from the file or do not decode are skipped.

        Args:
            numbers: The numbers of the frames, in any order. Duplicates are ignored.

        Yields:
            The given number and the upright frame in RGB, shape (height, width, 3).
        """
        # x264 writes its version into the first frame only. FFmpeg needs it to decode what older versions encoded.
        self._decode_from(0)
        keyframes = [self._number(e.timestamp) for e in self._stream.index_entries if e.is_keyframe]
        decoded: Iterator[tuple[int, Any]] = iter(())
        position, current = -1, None
        for number in sorted(set(numbers)):
            must_seek = number - position > MAX_KEYFRAME_GAP or any(position + 1 < key <= number for key in keyframes)
            if current is None or (position < number and must_seek):
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
        """Seek to a keyframe at or before a frame. Return the later frames, its number and the keyframe."""
        offset = 0
        while True:
            try:
                self._seek(number - offset)
            except FFmpegError:
                return iter(()), number, None
            decoded = self._intact_frames()
            position, current = next(decoded, (number, None))
            # If the index is in decoding order, the keyframe may be shown after the frame. Seek further back then.
            if (current is not None and position <= number) or offset >= number:
                return decoded, position, current
            offset = min(number, max(16, 4 * offset))

    def _intact_frames(self) -> Iterator[tuple[int, Any]]:
        """Yield the number and the frame of all intact frames from the current position on."""
        for packet in chain(self._packets(), (None,)):
            try:
                frames = self._stream.codec_context.decode(packet)
            except FFmpegError:
                continue
            for frame in frames:
                timestamp = frame.dts if frame.pts is None else frame.pts
                if timestamp is not None and not frame.is_corrupt:
                    yield self._number(timestamp), frame


def read_items(items: Iterable[SourceItem]) -> Iterator[tuple[SourceItem, Pixels | BadPictureError]]:
    """Decode the pictures and frames of items.

    A video is opened once for consecutive items that are frames of it.

    Args:
        items: The items to decode. Frames of a video file are named by `SourceItem.frame`, which defaults to 0.

    Yields:
        The item and its upright RGB pixels, shape (height, width, 3), or the error if it cannot be decoded. Consecutive
        items of one video are sorted by their frame numbers.
    """
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
                        yield item, BadPictureError(f"frame {item.frame} does not decode; the video may be cut short")
                    else:
                        yield item, pixels
        except BadPictureError as error:
            for item in wanted:
                yield item, error
