"""A deflated member of a zip archive as a stream, unpacked by ISA-L: three times as fast as zlib."""

from __future__ import annotations

import zipfile
from typing import BinaryIO

from isal import igzip_lib, isal_zlib

_HEADER = 30  # bytes of a local header before its two fields of variable length
_READ = 1 << 17  # packed bytes at a time
_PATCHED = 0x20
_STRONG = 0x40


def is_plain(info: zipfile.ZipInfo) -> bool:
    """Whether *info* is deflated and nothing else is special about it."""
    return info.compress_type == zipfile.ZIP_DEFLATED and not info.flag_bits & (_PATCHED | _STRONG | 1)


class Member:
    """The content of the member *info* of the archive *file*, which it has for itself and closes.

    Raises BadZipFile where archive and member contradict each other, EOFError when the file ends too soon, and what
    ISA-L raises for damaged bytes.
    """

    def __init__(self, file: BinaryIO, info: zipfile.ZipInfo) -> None:
        self._info = info
        self._file = file
        try:
            self._file.seek(_begin(self._file, info))
        except BaseException:
            self._file.close()
            raise
        self._unpack = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)
        self._packed = info.compress_size  # still to be read
        self._left = info.file_size  # still to be unpacked
        self._crc = 0

    def read(self, size: int = -1) -> bytes:
        """At most *size* bytes; all that is left when it is negative. Nothing at the end."""
        if size < 0:
            return b"".join(iter(lambda: self.read(1 << 20), b""))
        while size and not self._unpack.eof:
            data = b""
            if self._unpack.needs_input:
                data = self._file.read(min(_READ, self._packed))
                if not data:
                    raise EOFError("The member ends before its content does.")
                self._packed -= len(data)
            part: bytes = self._unpack.decompress(data, max_length=size)
            if part:
                self._left -= len(part)
                self._crc = isal_zlib.crc32(part, self._crc)
                if self._left < 0:
                    break
                return part
        if self._unpack.eof or self._left < 0:
            self._check()
        return b""

    def _check(self) -> None:
        if self._left or self._crc != self._info.CRC:
            raise zipfile.BadZipFile("The member is not what the archive's directory says.")

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()


def _begin(file: BinaryIO, info: zipfile.ZipInfo) -> int:
    """Where the packed bytes of *info* begin: behind its local header, which must name the same member."""
    file.seek(info.header_offset)
    header = file.read(_HEADER)
    if len(header) < _HEADER or header[:4] != b"PK\x03\x04":
        raise zipfile.BadZipFile("There is no member where the archive's directory says.")
    name, extra = int.from_bytes(header[26:28], "little"), int.from_bytes(header[28:30], "little")
    coding = "utf-8" if info.flag_bits & 0x800 else "cp437"
    if file.read(name).decode(coding, "replace") != info.orig_filename:
        raise zipfile.BadZipFile("A member has another name than in the archive's directory.")
    return info.header_offset + _HEADER + name + extra
