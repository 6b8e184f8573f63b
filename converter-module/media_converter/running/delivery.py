"""Keeps the temporary file of an output, and gives it its name when it is complete."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from media_converter.errors import from_os_error
from media_converter.files import paths, publish, temporary
from media_converter.files.paths import Input
from media_converter.files.temporary import Temporary
from media_converter.files.write import write_all
from media_converter.running import endings, verify
from media_converter.running.existing import Result, find_published, own_mark
from media_converter.running.process import Runner
from media_converter.running.run import Converted
from media_converter.task import Task


class Delivery:
    """The way of one output from its first byte to its name."""

    def __init__(
        self, root: int, task: Task, runner: Runner, source: Input, log: Callable[[str], None]
    ) -> None:
        self._root = root
        self._task = task
        self._runner = runner
        self._source = source
        self._log = log
        self._temporary: Temporary | None = None
        self._beside: Temporary | None = None
        self._is_published = False
        self._beside_is_published = False
        self._keeps_published = False

    def open(self) -> Temporary:
        """The temporary file. The first call creates it, and removes what killed runs left."""
        if self._temporary is None:
            target = paths.open_target(self._root, self._task.output_file, self._source)
            try:
                for name in temporary.sweep(target.folder):
                    self._log(f"removed {name}, which a killed run left")
            except OSError as error:
                folder = self._task.output_file.rpartition("/")[0]
                raise from_os_error(error, "listing the folder of the output", folder) from error
            for path in self._task.files[1:]:
                self._beside = temporary.create(paths.open_target(self._root, path, self._source))
            self._temporary = temporary.create(target)
        return self._temporary

    def publish(self, converted: Converted) -> Result:
        """Give the verified output its name. Raises ConversionError.

        If the name has got a file of an earlier attempt meanwhile, the result is that file.
        """
        written, task = self.open(), self._task
        self._source.check_unchanged()
        result = Result(os.fstat(written.fd).st_size, converted.output, converted.warnings)
        if result.size_bytes > task.max_output_bytes:
            raise endings.output_too_large(task.max_output_bytes)
        if self._beside is not None:
            self._publish_beside(self._beside, converted)
        while not self._commit(written, converted.output.sha256):
            # A file has that name now. If somebody removes it meanwhile, try again.
            if published := find_published(self._root, task, self._runner, self._source):
                self._keeps_published = True
                return published
        self._is_published = True
        return result

    def _publish_beside(self, beside: Temporary, converted: Converted) -> None:
        """Give the second file its name first: the output counts only if both have their names.

        Its mark stands for both files.
        """
        content = converted.beside
        try:
            write_all(beside.fd, content)
        except OSError as error:
            raise from_os_error(error, "writing the output") from error
        if os.pread(beside.fd, len(content) + 1, 0) != content:
            raise verify.not_readable("cannot be read back")
        digest = publish.pair_digest(content, converted.output.sha256)
        self._beside_is_published = self._commit(beside, digest)
        if not self._beside_is_published:
            path = self._task.files[1]
            fd = paths.open_existing_output(self._root, path)
            try:
                # An earlier attempt may have been killed before it gave the output its name.
                if fd is not None:
                    own_mark(fd, path, self._task)
            finally:
                if fd is not None:
                    os.close(fd)
            self._beside_is_published = beside.commit()

    def close(self) -> None:
        """Close the temporary file, and remove it unless it was published.

        While it is open, a removed file takes space on the volume.
        """
        self._withdraw_beside()
        for written, is_published in (
            (self._temporary, self._is_published),
            (self._beside, self._beside_is_published),
        ):
            if written is not None:
                if not is_published:
                    written.discard()
                written.close()
        self._temporary = self._beside = None

    def _withdraw_beside(self) -> None:
        """Remove a published second file again if the output did not get its name.

        It would tell something about another file.
        """
        if self._beside is None or not self._beside_is_published or self._temporary is None:
            return
        if self._is_published or self._keeps_published or self._temporary.is_in_place():
            return
        self._beside.withdraw()

    def _commit(self, written: Temporary, digest: str) -> bool:
        """Give the output its name. False if that name exists and must not be replaced."""
        if self._task.marks_output:
            publish.mark(written.fd, publish.Mark(self._task.conversion_uid, digest))
        try:
            self._runner.wait_for(partial(os.fsync, written.fd))
        except OSError as error:
            raise from_os_error(error, "putting the output in place") from error
        return written.commit(overwrites=self._task.overwrites)
