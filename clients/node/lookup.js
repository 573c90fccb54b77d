/**
 * Reads a lookup table that lakemill publishes: from the files under a home, or from Redis.
 *
 *     import { LookupTable } from './lookup.js';
 *
 *     const table = await LookupTable.open('demo/home', 'card_fraud');    // or 'redis://host:6379/0'
 *     await table.get(42);                                                // { score: 0.25, ... }, or null
 *     await table.getMany([42, 43]);                                      // all from one generation
 *     table.metadata.interval;
 *     await table.close();
 *
 * Needs Node 20.15, and the package `redis` where a URL of Redis is given. The layout that it follows is
 * specified in the README beside this folder.
 */

import { Damaged, Expired, LookupTableError, NotPublished } from './errors.js';
import { decodeValue, encodeKey } from './encoding.js';
import { Files, Redis } from './stores.js';

export * from './errors.js';
export { FORMAT, decodeValue, encodeKey, partitionOf, splitArm } from './encoding.js';

/** @import { Key, KeyPart, Metadata, Value } from './encoding.js' */

/** How often a read starts again because the table was published anew under it. */
const TRIES = 32;

/** By so much the clocks of this machine and of a server may differ, where keys end by both. */
const CLOCKS_APART_MILLIS = 5000;

/**
 * @typedef {object} Options
 * @property {string} [prefix] that of the keys in Redis; `lakemill`
 * @property {number} [checkMillis] how long the pointer to the current generation is believed before it is
 *   looked at again (0: looked at for every read); 1000
 */

export class LookupTable {
  #store;
  #table;
  #checkMillis;
  /** The generation that answers. */
  #opened;
  #checkedAt = -Infinity;
  #checking = null;
  #isClosed = false;

