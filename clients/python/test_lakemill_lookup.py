"""The reader beside the test vectors: `python3 -m unittest` in this folder. Needs xxhash for the checksums."""

import datetime
import decimal
import json
import pathlib
import unittest

import lakemill_lookup
from lakemill_lookup import Column, Metadata, UnknownFormat, decode_value, encode_key, partition_of, split_arm

VECTORS = json.loads((pathlib.Path(__file__).parent / "../vectors.json").read_text(encoding="utf-8"))


def part(typed):
    (kind, value), = typed.items()
    return {"string": str, "int": int, "bool": bool, "date": datetime.date.fromisoformat}[kind](value)


def member(typed):
    """What a typed member of a value has to be decoded to."""
    (kind, value), = typed.items()
    decoded = {"int": int, "float": float, "decimal": decimal.Decimal, "text": str, "bool": bool}
    return None if kind == "null" else decoded[kind](value)


class Vectors(unittest.TestCase):
    def test_format(self):
        self.assertEqual(lakemill_lookup.FORMAT, VECTORS["format"])

    def test_keys(self):
        for vector in VECTORS["keys"]:
            self.assertEqual(encode_key([part(typed) for typed in vector["parts"]]), vector["key"].encode())

    def test_partitions(self):
        for vector in VECTORS["partitions"]:
            self.assertEqual(partition_of(vector["key"].encode(), vector["partitions"]), vector["partition"])

    def test_splits(self):
        self.assertTrue(VECTORS["splits"])
        for vector in VECTORS["splits"]:
            for key, arm in vector["keys"]:
                self.assertEqual(split_arm(vector["salt"], dict(vector["arms"]), key.encode()), arm, vector["salt"])

    def test_values(self):
        for vector in VECTORS["values"]:
            columns = [Column(**column) for column in vector["columns"]]
            wanted = {name: member(typed) for name, typed in vector["members"]}
            decoded = decode_value(vector["value"].encode(), columns)
            self.assertEqual(list(decoded.items()), list(wanted.items()))
            self.assertEqual(list(map(repr, decoded.values())), list(map(repr, wanted.values())))

    def test_checksums(self):
        import xxhash

        for vector in VECTORS["checksums"]:
            total = 0
            for key, value in vector["pairs"]:
                key, value = key.encode(), value.encode()
                total += xxhash.xxh3_128_intdigest(len(key).to_bytes(4, "little") + key + value)
            self.assertEqual(f"xxh3-sum:{total % 2 ** 128:032x}", vector["checksum"])

    def test_metadata(self):
        for vector in VECTORS["metadata"]:
            metadata = Metadata.from_json(vector["text"].encode())
            self.assertEqual([column.name for column in metadata.key], vector["key"])
            self.assertEqual([column.name for column in metadata.values], vector["values"])
            self.assertEqual(metadata.generation, vector["generation"])
            expires_at = vector["expires_at"]
            if expires_at is not None:
                expires_at = datetime.datetime.fromisoformat(expires_at.replace("Z", "+00:00"))
            self.assertEqual(metadata.expires_at, expires_at)
            raw = json.loads(vector["text"])
            raw["format"] += 1
            with self.assertRaises(UnknownFormat):
                Metadata.from_json(json.dumps(raw).encode())


class Splits(unittest.TestCase):
    def test_weights_that_make_no_split_are_refused(self):
        for arms in ({}, {"a": 0}, {"a": -1, "b": 2}, {"a": 0.5, "b": 0.5}, {"a": 1_000_000, "b": 1}):
            with self.assertRaises(ValueError):
                split_arm("salt", arms, b"key")


class Keys(unittest.TestCase):
    def test_other_types_are_refused(self):
        for other in (1.0, None, b"a", datetime.datetime(2018, 6, 20)):
            with self.assertRaises(TypeError):
                encode_key([other])

    def test_half_a_surrogate_pair_is_refused(self):
        with self.assertRaises(ValueError):
            encode_key(["\ud800"])


if __name__ == "__main__":
    unittest.main()
