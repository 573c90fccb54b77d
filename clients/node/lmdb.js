/**
 * Reads a published LMDB file: the part of LMDB's format that a file has which never changes any more.
 *
 * Why not the package `lmdb`: as it is installed it reads version 2 of the format only, and lakemill, as
 * LMDB's releases up to 0.9 do, writes version 1. A published file needs no locks, no transactions and
 * no native code: it is looked at with plain reads, of which the system's cache serves nearly all.
 */

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { Damaged } from './errors.js';

const MAGIC = 0xbeefc0de;
const VERSION = 1;
const HEADER = 16;
const BRANCH = 0x01;
const LEAF = 0x02;
const OVERFLOW = 0x04;
const BIG_DATA = 0x01;
const NOWHERE = 0xffffffffffffffffn;
const MAX_DEPTH = 32;

/** So many branch pages are kept: those of a table of some hundred million keys. */
const KEPT_PAGES = 4096;

export class LmdbFile {
  #file;
  #pageBytes;
  #pages;
  #root;
  #branches = new Map();
  #leaf;

  /**
   * @param {string} path the file `data.mdb`
   * @param {number} bytes how long it has to be
   * @throws {Damaged} where it is not such a file
   */
  constructor(path, bytes) {
    this.#file = openSync(path, 'r');
    try {
      if (fstatSync(this.#file).size !== bytes) throw new Damaged('data.mdb has another size than recorded');
      const first = this.#meta(0);
      const second = this.#meta(first.pageBytes);
      const meta = second.transaction > first.transaction ? second : first;
      this.#pageBytes = meta.pageBytes;
      this.#pages = bytes / meta.pageBytes;
      this.#root = meta.root;
      this.#leaf = Buffer.alloc(meta.pageBytes);
    } catch (error) {
      this.close();
      throw error;
    }
  }

  close() {
    if (this.#file !== undefined) closeSync(this.#file);
    this.#file = undefined;
  }

  /**
   * @param {Buffer} key
   * @returns {Buffer | null} a copy of the value; null where there is no such key
   */
  get(key) {
    try {
      return this.#root === null ? null : this.#search(key);
    } catch (error) {
      if (error instanceof RangeError) throw new Damaged('data.mdb refers to what it lacks', { cause: error });
      throw error;
    }
  }

  #search(key) {
    let page = this.#page(this.#root);
    for (let depth = 0; depth < MAX_DEPTH; depth += 1) {
      const flags = page.readUInt16LE(10);
      if ((flags & LEAF) !== 0) return this.#find(page, key);
      if ((flags & BRANCH) === 0) break;
      // The first node of a branch page stands for everything below the second.
      const at = Math.max(0, this.#above(page, key, 1) - 1);
      const node = this.#node(page, at);
      page = this.#page(page.readUInt32LE(node) + page.readUInt16LE(node + 4) * 2 ** 32);
    }
    throw new Damaged('data.mdb holds no tree');
  }

  #meta(offset) {
    const meta = this.#read(Buffer.alloc(HEADER + 136), offset);
    if (meta.readUInt32LE(16) !== MAGIC || meta.readUInt32LE(20) !== VERSION) {
      throw new Damaged('data.mdb is no LMDB file of version 1');
    }
    const pageBytes = meta.readUInt32LE(40);
    // The flags of the table: none, so that keys are ordered by their bytes and there is one value a key.
    const flags = meta.readUInt16LE(92);
    if (pageBytes < 512 || pageBytes > 65536 || (pageBytes & (pageBytes - 1)) !== 0 || flags !== 0) {
      throw new Damaged('data.mdb is no lookup table');
    }
    const root = meta.readBigUInt64LE(128);
    return { pageBytes, root: root === NOWHERE ? null : Number(root), transaction: meta.readBigUInt64LE(144) };
  }

  /** The page of a number: a branch page is kept, any other stands in one buffer until the next call. */
  #page(number) {
    const kept = this.#branches.get(number);
    if (kept !== undefined) return kept;
    const page = this.#read(this.#leaf, this.#offset(number));
    if (page.readBigUInt64LE(0) !== BigInt(number)) throw new Damaged('data.mdb has another page in this place');
    if ((page.readUInt16LE(10) & BRANCH) === 0) return page;
    if (this.#branches.size >= KEPT_PAGES) this.#branches.clear();
    const branch = Buffer.from(page);
    this.#branches.set(number, branch);
    return branch;
  }

  #offset(number) {
    if (number < 2 || number >= this.#pages) throw new Damaged('data.mdb names a page that it lacks');
    return number * this.#pageBytes;
  }

  #read(buffer, offset) {
    if (readSync(this.#file, buffer, 0, buffer.length, offset) !== buffer.length) {
      throw new Damaged('data.mdb ends too early');
    }
    return buffer;
  }

  /** The offset of a node: 4 bytes of size or page, 2 of flags, 2 of the key's length, the key, the data. */
  #node(page, index) {
    const count = (page.readUInt16LE(12) - HEADER) >> 1;
    if (index >= count) throw new Damaged('data.mdb holds an empty page');
    const node = page.readUInt16LE(HEADER + 2 * index);
    if (node + 8 + page.readUInt16LE(node + 6) > page.length) throw new Damaged('data.mdb has a key beyond its page');
    return node;
  }

  /** The index, from `low` on, of the first node whose key is greater. */
  #above(page, key, low) {
    let high = (page.readUInt16LE(12) - HEADER) >> 1;
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.#compare(page, middle, key) > 0) high = middle;
      else low = middle + 1;
    }
    return low;
  }

  #compare(page, index, key) {
    const node = this.#node(page, index);
    return page.compare(key, 0, key.length, node + 8, node + 8 + page.readUInt16LE(node + 6));
  }

  #find(page, key) {
    const index = this.#above(page, key, 0) - 1;
    if (index < 0 || this.#compare(page, index, key) !== 0) return null;
    const node = this.#node(page, index);
    const length = page.readUInt32LE(node);
    const data = node + 8 + page.readUInt16LE(node + 6);
    if ((page.readUInt16LE(node + 4) & BIG_DATA) === 0) {
      if (data + length > page.length) throw new Damaged('data.mdb has a value beyond its page');
      return Buffer.from(page.subarray(data, data + length));
    }
    // A large value fills pages of its own, one after another behind one header.
    const offset = this.#offset(Number(page.readBigUInt64LE(data)));
    const header = this.#read(Buffer.alloc(HEADER), offset);
    const bytes = header.readUInt32LE(12) * this.#pageBytes - HEADER;
    if ((header.readUInt16LE(10) & OVERFLOW) === 0 || length > bytes) throw new Damaged('data.mdb lacks a large value');
    return this.#read(Buffer.alloc(length), offset + HEADER);
  }
}
