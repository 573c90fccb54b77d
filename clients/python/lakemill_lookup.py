"""Reads a lookup table that lakemill publishes: from the LMDB files under a home, or from Redis.

    from lakemill_lookup import LookupTable

    with LookupTable("demo/home", "card_fraud") as table:                # or "redis://host:6379/0"
        table.get(42)                                                    # {'score': 0.25, ...}, or None
        table.get_many([42, 43])                                         # all from one generation
        table.metadata.interval, table.age()

Needs Python 3.9 and `lmdb` (for files) or `redis` (for servers), each only where it is used. The layout
that it follows is specified in the README beside this folder.
"""

from __future__ import annotations

import dataclasses
import datetime
import decimal
import hashlib
import json
import os
import re
import threading
import time
import weakref
import zlib
from typing import Any, Dict, Iterable, List, Mapping, Optional, Sequence, Tuple, Union

__all__ = [
    "FORMAT", "Column", "Damaged", "Expired", "LookupTable", "LookupTableError", "Metadata", "NotPublished",
    "UnknownFormat", "decode_value", "encode_key", "partition_of", "split_arm",
]

#: The version of the layout that this reader reads; it refuses any other.
FORMAT = 2

#: Redis is asked for at most so many keys in one round trip.
_BATCH_KEYS = 1000

#: How often a read starts again because the table was published anew under it.
_TRIES = 32

#: By so much the clocks of this machine and of a server may differ, where keys end by both.
_CLOCKS_APART = datetime.timedelta(seconds=5)

#: The greatest sum of the weights of a split.
_MOST_WEIGHT = 1_000_000

KeyPart = Union[str, int, bool, datetime.date]
Key = Union[KeyPart, Tuple[KeyPart, ...]]
Value = Dict[str, Any]


class LookupTableError(Exception):
    """Why a table cannot be read."""


class NotPublished(LookupTableError):
    """Nothing is published under this name: not the same as a key that is not there."""


class UnknownFormat(LookupTableError):
    """The generation has another format than this reader knows."""


class Damaged(LookupTableError):
    """What is stored is not what was published."""


class Expired(LookupTableError):
    """The generation's time to live is over, and no newer one is published."""


@dataclasses.dataclass(frozen=True)
class Column:
    """A column that was published: its name and the name of its Arrow type."""

    name: str
    type: str


@dataclasses.dataclass(frozen=True)
class Metadata:
    """What a generation says about itself."""

    table: str
    generation: int
    run_id: str
    job: str
    interval: str
    #: The end of the interval: up to then the values know what happened.
    interval_end: datetime.datetime
    model: str
    model_version: int
    published_at: datetime.datetime
    #: How long after `published_at` the values may be used; None: without limit.
    ttl_secs: Optional[int]
    #: The columns that became the key, in order.
    key: Tuple[Column, ...]
    #: The members of each value, in order.
    values: Tuple[Column, ...]
    #: How many keys there are.
    keys: int
    checksum: str
    #: All members as they are stored.
    raw: Mapping[str, Any]

    @staticmethod
    def from_json(text: bytes) -> "Metadata":
        """Reads what `generation.json`, or the key of the same name in Redis, holds."""
        try:
            raw = json.loads(text)
            version = raw["format"]
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged("the generation's metadata is damaged") from error
        if version != FORMAT:
            raise UnknownFormat(f"the generation has format {version}, this reader reads {FORMAT}")
        try:
            return Metadata(
                **{name: raw[name] for name in (
                    "table", "generation", "run_id", "job", "interval", "model", "model_version", "keys", "checksum")},
                interval_end=_instant(raw["interval_end"]),
                published_at=_instant(raw["published_at"]),
                ttl_secs=raw.get("ttl_secs"),
                key=tuple(Column(column["name"], column["type"]) for column in raw["key"]),
                values=tuple(Column(column["name"], column["type"]) for column in raw["values"]),
                raw=raw,
            )
        except (ValueError, KeyError, TypeError) as error:
            raise Damaged("the generation's metadata is damaged") from error

    @property
    def expires_at(self) -> Optional[datetime.datetime]:
        """When the values end, if they do."""
        if self.ttl_secs is None:
            return None
        return self.published_at + datetime.timedelta(seconds=self.ttl_secs)


def encode_key(parts: Sequence[KeyPart]) -> bytes:
    """The stored form of a key: of one column its text, of several their escaped texts joined by `|`."""
    texts = [_text(part) for part in parts]
    if len(texts) > 1:
        texts = [text.replace("\\", "\\\\").replace("|", "\\|") for text in texts]
    return "|".join(texts).encode()


