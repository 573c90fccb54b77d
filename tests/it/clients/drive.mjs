/** Reads tables as the tests say: a command as JSON on each line of standard input, an answer on each of the output. */

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

async function cluster(url) {
  const { createCluster } = createRequire(process.argv[2])('redis');
  const client = createCluster({ rootNodes: [{ url }] });
  client.on('error', () => {});
  await client.connect();
  return client;
}

async function answer(command) {
  switch (command.do) {
    case 'open':
      table = await LookupTable.open(command.cluster ? await cluster(command.location) : command.location, command.table, {
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
