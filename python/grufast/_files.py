"""Files that are whole at every moment."""

import errno
import os
import stat
from contextlib import suppress
from pathlib import Path


def write_atomic(path: str | os.PathLike[str], data: bytes) -> None:
    """Put data under a path: whoever reads it finds the old file or the new one.

    The data is on the disk before it gets its name. A file that is there already
    passes its permissions on; through a symbolic link, its target is replaced.
    """
    target = Path(os.path.realpath(path))
    if not target.parent.is_dir():
        message = "no such directory"
        raise FileNotFoundError(errno.ENOENT, message, str(target.parent))
    temporary = target.parent / f".grufast-{os.urandom(8).hex()}.tmp"
    try:
        with temporary.open("xb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        with suppress(FileNotFoundError):
            temporary.chmod(stat.S_IMODE(target.stat().st_mode))
        temporary.replace(target)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        # About the file that was asked for.
        raise OSError(error.errno, error.strerror, str(target)) from error
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _sync_directory(directory: Path) -> None:
    if os.name != "posix":  # elsewhere a directory cannot be opened
        return
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