def partition_of(key: bytes, partitions: int) -> int:
    """The bucket of an encoded key."""
    return zlib.crc32(key) % max(partitions, 1)


def split_arm(salt: str, arms: Mapping[str, int], key: bytes) -> str:
    """The arm that an encoded key has in an A/B split of `lakemill serve`. `salt` is the served name, unless the
    configuration has another one; `arms` are the weights by arm, in the order of the configuration."""
    weights = list(arms.values())
    total = sum(weights)
    if not all(isinstance(weight, int) and weight >= 0 for weight in weights) or not 1 <= total <= _MOST_WEIGHT:
        raise ValueError(f"the weights of a split are whole numbers from 0, and their sum is from 1 to {_MOST_WEIGHT}")
    point = int(hashlib.sha256(salt.encode() + b":" + key).hexdigest()[:15], 16) % total
    for arm, weight in arms.items():
        if point < weight:
            return arm
        point -= weight
    raise AssertionError("a point is below the sum of the weights")


def decode_value(value: bytes, columns: Sequence[Column]) -> Value:
    """A stored value as a dict. Decimals become `decimal.Decimal` with all their digits; dates and
    instants stay the text that is stored (`2018-06-20`, `2018-06-20T06:00:00Z`)."""
    decimals = [column.name for column in columns if "Decimal" in column.type]
    decoded: Value = json.loads(value)
    if not decimals:
        return decoded
    exact = json.loads(value, parse_float=decimal.Decimal, parse_int=decimal.Decimal)
    decoded.update((name, exact[name]) for name in decimals)
    return decoded


class LookupTable:
    """A published lookup table, opened for reading. May be used by many threads.

    `location` is a home (the folder that holds `lookup/`), the URL of a Redis server (`redis://`,
    `rediss://`, `unix://`), or a client of redis-py, which is then neither configured nor closed here:
    with it TLS, users, time-outs and clusters are as you set them up.
    `prefix` is that of the keys in Redis. The pointer to the current generation is looked at again
    when `check_secs` have passed since the last time (0: at every read); a newly published generation
    is then opened. Each read is answered by one generation.
    """

    def __init__(
        self, location: Union[str, "os.PathLike[str]", Any], table: str, *, prefix: str = "lakemill",
        check_secs: float = 1.0,
    ) -> None:
        if isinstance(location, str) and location.startswith(("redis://", "rediss://", "unix://")):
            self._store: Union[_Files, _Redis] = _Redis(_connected(location), True, prefix, table)
        elif isinstance(location, (str, os.PathLike)):
            self._store = _Files(os.fspath(location), table)
        else:
            self._store = _Redis(location, False, prefix, table)
        self._table = table
        self._check_secs = check_secs
        self._checked_at = 0.0
        self._lock = threading.Lock()
        self._opened: Union[_FileGeneration, _RedisGeneration, None] = None
        try:
            with self._lock:
                self._open_current()
        except BaseException:
            self._store.close()
            raise

    def get(self, *key: KeyPart) -> Optional[Value]:
        """The value under a key, one argument a key column; None where there is no such key."""
        return self.get_many([key])[0]

    def get_many(self, keys: Iterable[Key]) -> List[Optional[Value]]:
        """The values under many keys (tuples where the key has several columns), all from one generation."""
        values, metadata = self._read(keys)
        return [None if value is None else decode_value(value, metadata.values) for value in values]

    def get_bytes(self, *key: KeyPart) -> Optional[bytes]:
        """As `get`, but the stored JSON as it is."""
        return self.get_many_bytes([key])[0]

    def get_many_bytes(self, keys: Iterable[Key]) -> List[Optional[bytes]]:
        """As `get_many`, but the stored JSON as it is."""
        return self._read(keys)[0]

    @property
    def metadata(self) -> Metadata:
        """What the current generation says about itself."""
        return self._current().metadata

    def age(self, now: Optional[datetime.datetime] = None) -> datetime.timedelta:
        """How long ago the interval ended that the values know: how old they are, whenever published."""
        return (now or _now()) - self.metadata.interval_end

    def close(self) -> None:
        """Lets go of the file or of the connections. Reads that other threads have begun still end well."""
        with self._lock:
            self._opened = None
            self._store.close()

    def __enter__(self) -> "LookupTable":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, keys: Iterable[Key]) -> Tuple[List[Optional[bytes]], Metadata]:
        parts = [key if isinstance(key, tuple) else (key,) for key in keys]
        generation = self._current()
        for _ in range(_TRIES):
            metadata = generation.metadata
            values = generation.read([_encoded(key, metadata) for key in parts])
            # Nothing found may mean that the generation was removed: only while it is the current one
            # is a missing key known to be missing.
            is_sure = generation.stays or None not in values or self._store.current() == metadata.generation
            if is_sure:
                # Looked at last: where keys have been removed because their time was over, it is over now;
                # by the server's clock it may be over a little earlier.
                expires_at = metadata.expires_at
                early = _CLOCKS_APART if None in values and not generation.stays else datetime.timedelta(0)
                if expires_at is not None and _now() + early >= expires_at:
                    raise Expired(f"{self._table}: generation {metadata.generation} has ended at {expires_at}")
                return values, metadata
            with self._lock:
                generation = self._open_current()
        raise LookupTableError(f"{self._table}: the table is published faster than it can be read")

    def _current(self) -> Union["_FileGeneration", "_RedisGeneration"]:
        with self._lock:
            if self._opened is None:
                raise ValueError("the lookup table is closed")
            if time.monotonic() - self._checked_at >= self._check_secs:
                if self._store.current() == self._opened.metadata.generation:
                    self._checked_at = time.monotonic()
                else:
                    self._open_current()
            return self._opened

    def _open_current(self) -> Union["_FileGeneration", "_RedisGeneration"]:
        """Opens the generation that the pointer names; the lock is held."""
        number = self._store.current()
        for _ in range(_TRIES):
            if number is None:
                raise NotPublished(f"nothing is published in the lookup table {self._table}")
            checked_at = time.monotonic()
            try:
                opened = self._store.open(number)
                if opened.metadata.generation != number or opened.metadata.table != self._table:
                    raise Damaged(f"{self._table}: the metadata of generation {number} is that of another one")
            except (Damaged, FileNotFoundError) as error:
                # Was it removed between reading the pointer and opening?
                again = self._store.current()
                if again == number:
                    raise Damaged(f"{self._table}: generation {number} is missing or damaged: {error}") from error
                number = again
            else:
                self._opened, self._checked_at = opened, checked_at
                return opened
        raise LookupTableError(f"{self._table}: the table is published faster than it can be opened")


