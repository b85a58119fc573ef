"""What `maskrcnn predict` does with videos, cameras and streams."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskrcnn.cli.common import progress_bar, refuse_options, say
from maskrcnn.errors import DataError, UserError
from maskrcnn.shell import counted, printable

if TYPE_CHECKING:
    from maskrcnn.runtime.engine import Runner
    from maskrcnn.video.predict import VideoSummary
    from maskrcnn.video.source import Source

MOST_LINES = 10  # about the images of a sequence

Track = Annotated[
    bool, typer.Option("--track", help="Of videos: give each object a number that it keeps in all frames.")
]
Count = Annotated[
    Path | None,
    typer.Option(
        metavar="ZONES.json",
        help="Of videos: count tracked objects at the lines and in the areas of this file"
        " (docs/predict-video.md).",
    ),
]
Fps = Annotated[
    float | None,
    typer.Option(
        metavar="N", help="Images are the frames of a video, N a second: a folder or shots/%05d.png."
    ),
]
AllowNetwork = Annotated[
    bool, typer.Option("--allow-network", help="Open addresses of streams (rtsp://, http://).")
]


def find_videos(
    sources: list[str],
    kinds: list[str],
    *,
    track: bool,
    count: Path | None,
    fps: float | None,
    allow_network: bool,
) -> list[Source]:
    """The videos among `sources`; none where all are images.

    Args:
        kinds: of what `--save` asks for.

    Raises:
        UserError: videos and images together, PyAV is not installed, an option that has no effect, or a
            source that cannot be.
    """
    from maskrcnn.video.source import video_source

    found = [video_source(source, allow_network=allow_network, fps=fps) for source in sources]
    each: dict[tuple[str, str], Source] = {}
    for video in found:
        if video is not None:
            each.setdefault(_place(video), video)  # each once, as images
    videos = list(each.values())
    if not videos:
        options: dict[str, object] = {"--track": track, "--count": count, "--allow-network": allow_network}
        refuse_options(options, "is for videos, and these are images")
    elif None in found:
        images = sources[found.index(None)]
        raise UserError(f"{images}: images and videos are predicted by a command each; give the videos alone")
    else:
        from maskrcnn.video.predict import check_videos
        from maskrcnn.video.zones import read_zones

        check_videos(videos, kinds)
        if count is not None:
            read_zones(count)
    return videos


def _place(video: Source) -> tuple[str, str]:
    """What a video's file has in common with other spellings of its path; links are files of their own."""
    if video.kind in ("file", "images"):
        folder, name = os.path.split(video.address.rstrip("/"))
        return os.path.realpath(folder), name
    return video.kind, video.address


def named_on_stdin(sources: list[str]) -> list[str]:
    """The sources, each once, in place of `-` the paths on standard input, one a line."""
    named: list[str] = []
    for source in dict.fromkeys(sources):  # standard input can be read once
        if source != "-":
            named.append(source)
            continue
        named += paths_on_stdin()
    return named


def paths_on_stdin() -> list[str]:
    """The lines on standard input that are not empty, without the mark with which lists of Windows begin.

    Raises:
        UserError: there is none.
    """
    lines = sys.stdin or ()  # None where it is closed
    paths = [line for line in (line.rstrip("\r\n").removeprefix("\ufeff") for line in lines) if line]
    if not paths:
        raise UserError("-: no path came on standard input; give one a line")
    return paths


def predict_and_tell(
    model: Runner, videos: list[Source], out: Path, *, track: bool, count: Path | None, **options: Any
) -> None:
    """
    Args:
        count: the file of the zones.
        options: as `predict_videos` takes them.

    Raises:
        DataError: a video could not be read to its end, or frames of it are damaged.
    """
    from maskrcnn.video.predict import predict_videos
    from maskrcnn.video.zones import read_zones

    zones = [] if count is None else read_zones(count, model.config.classes)
    options |= {"track": track, "zones": zones}
    incomplete = 0
    with progress_bar("predicting") as progress:
        for summary in predict_videos(model, videos, out, progress=progress, **options):
            incomplete += _tell(summary, out, track or bool(zones))
    if incomplete:
        raise DataError(f"{incomplete} of {len(videos)} videos could not be read in full")


def _tell(summary: VideoSummary, out: Path, tracked: bool) -> bool:
    """Print what was found in a video and, on stderr, what was not; whether that is worth an exit code."""
    shown = summary.source.shown
    found = ", ".join(f"{count} {name}" for name, count in summary.objects.most_common()) or "nothing"
    verb = "followed" if tracked else "found"
    print(printable(f"{verb} {found} in {counted(summary.frames, 'frame')} of {shown}: {out}"))
    if summary.resumed:
        say(f"{shown}: was done before; --no-resume does it again")
    if summary.anew:
        say(f"{shown}: an earlier run stopped partway; it was done again from the start")
    for row in summary.counts:
        entered = f"{row.entered} {row.name}".rstrip()
        inside = "" if row.inside is None else f", {row.inside} inside at the end"
        print(printable(f"{row.zone}: {entered} in, {row.left} out{inside}"))
    for line in summary.unreadable[:MOST_LINES]:
        say(f"warning: {line}")
    if summary.damaged:
        say(f"warning: {shown}: {counted(summary.damaged, 'frame')} damaged or missing")
    if summary.capped:
        from maskrcnn.predict.predictor import capped_line

        say(f"warning: {shown}: {capped_line(summary.capped, 'frame')}; add --tiles, half a frame's side")
    if summary.set_back:
        say(f"{shown}: its time goes back {counted(summary.set_back, 'time')}; it goes on by a frame there")
    if summary.audio_left_out:
        say(f"warning: {shown}: an MP4 cannot hold its audio ({summary.audio_left_out}), which is left out")
    if summary.dropped:
        say(f"{shown}: {counted(summary.dropped, 'frame')} dropped, to keep up with the source")
    if summary.lost:
        say(f"{shown}: lost {summary.lost} times and found again; the gaps are marked in the .jsonl")
    if summary.failed:
        say(f"warning: {summary.failed}")
    return bool(summary.damaged or summary.failed)
