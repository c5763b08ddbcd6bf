"""A disk under SQLite that remembers every write and flush, counts them, may be full, and can lose power anywhere.

In:  whatever SQLite does to its files inside `with SimDisk(folder) as disk`; notes of the test in `disk.mark`.
Out: `disk.log`, in order; `crashes(log, dice)`: what may lie on a disk whose power went between any two entries.
What was flushed is there. Of what was written since, any part may be there, in pieces of a sector: ext4 and the card
order nothing between two flushes. `-shm` is memory and never survives. A card that lies about flushes is not played.
It is a VFS around SQLite's own, in this process: the code under test and the library are the real ones.
"""

from __future__ import annotations

import _sqlite3
import ctypes
import random
from collections.abc import Iterator, Mapping, Sequence
from ctypes import CFUNCTYPE, POINTER, byref, c_char_p, c_int, c_int64, c_void_p
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self, TypeAlias

SECTOR_BYTES: Final = 512
NAME: Final = b"packbox-sim-disk"
SQLITE_OK: Final = 0
SQLITE_FULL: Final = 13
SQLITE_READONLY: Final = 8
# A journal that is opened so has its folder flushed at its first flush (os_unix.c, UNIXFILE_DIRSYNC).
SQLITE_OPEN_CREATE: Final = 0x4
SQLITE_OPEN_JOURNALS: Final = 0x800 | 0x4000 | 0x80000  # rollback, super, write-ahead


@dataclass(frozen=True, slots=True)
class Wrote:
    file: str
    offset: int
    data: bytes


@dataclass(frozen=True, slots=True)
class Cut:
    file: str
    size: int


@dataclass(frozen=True, slots=True)
class Deleted:
    file: str


@dataclass(frozen=True, slots=True)
class Flushed:
    file: str


@dataclass(frozen=True, slots=True)
class Marked:
    """What the program under test had told the world by then."""

    note: object


@dataclass(frozen=True, slots=True)
class FolderFlushed:
    """Names that were deleted stay deleted."""


Change: TypeAlias = Wrote | Cut | Deleted
Entry: TypeAlias = Change | Flushed | FolderFlushed | Marked


# -- what a power cut leaves -----------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Crash:
    at: int  # entries of the log that had happened
    files: Mapping[str, bytes]
    note: object  # of the last mark before
    lost: int  # changes that did not make it, or not whole

    def lay_out(self, folder: Path) -> None:
        """As files in this folder."""
        folder.mkdir()
        for name, data in self.files.items():
            (folder / name).write_bytes(data)


@dataclass(slots=True)
class _Surface:
    """One file: what is safe, and what is not yet."""

    safe: bytearray | None = None
    open: list[Change] = field(default_factory=list)

    def flush(self) -> None:
        for change in self.open:
            self.safe = _applied(self.safe, change)
        self.open.clear()

    def flush_name(self) -> None:
        last = max((k for k, change in enumerate(self.open) if isinstance(change, Deleted)), default=-1)
        if last >= 0:
            self.safe = None
            del self.open[: last + 1]

    def torn(self, dice: random.Random) -> tuple[bytearray | None, int]:
        """Some of what is not safe, each change whole, in part or not at all; and how many are not whole."""
        data = None if self.safe is None else bytearray(self.safe)
        kept, torn = dice.random(), dice.random() / 2
        lost = 0
        for change in self.open:
            if isinstance(change, Wrote) and dice.random() < torn:
                lost += 1
                for piece in _sectors(change):
                    if dice.random() < kept:
                        data = _applied(data, piece)
            elif dice.random() < kept:
                data = _applied(data, change)
            else:
                lost += 1
        return data, lost


def crashes(log: Sequence[Entry], dice: random.Random, per_cut: int = 1) -> Iterator[Crash]:
    """After every entry that is not a mark: power cuts, `per_cut` of them."""
    surfaces: dict[str, _Surface] = {}
    note: object = None
    for at, entry in enumerate(log, 1):
        if isinstance(entry, Marked):
            note = entry.note
            continue
        if isinstance(entry, FolderFlushed):
            for surface in surfaces.values():
                surface.flush_name()
        elif isinstance(entry, Flushed):
            surfaces.setdefault(entry.file, _Surface()).flush()
        else:
            surfaces.setdefault(entry.file, _Surface()).open.append(entry)
        for _ in range(per_cut):
            left = {name: surface.torn(dice) for name, surface in surfaces.items()}
            files = {name: bytes(data) for name, (data, _) in left.items() if data is not None}
            yield Crash(at, files, note, sum(lost for _, lost in left.values()))


def _applied(data: bytearray | None, change: Change) -> bytearray | None:
    if isinstance(change, Deleted):
        return None
    data = bytearray() if data is None else data
    if isinstance(change, Cut):
        del data[change.size :]
        return data
    data.extend(bytes(max(0, change.offset - len(data))))
    data[change.offset : change.offset + len(change.data)] = change.data
    return data


def _sectors(write: Wrote) -> Iterator[Wrote]:
    begin = 0
    while begin < len(write.data):
        end = begin + SECTOR_BYTES - (write.offset + begin) % SECTOR_BYTES
        yield Wrote(write.file, write.offset + begin, write.data[begin:end])
        begin = end


# -- the disk --------------------------------------------------------------------------------------------------------

_Open: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_void_p, c_int, c_void_p)
_Delete: Final = CFUNCTYPE(c_int, c_void_p, c_char_p, c_int)
_Write: Final = CFUNCTYPE(c_int, c_void_p, c_void_p, c_int, c_int64)
_Truncate: Final = CFUNCTYPE(c_int, c_void_p, c_int64)
_Sync: Final = CFUNCTYPE(c_int, c_void_p, c_int)


