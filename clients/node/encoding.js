/** Keys, values and metadata as every store holds them. */

import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { Damaged, UnknownFormat } from './errors.js';

/** The version of the layout that this reader reads; it refuses any other. */
export const FORMAT = 2;

/**
 * @typedef {string | number | bigint | boolean} KeyPart a date is its text, `2018-06-20`
 * @typedef {KeyPart | KeyPart[]} Key an array where the key has several columns
 * @typedef {{ name: string, type: string }} Column a column and the name of its Arrow type
 * @typedef {Record<string, string | number | bigint | boolean | null>} Value
 *
 * @typedef {object} Metadata what a generation says about itself; further members are as they are stored
 * @property {string} table
 * @property {number} generation
 * @property {string} run_id
 * @property {string} job
 * @property {string} interval
 * @property {Date} interval_end up to then the values know what happened
 * @property {string} model
 * @property {number} model_version
 * @property {Date} published_at
 * @property {number | null} ttl_secs how long after `published_at` the values may be used
 * @property {Column[]} key
 * @property {Column[]} values
 * @property {number} keys
 * @property {string} checksum
 */

/**
 * The stored form of a key: of one column its text, of several their escaped texts joined by `|`.
 * @param {KeyPart[]} parts
 * @returns {string}
 */
export function encodeKey(parts) {
  const texts = parts.map(text);
  if (texts.length === 1) return texts[0];
  return texts.map((part) => part.replaceAll('\\', '\\\\').replaceAll('|', '\\|')).join('|');
}

function text(part) {
  switch (typeof part) {
    case 'string':
      if (!part.isWellFormed()) throw new TypeError('a key is Unicode, without half surrogate pairs');
      return part;
    case 'number':
      if (!Number.isSafeInteger(part)) throw new TypeError('a number in a key is a whole one below 2^53; use a bigint');
      return String(part);
    case 'bigint':
    case 'boolean':
      return String(part);
    default:
      throw new TypeError('a part of a key is a string, a whole number, a bigint or a boolean');
  }
}

/**
 * The bucket of an encoded key.
 * @param {string | Buffer} key
 * @param {number} partitions
 * @returns {number}
 */
export function partitionOf(key, partitions) {
  return crc32(key) % Math.max(partitions, 1);
}

/** The greatest sum of the weights of a split. */
const MOST_WEIGHT = 1_000_000;

/**
 * The arm that an encoded key has in an A/B split of `lakemill serve`.
 * @param {string} salt the served name, unless the configuration has another one
 * @param {Record<string, number>} arms the weights by arm, in the order of the configuration
 * @param {string | Buffer} key
 * @returns {string}
 */
export function splitArm(salt, arms, key) {
  const weights = Object.entries(arms);
  const total = weights.reduce((sum, [, weight]) => sum + weight, 0);
  const areWhole = weights.every(([, weight]) => Number.isSafeInteger(weight) && weight >= 0);
  if (!areWhole || total < 1 || total > MOST_WEIGHT) {
    throw new RangeError(`the weights of a split are whole numbers from 0, and their sum is from 1 to ${MOST_WEIGHT}`);
  }
  const digits = createHash('sha256').update(`${salt}:`).update(key).digest('hex').slice(0, 15);
  // 60 bits are more than a number holds.
  let point = Number(BigInt(`0x${digits}`) % BigInt(total));
  return weights.find(([, weight]) => (point -= weight) < 0)[0];
}

const TOKEN = /"(?:[^"\\]|\\.)*"|[-+.0-9eE]+|true|false|null/g;

/**
 * A stored value as an object. Nothing is rounded: whole numbers that a number cannot hold are bigints,
 * and decimals are strings with all their digits. Dates and instants stay the text that is stored.
 * @param {string} value
 * @param {Column[]} columns
 * @returns {Value}
 */
export function decodeValue(value, columns) {
  const decimals = new Set(columns.filter((column) => column.type.includes('Decimal')).map((column) => column.name));
  const tokens = value.match(TOKEN) ?? [];
  const members = [];
  // The object is flat: names and values take turns.
  for (let index = 0; index + 1 < tokens.length; index += 2) {
    const name = JSON.parse(tokens[index]);
    members.push([name, scalar(tokens[index + 1], decimals.has(name))]);
  }
  return Object.fromEntries(members);
}

function scalar(token, isDecimal) {
  if (isDecimal && token !== 'null') return token;
  if (/^-?\d+$/.test(token) && !Number.isSafeInteger(Number(token))) return BigInt(token);
  return JSON.parse(token);
}

/**
 * Reads what `generation.json`, or the key of the same name in Redis, holds.
 * @param {string} json
 * @returns {Metadata}
 */
export function parseMetadata(json) {
  let raw;
  try {
    raw = JSON.parse(json);
  } catch (error) {
    throw new Damaged("the generation's metadata is damaged", { cause: error });
  }
  if (typeof raw?.format !== 'number') throw new Damaged("the generation's metadata is damaged");
  if (raw.format !== FORMAT) {
    throw new UnknownFormat(`the generation has format ${raw.format}, this reader reads ${FORMAT}`);
  }
  const metadata = {
    ...raw,
    ttl_secs: raw.ttl_secs ?? null,
    interval_end: new Date(raw.interval_end),
    published_at: new Date(raw.published_at),
  };
  const isWhole =
    Array.isArray(raw.key) && Array.isArray(raw.values) && Number.isSafeInteger(raw.generation) &&
    !Number.isNaN(metadata.interval_end.getTime()) && !Number.isNaN(metadata.published_at.getTime());
  if (!isWhole) throw new Damaged("the generation's metadata is damaged");
  return metadata;
}