  /**
   * Opens a table.
   * @param {string | object} location a home (the folder that holds `lookup/`), the URL of a Redis server
   *   (`redis://`, `rediss://`), or a connected client or cluster of the package `redis`, which is not closed here:
   *   with it TLS, users and time-outs are as you set them up
   * @param {string} table
   * @param {Options} [options]
   * @returns {Promise<LookupTable>}
   * @throws {NotPublished} where nothing is published under this name
   */
  static async open(location, table, { prefix = 'lakemill', checkMillis = 1000 } = {}) {
    let store;
    if (typeof location !== 'string') store = new Redis(location, false, prefix, table);
    else if (/^rediss?:\/\//.test(location)) store = await Redis.connect(location, prefix, table);
    else store = new Files(location, table);
    const opened = new LookupTable(store, table, checkMillis);
    try {
      await opened.#openCurrent();
    } catch (error) {
      await opened.close();
      throw error;
    }
    return opened;
  }

  /** Use {@link LookupTable.open}. */
  constructor(store, table, checkMillis) {
    this.#store = store;
    this.#table = table;
    this.#checkMillis = checkMillis;
  }

  /**
   * The value under a key, one argument a key column; null where there is no such key.
   * @param {...KeyPart} key
   * @returns {Promise<Value | null>}
   */
  async get(...key) {
    return (await this.getMany([key]))[0];
  }

  /**
   * The values under many keys, all from one generation.
   * @param {Key[]} keys
   * @returns {Promise<(Value | null)[]>}
   */
  async getMany(keys) {
    const { values, metadata } = await this.#read(keys);
    return values.map((value) => (value === null ? null : decodeValue(value, metadata.values)));
  }

  /**
   * As {@link get}, but the stored JSON as it is.
   * @param {...KeyPart} key
   * @returns {Promise<string | null>}
   */
  async getText(...key) {
    return (await this.getManyTexts([key]))[0];
  }

  /**
   * As {@link getMany}, but the stored JSON as it is.
   * @param {Key[]} keys
   * @returns {Promise<(string | null)[]>}
   */
  async getManyTexts(keys) {
    return (await this.#read(keys)).values;
  }

  /**
   * What the current generation says about itself, as of the last read; {@link refresh} looks anew.
   * @returns {Metadata}
   */
  get metadata() {
    return this.#opened.metadata;
  }

  /**
   * How many milliseconds ago the interval ended that the values know: how old they are, whenever published.
   * @param {Date} [now]
   * @returns {number}
   */
  age(now = new Date()) {
    return now.getTime() - this.metadata.interval_end.getTime();
  }

  /** Looks at the pointer, unless that was done within `checkMillis`, and opens what it names. */
  async refresh() {
    if (this.#isClosed) throw new LookupTableError('the lookup table is closed');
    if (performance.now() - this.#checkedAt < this.#checkMillis) return;
    // Reads that come meanwhile wait for the same look.
    this.#checking ??= this.#check().finally(() => {
      this.#checking = null;
    });
    await this.#checking;
  }

  /** Lets go of the file or of the connection. */
  async close() {
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.#opened?.close();
    await this.#store.close();
  }

  async [Symbol.asyncDispose ?? Symbol.for('Symbol.asyncDispose')]() {
    await this.close();
  }

  async #read(keys) {
    const parts = keys.map((key) => (Array.isArray(key) ? key : [key]));
    await this.refresh();
    for (let tried = 0; tried < TRIES; tried += 1) {
      if (this.#isClosed) throw new LookupTableError('the lookup table is closed');
      // A file is read before anything else can happen here, so that it cannot be closed meanwhile.
      const generation = this.#opened;
      const { metadata } = generation;
      const values = await generation.read(parts.map((key) => this.#encoded(key, metadata)));
      // Nothing found may mean that the generation was removed: only while it is the current one is a
      // missing key known to be missing.
      const isSure =
        generation.stays || !values.includes(null) || (await this.#store.current()) === metadata.generation;
      if (isSure) {
        // Looked at last: where keys have been removed because their time was over, it is over now; by the
        // server's clock it may be over a little earlier.
        const early = generation.stays || !values.includes(null) ? 0 : CLOCKS_APART_MILLIS;
        const expiresAt = metadata.ttl_secs === null ? Infinity : metadata.published_at.getTime() + metadata.ttl_secs * 1000;
        if (Date.now() + early >= expiresAt) {
          const ended = new Date(expiresAt).toISOString();
          throw new Expired(`${this.#table}: generation ${metadata.generation} has ended at ${ended}`);
        }
        return { values, metadata };
      }
      await this.#openCurrent();
    }
    throw new LookupTableError(`${this.#table}: the table is published faster than it can be read`);
  }

  #encoded(key, metadata) {
    if (key.length !== metadata.key.length) {
      const names = metadata.key.map((column) => column.name).join(', ');
      throw new TypeError(`a key of ${this.#table} has ${metadata.key.length} columns (${names}), not ${key.length}`);
    }
    return encodeKey(key);
  }

  async #check() {
    const checkedAt = performance.now();
    if ((await this.#store.current()) === this.#opened.metadata.generation) this.#checkedAt = checkedAt;
    else await this.#openCurrent();
  }

  async #openCurrent() {
    let number = await this.#store.current();
    for (let tried = 0; tried < TRIES; tried += 1) {
      if (number === null) throw new NotPublished(`nothing is published in the lookup table ${this.#table}`);
      const checkedAt = performance.now();
      try {
        const opened = await this.#store.open(number);
        const { generation, table } = opened.metadata;
        if (generation !== number || table !== this.#table) {
          opened.close();
          throw new Damaged(`the metadata of generation ${number} is that of another one`);
        }
        this.#opened?.close();
        this.#opened = opened;
        this.#checkedAt = checkedAt;
        return;
      } catch (error) {
        if (!(error instanceof Damaged) && error.code !== 'ENOENT') throw error;
        // Was it removed between reading the pointer and opening?
        const again = await this.#store.current();
        if (again === number) {
          throw new Damaged(`${this.#table}: generation ${number} is missing or damaged: ${error.message}`, { cause: error });
        }
        number = again;
      }
    }
    throw new LookupTableError(`${this.#table}: the table is published faster than it can be opened`);
  }
}