class _Files:
    """The store of files: `<home>/lookup/<table>`, which is only ever read."""

    def __init__(self, home: str, table: str) -> None:
        self._folder = os.path.join(home, "lookup", table)

    def current(self) -> Optional[int]:
        try:
            with open(os.path.join(self._folder, "CURRENT"), "rb") as pointer:
                name = pointer.read().decode("ascii", "replace").rstrip()
        except FileNotFoundError:
            return None
        if not re.fullmatch(r"v=\d{6,}", name):
            raise Damaged(f"{self._folder}/CURRENT names no generation: {name[:40]!r}")
        return int(name[2:])

    def open(self, number: int) -> "_FileGeneration":
        return _FileGeneration(os.path.join(self._folder, f"v={number:06}"))

    def close(self) -> None:
        """The file is closed with the last read of it."""


class _FileGeneration:
    """One LMDB file. It stays readable while it is open, also when it has been removed."""

    stays = True

    def __init__(self, folder: str) -> None:
        with open(os.path.join(folder, "generation.json"), "rb") as file:
            self.metadata = Metadata.from_json(file.read())
        # LMDB maps the file: one that is too short would crash the process, not fail.
        size = os.path.getsize(os.path.join(folder, "data.mdb"))
        if size != self.metadata.raw.get("file_bytes"):
            raise Damaged("data.mdb has another size than recorded")
        self._mapped = _Mapped.open(folder)

    def read(self, keys: Sequence[bytes]) -> List[Optional[bytes]]:
        with self._mapped.environment.begin() as transaction:
            # Other lengths LMDB cannot hold, and refuses to look for.
            return [transaction.get(key) if 1 <= len(key) <= 511 else None for key in keys]


class _Mapped:
    """An open LMDB environment. A process must not open one file twice, so all tables share it; it is
    closed when nobody uses it any more."""

    _all: "weakref.WeakValueDictionary[Tuple[str, int, int], _Mapped]" = weakref.WeakValueDictionary()
    _lock = threading.Lock()

    def __init__(self, environment: Any) -> None:
        self.environment = environment

    @classmethod
    def open(cls, folder: str) -> "_Mapped":
        import lmdb

        folder = os.path.realpath(folder)
        status = os.stat(os.path.join(folder, "data.mdb"))
        identity = (folder, status.st_dev, status.st_ino)
        with cls._lock:
            mapped = cls._all.get(identity)
            if mapped is None:
                try:
                    # A published file never changes: no lock file is needed, nor may one be made there.
                    mapped = cls(lmdb.open(folder, readonly=True, lock=False, create=False, max_spare_txns=16))
                except lmdb.Error as error:
                    raise Damaged(f"LMDB cannot open {folder}: {error}") from error
                cls._all[identity] = mapped
            return mapped


