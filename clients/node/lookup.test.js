/** The reader beside the test vectors: `npm test` in this folder. */

import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { parseMetadata } from './encoding.js';
import { FORMAT, UnknownFormat, decodeValue, encodeKey, partitionOf, splitArm } from './lookup.js';

const vectors = JSON.parse(readFileSync(new URL('../vectors.json', import.meta.url), 'utf8'));

/** The kinds of parts of keys, and of members of values. */
const KINDS = {
  string: String,
  text: String,
  date: String,
  decimal: String,
  float: Number,
  bool: Boolean,
  null: () => null,
  int: (digits) => (Number.isSafeInteger(Number(digits)) ? Number(digits) : BigInt(digits)),
};

function typed(value) {
  const [[kind, inner]] = Object.entries(value);
  return KINDS[kind](inner);
}

test('format', () => {
  assert.equal(FORMAT, vectors.format);
});

test('keys', () => {
  for (const { parts, key } of vectors.keys) assert.equal(encodeKey(parts.map(typed)), key);
});

test('partitions', () => {
  for (const { key, partitions, partition } of vectors.partitions) assert.equal(partitionOf(key, partitions), partition);
});

test('splits', () => {
  for (const { salt, arms, keys } of vectors.splits) {
    for (const [key, arm] of keys) {
      assert.equal(splitArm(salt, Object.fromEntries(arms), key), arm);
      assert.equal(splitArm(salt, Object.fromEntries(arms), Buffer.from(key)), arm);
    }
  }
  assert.ok(vectors.splits.length > 0);
  for (const arms of [{}, { a: 0 }, { a: -1, b: 2 }, { a: 0.5, b: 0.5 }, { a: 1_000_000, b: 1 }]) {
    assert.throws(() => splitArm('salt', arms, 'key'), RangeError);
  }
});

test('values', () => {
  for (const { columns, value, members } of vectors.values) {
    const decoded = Object.entries(decodeValue(value, columns));
    assert.deepEqual(decoded, members.map(([name, member]) => [name, typed(member)]));
  }
});

test('metadata', () => {
  for (const { text, key, values, generation, expires_at: expiresAt } of vectors.metadata) {
    const metadata = parseMetadata(text);
    assert.deepEqual(metadata.key.map((column) => column.name), key);
    assert.deepEqual(metadata.values.map((column) => column.name), values);
    assert.equal(metadata.generation, generation);
    const ends = metadata.ttl_secs === null ? null : metadata.published_at.getTime() + metadata.ttl_secs * 1000;
    assert.equal(ends, expiresAt === null ? null : Date.parse(expiresAt));
    const newer = JSON.stringify({ ...JSON.parse(text), format: FORMAT + 1 });
    assert.throws(() => parseMetadata(newer), UnknownFormat);
  }
});

test('other types are refused as keys', () => {
  for (const other of [1.5, 2 ** 53, null, undefined, {}, '\ud800']) assert.throws(() => encodeKey([other]), TypeError);
});
