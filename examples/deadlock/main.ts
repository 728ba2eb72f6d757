/**
 * Two threads transfer money in opposite directions and run into a deadlock; one of them is told,
 * in PostgreSQL's words, gives way and begins again. HELP says how to run it.
 */

import { parseArgs } from "node:util";
import { Worker } from "node:worker_threads";
import { PallocError, SharedMemory } from "../../bindings/index.ts";
import { memoryStorage } from "../../bindings/storage/memory.ts";
import { BANK, BANK_BYTES, type TellerData, type TellerEvent, type Transfer } from "./messages.ts";
import { balancesText, reportText, timelineText } from "./report.ts";

const HELP = `Usage: node dist/examples/deadlock/main.js [options]

Two worker threads transfer money between two accounts, in opposite directions. Each locks the
account it takes from, then the one it gives to: a deadlock. After deadlock_timeout one of them
looks for it, is told, and gives back what it holds; the other goes on, and the first tries again.

Options:
  --deadlock-timeout TIME   how long a lock is waited for before deadlocks are looked for
                            (default 200ms)
  --json                    prints the events as JSON
  -h, --help                prints this
`;

const OPENING = 100;
const transfers: readonly Transfer[] = [
  { name: "alice", from: 7, to: 12, amount: 30 },
  { name: "bob", from: 12, to: 7, amount: 45 },
];
const accounts = transfers.map(({ from }) => from);

const options = {
  "deadlock-timeout": { type: "string", default: "200ms" },
  json: { type: "boolean", default: false },
  help: { type: "boolean", short: "h", default: false },
} as const;

/** Runs one thread to its end; what it tells is added to `events`. */
function runTeller(data: TellerData, events: TellerEvent[]): Promise<void> {
  const worker = new Worker(new URL("teller.js", import.meta.url), { workerData: data });
  worker.on("message", (event: TellerEvent) => events.push(event));
  return new Promise((resolve, reject) => {
    worker.once("error", reject);
    worker.once("exit", (code) => {
      if (code === 0) resolve();
      else reject(new Error(`${data.transfer.name} ended with ${code}`));
    });
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({ options });
  if (values.help) {
    process.stdout.write(HELP);
    return;
  }
  const shared = await SharedMemory.create({
    storage: memoryStorage(),
    settings: { deadlock_timeout: values["deadlock-timeout"], max_connections: transfers.length },
    segments: { [BANK]: BANK_BYTES },
  });
  try {
    const { words } = shared.segment(BANK);
    for (const account of accounts) words[account] = OPENING;
    const events: TellerEvent[] = [];
    const { handle } = shared;
    await Promise.all(transfers.map((transfer) => runTeller({ handle, transfer }, events)));
    events.sort((one, other) => one.time - other.time);
    const balances = accounts.map((account) => [account, words[account] ?? 0] as const);
    const text = values.json
      ? `${JSON.stringify({ events, balances }, undefined, 2)}\n`
      : `${timelineText(events)}\n${reportText(events)}\n${balancesText(balances, OPENING)}`;
    process.stdout.write(text);
  } finally {
    await shared.close();
  }
}

try {
  await main();
} catch (error) {
  const message =
    error instanceof PallocError || error instanceof TypeError ? error.message : error;
  process.stderr.write(`palloc: ${message}\n`);
  process.exitCode = 1;
}
