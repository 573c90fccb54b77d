/** Where generations lie: in files, or in Redis. */

import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { Damaged, UnknownFormat } from './errors.js';
import { parseMetadata, partitionOf } from './encoding.js';
import { LmdbFile } from './lmdb.js';

/** Redis is asked for at most so many keys at once. */
const BATCH_KEYS = 1000;

/** The store of files: `<home>/lookup/<table>`, which is only ever read. */
export class Files {
  #folder;

  constructor(home, table) {
    this.#folder = path.join(home, 'lookup', table);
  }

  /** @returns {Promise<number | null>} the generation that the pointer names */
  async current() {
    let name;
    try {
      name = (await readFile(path.join(this.#folder, 'CURRENT'), 'latin1')).trimEnd();
    } catch (error) {
      if (error.code === 'ENOENT') return null;
      throw error;
    }
    if (!/^v=\d{6,}$/.test(name)) throw new Damaged(`CURRENT names no generation: ${name.slice(0, 40)}`);
    return Number(name.slice(2));
  }

  async open(number) {
    const folder = path.join(this.#folder, `v=${String(number).padStart(6, '0')}`);
    const metadata = parseMetadata(await readFile(path.join(folder, 'generation.json'), 'utf8'));
    return new FileGeneration(metadata, new LmdbFile(path.join(folder, 'data.mdb'), metadata.file_bytes));
  }

  async close() {}
}

/** One LMDB file. It stays readable while it is open, also when it has been removed. */
class FileGeneration {
  stays = true;
  #file;

  constructor(metadata, file) {
    this.metadata = metadata;
    this.#file = file;
  }

  /** Reads before it returns. */
  read(keys) {
    return keys.map((key) => this.#file.get(Buffer.from(key))?.toString() ?? null);
  }

  close() {
    this.#file.close();
  }
}

/** The store of a Redis server or cluster. */
export class Redis {
  #client;
  #isOwn;
  #prefix;
  #table;

  static async connect(url, prefix, table) {
    // The error of the URL itself would show the password.
    if (!URL.canParse(url)) throw new TypeError('the location of a Redis server is not a URL');
    const { createClient } = await import('redis');
    let isConnected = false;
    const client = createClient({
      url,
      // Without its queue a read fails at once while the server is away, and does not wait for it.
      disableOfflineQueue: true,
      // The first connection is made or it fails; one that is lost is made anew.
      socket: { reconnectStrategy: (tries, cause) => (isConnected ? Math.min(50 * 2 ** tries, 2000) : cause) },
    });
    // Reads fail with what is wrong; without a listener the process would end.
    client.on('error', () => {});
    try {
      await client.connect();
      isConnected = true;
    } catch (error) {
      if (client.isOpen) client.destroy();
      throw error;
    }
    return new Redis(client, true, prefix, table);
  }

  constructor(client, isOwn, prefix, table) {
    this.#client = client;
    this.#isOwn = isOwn;
    this.#prefix = prefix;
    this.#table = table;
  }

  /** @returns {Promise<number | null>} the generation that the pointer names */
  async current() {
    const number = await this.#client.get(`${this.#prefix}:${this.#table}:current`);
    if (number === null) return null;
    if (!/^\d+$/.test(number)) throw new Damaged(`the pointer names no generation: ${String(number).slice(0, 40)}`);
    return Number(number);
  }

  async open(number) {
    const json = await this.#client.get(`${this.#prefix}:${this.#table}:generation:${number}`);
    if (json === null) throw new Damaged('its metadata is gone');
    return new RedisGeneration(this.#client, this.#prefix, this.#table, parseMetadata(String(json)));
  }

  async close() {
    if (this.#isOwn && this.#client.isOpen) this.#client.destroy();
  }
}

/** One generation in Redis. It may be removed under a reader once another one is current. */
class RedisGeneration {
  stays = false;
  #client;
  #prefix;
  #table;

  constructor(client, prefix, table, metadata) {
    this.#client = client;
    this.#prefix = prefix;
    this.#table = table;
    this.metadata = metadata;
    const { layout, partitions } = metadata;
    if (layout !== 'buckets' && layout !== 'strings') {
      throw new UnknownFormat(`the generation has the layout ${layout}, this reader reads buckets and strings`);
    }
    if (layout === 'buckets' && !(Number.isSafeInteger(partitions) && partitions > 0)) {
      throw new Damaged("the generation's metadata has no number of partitions");
    }
  }

  async read(keys) {
    const values = [];
    for (let start = 0; start < keys.length; start += BATCH_KEYS) {
      // The client sends what is asked in one go as one pipeline.
      const asked = keys.slice(start, start + BATCH_KEYS).map((key) => this.#ask(key));
      values.push(...(await Promise.all(asked)));
    }
    return values.map((value) => (value === null ? null : String(value)));
  }

  #ask(key) {
    const { generation, layout, partitions } = this.metadata;
    if (layout === 'strings') return this.#client.get(`${this.#prefix}:${this.#table}:${generation}:${key}`);
    return this.#client.hGet(`${this.#prefix}:{${this.#table}:${partitionOf(key, partitions)}}:${generation}`, key);
  }

  close() {}
}
