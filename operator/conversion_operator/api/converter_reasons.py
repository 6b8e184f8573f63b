"""What each reason of the converter means and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from conversion_operator.api.explanations import DISRUPTION, FAILURE, Explanation
from media_converter.contract import ExitReason

_C = ExitReason

CONVERTER_REASONS: Final[Mapping[str, Explanation]] = MappingProxyType(
    {
        _C.COMPLETED: Explanation(
            "The output file is complete and passed verification.",
            "No action is needed.",
        ),
        _C.INPUT_NOT_FOUND: Explanation(
            "There is no file at `spec.inputFile` on the shared volume.",
            "Not retried. Check the path. It is relative to the root of the volume.",
        ),
        _C.INPUT_EMPTY: Explanation(
            "The input file is empty.",
            "Not retried. Upload the file again.",
        ),
        _C.INPUT_NOT_REGULAR: Explanation(
            "`spec.inputFile` is a folder, device, pipe or socket.",
            "Not retried. Use the path of a regular file.",
        ),
        _C.PATH_NOT_ALLOWED: Explanation(
            "A path has `.` or `..` as one of its parts, goes through a symbolic link, or is too "
            "long.",
            "Not retried. Use the plain path from the root of the volume.",
        ),
        _C.UNSUPPORTED_FORMAT: Explanation(
            "The converter cannot read the format or codec of the input for this conversion type, "
            "or the encoder cannot write what is requested, for example a video of one pixel.",
            "Not retried. `status.message` says what to do. Playlists, SVG and PDF are never "
            "accepted.",
        ),
        _C.NO_VIDEO_STREAM: Explanation(
            "The file has no video stream.",
            "Not retried. To convert its audio, use `audio_to_mp3`.",
        ),
        _C.NO_AUDIO_STREAM: Explanation(
            "The file has no audio stream that can be decoded.",
            "Not retried. Play the file to check that it has audio.",
        ),
        _C.INPUT_TRUNCATED: Explanation(
            "The file is incomplete: its end is missing, for example after an interrupted upload.",
            "Not retried. Upload the file again.",
        ),
        _C.INPUT_DAMAGED: Explanation(
            "The content of the file, or a large part of it, cannot be decoded.",
            "Not retried. Repair the file or upload it again. To convert the parts of a video or "
            "of audio that can be decoded, set `spec.damagedInput` to `Convert` in a new "
            "ConversionJob.",
        ),
        _C.INPUT_TOO_LARGE: Explanation(
            "The image or video has more pixels than the converter accepts, a side of the image is "
            "too long, or the file has too many frames or pages. For an animation, the pixels of "
            "all frames are added.",
            "Not retried. `status.message` says what to do: for example, make the input smaller, "
            "or split it.",
        ),
        _C.NOTHING_IN_RANGE: Explanation(
            "`options.start` is after the end of the input, or the selected range is empty.",
            "Not retried. Choose an `options.start` before the end of the input.",
        ),
        _C.OUTPUT_IS_INPUT: Explanation(
            "`spec.inputFile` and `spec.outputFile` are the same file, for example through a link.",
            "Not retried. Choose another `spec.outputFile`.",
        ),
        _C.INVALID_OPTIONS: Explanation(
            "An option is unknown or out of range, or the extension of the output does not fit the "
            "conversion type.",
            "Not retried. Correct the option or extension that `status.message` names.",
        ),
        _C.NEEDS_MEMORY: Explanation(
            "The conversion needs more memory than its limit. The converter estimates this before "
            "it starts to convert.",
            "Not retried. Raise `spec.resources.limits.memory` to the value in `status.message`, "
            "or choose a smaller output.",
        ),
        _C.ENCRYPTED: Explanation(
            "The media in the file is encrypted (DRM, or a scrambled broadcast). The converter has "
            "no key.",
            "Not retried. Upload an unencrypted copy.",
        ),
        _C.OUTPUT_TOO_LARGE: Explanation(
            "The output would be larger than `CONVERTER_MAX_OUTPUT_BYTES`.",
            "Not retried. Choose a lower resolution or quality or a shorter range, or raise the "
            "setting. If a small input gives a large output, the input may be damaged: play it to "
            "check it.",
        ),
        _C.DECODER_CRASHED: Explanation(
            "The program that decodes the input crashed: the file triggers a bug in it, perhaps on "
            "purpose. The program cannot reach other files or the network.",
            "Not retried. Do not open the file elsewhere before you know where it comes from. "
            "`status.logs` has the SHA-256 of the input file.",
        ),
        _C.OUTPUT_EXISTS: Explanation(
            "`spec.overwrite` is false, and a file exists at `spec.outputFile` that no attempt of "
            "this conversion has written.",
            "Not retried. Delete the file or choose another `spec.outputFile`. Then create a new "
            "ConversionJob.",
        ),
        _C.INPUT_UNREADABLE: Explanation(
            "The converter is not allowed to read the input file.",
            "Not retried. Make the file and its folders readable for the user "
            "`CONVERTER_RUN_AS_USER` or the group `CONVERTER_RUN_AS_GROUP`. Then create the "
            "ConversionJob again.",
        ),
        _C.OUTPUT_NOT_WRITABLE: Explanation(
            "The converter is not allowed to write to the output's folder or to replace the "
            "existing output, or the output path is not a regular file.",
            "Not retried. Make the folder that `status.message` names writable for the user "
            "`CONVERTER_RUN_AS_USER` or the group `CONVERTER_RUN_AS_GROUP`. Then create the "
            "ConversionJob again. If the output path is a folder or a special file, choose another "
            "`spec.outputFile`.",
        ),
        _C.DISK_FULL: Explanation(
            "The shared volume is full.",
            f"{FAILURE} Delete files that are no longer needed, or enlarge the volume.",
        ),
        _C.INPUT_CHANGED: Explanation(
            "The input changed while the converter read it.",
            f"{FAILURE} Create a ConversionJob only after the upload is complete.",
        ),
        _C.OUT_OF_MEMORY: Explanation(
            "The converter needed more memory than its limit.",
            "Retried automatically, once, with up to twice the memory, unless `spec.maxRetries` is "
            "0. If it still fails, raise `spec.resources.limits.memory` in a new ConversionJob.",
        ),
        _C.STALLED: Explanation(
            "The converter made no progress for `CONVERTER_STALL_SECONDS`.",
            f"{FAILURE} If it still fails, check the speed of the volume. Also play the input "
            "file to check it.",
        ),
        _C.DEADLINE_EXCEEDED: Explanation(
            "The attempt ran longer than its time limit.",
            "Not retried. Raise `spec.timeoutSeconds` in a new ConversionJob, or choose a smaller "
            "resolution.",
        ),
        _C.TERMINATED: Explanation(
            "The container received SIGTERM, but neither its Job nor its pod was deleted.",
            f"{DISRUPTION} If it still fails, check the node: `kubectl describe node NODE`.",
        ),
        _C.IO_ERROR: Explanation(
            "The converter could not read from or write to the shared volume, or could not read "
            "back what it had written.",
            f"{FAILURE} Check the volume and the server behind it.",
        ),
        _C.VERIFICATION_FAILED: Explanation(
            "The converted file is not what was planned, or lacks the audio or the video of the "
            "input. It was discarded. `spec.outputFile` is unchanged.",
            "Not retried: another attempt would make the same file. Convert the input to a common "
            "format first, and report a bug with `status.logs`.",
        ),
        _C.INTERNAL_ERROR: Explanation(
            "The converter met an unexpected error.",
            f"{FAILURE} If it still fails, report a bug with `status.logs`.",
        ),
    }
)
