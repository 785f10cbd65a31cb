"""Unpacks what neither DuckDB nor Arrow decompress: zip, bzip2 and xz."""

import bz2
import lzma
import re
import shutil
import zipfile
import zlib
from collections.abc import Sequence

import tensorflow as tf

from data_prep.dataset.errors import UserError
from data_prep.rules.excerpts import list_some

#: The first bytes of a zip archive, and of an empty one.
ZIP_MAGICS = (b"PK\x03\x04", b"PK\x05\x06")
_BZIP2_MAGIC, _XZ_MAGIC = b"BZh", b"\xfd7zXZ\x00"
_CHUNK_BYTES = 1 << 20

_DAMAGES = (
    *(EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile),
    # An encrypted archive, or a method that Python does not have.
    RuntimeError,
)


def is_packed(start: bytes) -> bool:
    """Returns whether the first bytes are those of a file to unpack."""
    return start.startswith((*ZIP_MAGICS, _BZIP2_MAGIC, _XZ_MAGIC))


def split_member(path: str) -> tuple[str, str | None]:
    """Divides `DIR/archive.zip/member` into the archive and the member.

    Other paths have no member.
    """
    match = re.fullmatch(r"(.*?\.zip)/(.+)", path, re.IGNORECASE)
    if match and not tf.io.gfile.isdir(match[1]):
        return match[1], match[2]
    return path, None


def unpack(path: str, name: str, copy: str) -> None:
    """Decompresses a file of bzip2 or xz.

    Args:
        path: the local file.
        name: its name in messages.
        copy: the path of the decompressed copy.

    Raises:
        UserError: if the file is damaged.
    """
    try:
        with open(path, "rb") as file:
            is_bzip2 = file.read(3) == _BZIP2_MAGIC
        opener = bz2.open if is_bzip2 else lzma.open
        with opener(path, "rb") as source, open(copy, "wb") as target:
            shutil.copyfileobj(source, target, _CHUNK_BYTES)
    except (*_DAMAGES, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # Such as a full disk.
        raise UserError(f"{name} is damaged: {error}") from error


def extract_member(
    path: str,
    member: str | None,
    wanted: Sequence[str],
    name: str,
    copy: str,
) -> str:
    """Extracts one file of a zip archive.

    Args:
        path: the local archive.
        member: the file; `None` for the only one, or the one that is wanted.
        wanted: regular expressions of the names that are wanted, the best
            first.
        name: the name of the archive in messages.
        copy: the path of the extracted copy.

    Returns:
        The name of the file in messages.

    Raises:
        UserError: if it is not clear which file is meant, or the archive is
            damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            if member is None:
                member = _choose(archive.namelist(), wanted, name)
                name = f"{name}/{member}"
            elif member not in archive.namelist():
                raise UserError(
                    f"{name}: the archive holds no such file. It holds"
                    f" {list_some(archive.namelist())}."
                )
            with archive.open(member) as source, open(copy, "wb") as target:
                shutil.copyfileobj(source, target, _CHUNK_BYTES)
    except _DAMAGES as error:
        raise UserError(f"{name} cannot be unpacked: {error}") from error
    return name


def _choose(members: Sequence[str], wanted: Sequence[str], name: str) -> str:
    if "xl/workbook.xml" in members:
        raise UserError(
            f"{name} is an Excel workbook. Save it as CSV, one sheet per file."
        )
    files = [
        member
        for member in members
        if not re.search(r"/$|^__MACOSX/|(^|/)\.", member)
    ]
    for pattern in (*wanted, ""):
        found = [m for m in files if re.search(pattern, m, re.IGNORECASE)]
        if len(found) == 1:
            return found[0]
        if found:
            break
    if not files:
        raise UserError(f"{name} is a zip archive without files.")
    raise UserError(
        f"{name} is a zip archive of {len(files)} files:"
        f" {list_some(files)}. Name one, such as {name}/{files[0]}."
    )