class _Redis:
    """The store of a Redis server or cluster."""

    def __init__(self, client: Any, is_own: bool, prefix: str, table: str) -> None:
        self._client = client
        self._is_own = is_own
        self._name = f"{prefix}:{table}"
        self._prefix, self._table = prefix, table

    def current(self) -> Optional[int]:
        number = _bytes(self._client.get(f"{self._name}:current"))
        if number is not None and not number.isdigit():
            raise Damaged(f"{self._name}:current names no generation: {number[:40]!r}")
        return None if number is None else int(number)

    def open(self, number: int) -> "_RedisGeneration":
        text = _bytes(self._client.get(f"{self._name}:generation:{number}"))
        if text is None:
            raise Damaged("its metadata is gone")
        return _RedisGeneration(self._client, self._prefix, self._table, Metadata.from_json(text))

    def close(self) -> None:
        if self._is_own:
            self._client.close()


class _RedisGeneration:
    """One generation in Redis. It may be removed under a reader once another one is current."""

    stays = False

    def __init__(self, client: Any, prefix: str, table: str, metadata: Metadata) -> None:
        self._client, self._prefix, self._table, self.metadata = client, prefix, table, metadata
        self._layout, self._partitions = metadata.raw.get("layout"), metadata.raw.get("partitions", 0)
        if self._layout not in ("buckets", "strings"):
            raise UnknownFormat(f"the generation has the layout {self._layout!r}, this reader reads buckets and strings")
        if self._layout == "buckets" and not (isinstance(self._partitions, int) and self._partitions > 0):
            raise Damaged("the generation's metadata has no number of partitions")

    def read(self, keys: Sequence[bytes]) -> List[Optional[bytes]]:
        values: List[Optional[bytes]] = []
        for start in range(0, len(keys), _BATCH_KEYS):
            pipeline = self._client.pipeline(transaction=False)
            for key in keys[start:start + _BATCH_KEYS]:
                self._ask(pipeline, key)
            values.extend(_bytes(value) for value in pipeline.execute())
        return values

    def _ask(self, pipeline: Any, key: bytes) -> None:
        generation = self.metadata.generation
        if self._layout == "strings":
            pipeline.get(f"{self._prefix}:{self._table}:{generation}:".encode() + key)
        else:
            bucket = partition_of(key, self._partitions)
            pipeline.hget(f"{self._prefix}:{{{self._table}:{bucket}}}:{generation}", key)


def _connected(url: str) -> Any:
    import redis

    # Before its version 6 redis-py checks who signed a server's certificate, but not for whom.
    checks = {"ssl_check_hostname": True} if url.startswith("rediss://") else {}
    try:
        return redis.Redis.from_url(url, **checks)
    except ValueError:
        # The error of the URL itself may show the password.
        raise ValueError("the location of a Redis server is not a URL") from None


def _encoded(key: Tuple[KeyPart, ...], metadata: Metadata) -> bytes:
    if len(key) != len(metadata.key):
        names = ", ".join(column.name for column in metadata.key)
        raise TypeError(f"a key of {metadata.table} has {len(metadata.key)} columns ({names}), not {len(key)}")
    return encode_key(key)


def _text(part: KeyPart) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, bool):
        return "true" if part else "false"
    if isinstance(part, int):
        return str(int(part))
    if isinstance(part, datetime.date) and not isinstance(part, datetime.datetime):
        return part.isoformat()
    raise TypeError(f"a part of a key is a str, int, bool or date, not {type(part).__name__}")


def _bytes(reply: Union[bytes, str, None]) -> Optional[bytes]:
    """A reply of Redis, whether or not the client decodes them."""
    return reply.encode() if isinstance(reply, str) else reply


def _instant(text: str) -> datetime.datetime:
    # Python knows microseconds, and before 3.11 neither `Z` nor other numbers of digits than 3 and 6.
    found = re.fullmatch(r"([^.Z+]+)(?:\.(\d+))?(Z|[+-]\d\d:\d\d)", text)
    if found is None:
        raise ValueError(f"not an instant: {text[:40]!r}")
    whole, fraction, zone = found.groups()
    fraction = (fraction or "0")[:6].ljust(6, "0")
    return datetime.datetime.fromisoformat(f"{whole}.{fraction}{'+00:00' if zone == 'Z' else zone}")


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)
