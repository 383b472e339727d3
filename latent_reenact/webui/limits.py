"""What one person may ask of a shared machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from latent_reenact.errors import CorruptFileError, LimitExceededError
from latent_reenact.media import ImageLimits, VideoLimits, is_image_path, is_video_path, probe_video
from latent_reenact.media.images import open_image


@dataclass(frozen=True, kw_only=True)
class Limits:
    """Of one upload and one job.

    upload_mb: size of a file [MiB]. picture_megapixels, video_side_px: size of what it shows.
    video_seconds, video_frames: length of a driving video, and of a film made of key-frames.
    job_seconds: how long a job may run. waiting: jobs in the queue, over all users.
    people: random portraits drawn at once. key_frames: of one film.
    """

    upload_mb: int = 64
    picture_megapixels: int = 24
    video_side_px: int = 4096
    video_seconds: float = 60.0
    video_frames: int = 1800
    job_seconds: float = 600.0
    waiting: int = 20
    people: int = 12
    key_frames: int = 24

    @property
    def of_pictures(self) -> ImageLimits:
        return ImageLimits(max_bytes=self.upload_mb << 20, max_pixels=self.picture_megapixels * 10**6)

    @property
    def of_videos(self) -> VideoLimits:
        return VideoLimits(max_side=self.video_side_px, max_seconds=self.video_seconds, max_frames=self.video_frames)

    def check(self, path: Path) -> bool:
        """Look at an uploaded file's header. Returns whether it is a video.

        Raises:
            CorruptFileError: neither a picture nor a video, or damaged. LimitExceededError.
        """
        if path.stat().st_size > self.upload_mb << 20:
            raise LimitExceededError(f"{path} has {path.stat().st_size:,} bytes; expected at most {self.upload_mb} MB")
        if is_video_path(path):
            probe_video(path, self.of_videos)
            return True
        if is_image_path(path):
            open_image(path, self.of_pictures).close()
            return False
        raise CorruptFileError(f"{path} is neither a picture nor a video")
