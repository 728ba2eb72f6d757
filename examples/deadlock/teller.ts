/**
 * A thread that transfers money: it locks the account it takes from, then the one it gives to. Two
 * that do so in opposite directions wait for each other. The way out is the same as with any
 * database: whoever is told of the deadlock gives back what it holds and begins again.
 *
 * Both meet between their two locks, so that it comes to a deadlock every time.
 */

import { parentPort, threadId, workerData } from "node:worker_threads";
import { Backend, DeadlockError } from "../../bindings/index.ts";
import { BANK, BARRIER, type TellerData, type TellerEvent } from "./messages.ts";

const TELLERS = 2;
const LONGEST_WAIT_MS = 10_000;

const { handle, transfer } = workerData as TellerData;
const backend = Backend.attachSync(handle);
const { words } = backend.segment(BANK);

function tell(what: TellerEvent["what"], more: Partial<TellerEvent> = {}): void {
  const time = performance.timeOrigin + performance.now();
  const event: TellerEvent = { name: transfer.name, pid: threadId, time, what, ...more };
  parentPort?.postMessage(event);
}

function lock(account: number): void {
  tell("asks", { account });
  backend.locks.advisoryXactLockSync(account);
  tell("got", { account });
}

/** Until both are here; the second time nobody waits. */
function meet(): void {
  const here = Atomics.add(words, BARRIER, 1) + 1;
  if (here < TELLERS) Atomics.wait(words, BARRIER, here, LONGEST_WAIT_MS);
  else Atomics.notify(words, BARRIER);
}

/** One attempt; false if it ended in a deadlock. Its locks go in any case. */
function attempt({ from, to, amount }: typeof transfer): boolean {
  try {
    lock(from);
    meet();
    lock(to);
    words[from] = (words[from] ?? 0) - amount;
    words[to] = (words[to] ?? 0) + amount;
    return true;
  } catch (error) {
    if (!(error instanceof DeadlockError)) throw error;
    const { code, message, detail = "", hint = "" } = error;
    tell("deadlock", { report: { code, message, detail, hint } });
    return false;
  } finally {
    backend.locks.releaseAll("transaction");
  }
}

while (!attempt(transfer)) tell("released");
tell("done");
backend.detach();