class _Vfs(ctypes.Structure):
    """sqlite.org/c3ref/vfs.html, version 3."""

    _fields_ = [
        ("version", c_int),
        ("file_bytes", c_int),
        ("path_bytes", c_int),
        ("next", c_void_p),
        ("name", c_char_p),
        ("app_data", c_void_p),
        ("open", _Open),
        ("delete", _Delete),
        *((f"other_{k}", c_void_p) for k in range(14)),
    ]


class _Methods(ctypes.Structure):
    """sqlite.org/c3ref/io_methods.html, version 3."""

    _fields_ = [
        ("version", c_int),
        ("close", c_void_p),
        ("read", c_void_p),
        ("write", _Write),
        ("truncate", _Truncate),
        ("sync", _Sync),
        *((f"other_{k}", c_void_p) for k in range(13)),
    ]


_in_use: Final[list[SimDisk]] = []  # SQLite calls back as long as a connection is open, also a forgotten one


class SimDisk:
    """Every database that is opened inside the `with` block lies on it. `trouble`: SQLite's code for each write."""

    def __init__(self, folder: Path) -> None:
        self.log: list[Entry] = []
        self.keep_log = True
        self.written_bytes = 0
        self.flushes = 0
        self.trouble = SQLITE_OK
        self._folder = folder.resolve()
        self._names: dict[int, str] = {}  # of open files, by the address of SQLite's structure
        self._folder_due: set[int] = set()  # open files whose first flush flushes the folder too
        self._methods: dict[int, tuple[_Methods, _Methods]] = {}  # by the address of the original: it and ours
        self._sqlite = _library()
        self._original = self._sqlite.sqlite3_vfs_find(None)
        self._vfs = _Vfs.from_buffer_copy(self._original.contents)
        self._vfs.name = NAME
        self._vfs.open = _Open(self._opened)
        self._vfs.delete = _Delete(self._deleted)
        _in_use.append(self)
        self._calls = (_Write(self._wrote), _Truncate(self._cut), _Sync(self._flushed))

    def __enter__(self) -> Self:
        assert self._sqlite.sqlite3_vfs_register(byref(self._vfs), 1) == SQLITE_OK
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._sqlite.sqlite3_vfs_unregister(byref(self._vfs)) == SQLITE_OK
        assert self._sqlite.sqlite3_vfs_register(self._original, 1) == SQLITE_OK

    def mark(self, note: object) -> None:
        self.log.append(Marked(note))

    def _note(self, entry: Entry) -> None:
        if self.keep_log:
            self.log.append(entry)

    def _name_of(self, path: bytes) -> str | None:
        file = Path(path.decode())
        return file.name if file.parent == self._folder and not file.name.endswith("-shm") else None

    def _opened(self, _vfs: int, path: int, file: int, flags: int, out: int) -> int:
        code: int = self._original.contents.open(ctypes.addressof(self._original.contents), path, file, flags, out)
        name = self._name_of(ctypes.string_at(path)) if path else None
        self._names.pop(file, None)
        self._folder_due.discard(file)
        if code == SQLITE_OK and name is not None:
            self._names[file] = name
            if flags & SQLITE_OPEN_CREATE and flags & SQLITE_OPEN_JOURNALS:
                self._folder_due.add(file)
            slot = ctypes.cast(file, POINTER(c_void_p))  # the first field of sqlite3_file: its methods
            slot[0] = ctypes.addressof(self._ours(slot[0]))
        return code

    def _ours(self, address: int) -> _Methods:
        if address not in self._methods:
            theirs = _Methods.from_address(address)
            ours = _Methods.from_buffer_copy(theirs)
            ours.write, ours.truncate, ours.sync = self._calls
            self._methods[address] = self._methods[ctypes.addressof(ours)] = (theirs, ours)
        return self._methods[address][1]

    def _theirs(self, file: int) -> _Methods:
        return self._methods[ctypes.cast(file, POINTER(c_void_p))[0]][0]

    def _deleted(self, _vfs: int, path: bytes, sync_folder: int) -> int:
        code: int = self._original.contents.delete(ctypes.addressof(self._original.contents), path, sync_folder)
        name = self._name_of(path)
        if code == SQLITE_OK and name is not None:
            self._note(Deleted(name))
            if sync_folder:
                self._note(FolderFlushed())
        return code

    def _wrote(self, file: int, data: int, size: int, offset: int) -> int:
        if self.trouble:
            return self.trouble
        code: int = self._theirs(file).write(file, data, size, offset)
        if code == SQLITE_OK:
            self.written_bytes += size
            self._note(Wrote(self._names[file], offset, ctypes.string_at(data, size)))
        return code

    def _cut(self, file: int, size: int) -> int:
        code: int = self._theirs(file).truncate(file, size)
        if code == SQLITE_OK:
            self._note(Cut(self._names[file], size))
        return code

    def _flushed(self, file: int, flags: int) -> int:
        code: int = self._theirs(file).sync(file, flags)
        if code == SQLITE_OK:
            self.flushes += 1
            self._note(Flushed(self._names[file]))
            if file in self._folder_due:
                self._folder_due.remove(file)
                self._note(FolderFlushed())
        return code


def _library() -> Any:  # noqa: ANN401  ctypes has no better name for it
    """The very library that Python's module uses."""
    library = ctypes.CDLL(_sqlite3.__file__)
    library.sqlite3_vfs_find.restype = POINTER(_Vfs)
    library.sqlite3_vfs_find.argtypes = [c_char_p]
    library.sqlite3_vfs_register.argtypes = [c_void_p, c_int]
    library.sqlite3_vfs_unregister.argtypes = [c_void_p]
    return library
