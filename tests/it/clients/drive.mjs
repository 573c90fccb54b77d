/** Reads tables as the tests say: a command as JSON on each line of standard input, an answer on each of the output. */

import { readFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';

const { LookupTable } = await import(pathToFileURL(process.argv[2]).href);

const KINDS = { string: String, int: BigInt, bool: Boolean, date: String };

function part(typed) {
  const [[kind, value]] = Object.entries(typed);
  return KINDS[kind](value);
}

let table;

function credentials(location) {
  const { username, password } = new URL(location);
  return username ? { username: decodeURIComponent(username), password: decodeURIComponent(password) } : {};
}

/** A client of the caller's own. What a URL alone trusts is what NODE_EXTRA_CA_CERTS names, which the tests set. */
async function own({ location: url, ca }) {
  const { createClient } = createRequire(process.argv[2])('redis');
  const client = createClient({ url, socket: { tls: true, ca: readFileSync(ca), reconnectStrategy: false } });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function cluster({ location, ca }) {
  const { createCluster } = createRequire(process.argv[2])('redis');
  // What the root's URL says is not taken for the other nodes.
  const secured = ca === undefined ? {} : { socket: { tls: true, ca: readFileSync(ca) } };
  const client = createCluster({ rootNodes: [{ url: location }], defaults: { ...credentials(location), ...secured } });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function place(command) {
  if (command.via === 'client') return own(command);
  return command.cluster ? cluster(command) : command.location;
}

async function answer(command) {
  switch (command.do) {
    case 'open':
      table = await LookupTable.open(await place(command), command.table, {
        prefix: command.prefix,
        checkMillis: command.check_millis,
      });
      return {};
    case 'get':
      return { values: await table.getManyTexts(command.keys.map((key) => key.map(part))) };
    case 'metadata': {
      await table.refresh();
      const told = table.metadata;
      return {
        generation: told.generation,
        interval: told.interval,
        keys: told.keys,
        ttl_secs: told.ttl_secs,
        model_version: told.model_version,
        interval_end: told.interval_end.getTime(),
        published_at: told.published_at.getTime(),
        age: table.age(),
        columns: [...told.key, ...told.values].map((column) => column.name),
      };
    }
    case 'close':
      await table.close();
      return {};
    default:
      throw new Error(command.do);
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  let said;
  try {
    said = await answer(JSON.parse(line));
  } catch (error) {
    said = { error: error.name, message: error.message };
  }
  process.stdout.write(`${JSON.stringify(said)}\n`);
}
await table?.close();
