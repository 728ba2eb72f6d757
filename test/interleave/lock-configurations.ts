// Heavyweight locks taken by several at the same time: everything that two or three backends can do
// to one lock or to one relation, each small enough for every order of its steps within a bound.

import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import { Engine } from "./engine.ts";
import { brokenLock, leftOfLocks, lockWatch } from "./lock-beliefs.ts";
import {
  adding,
  advisory,
  cancelling,
  type LockAct,
  leavingLocked,
  locking,
  lockingAll,
  lockingTwice,
  lockScript,
  relation,
  tryingLock,
  upgrading,
} from "./lock-operations.ts";
import { owner } from "./operations.ts";
import { parseSchedule } from "./schedule.ts";
import { together, type Watch } from "./setting.ts";
import type { Script } from "./steps.ts";
import { simulationModule } from "./world.ts";

/** Records a backend: one or two are used. */
const RECORDS = 2;

export interface LockConfiguration {
  readonly name: string;
  readonly backends: readonly Script[];
}

function group(name: string, ...acts: readonly LockAct[]): LockConfiguration {
  return { name, backends: acts.map((act) => lockScript(act)) };
}

const key = advisory(7);
const table = relation(9);
const [weak, share, exclusive, everything] = [1, 5, 7, 8];

/** Two backends. */
export const lockPairs: readonly LockConfiguration[] = [
  group("exclusive + exclusive", locking(key, exclusive), locking(key, exclusive)),
  group("exclusive + share", locking(key, exclusive), locking(key, share)),
  group("share + share", locking(key, share), locking(key, share)),
  group("upgrade + upgrade", upgrading(key, share, exclusive), upgrading(key, share, exclusive)),
  group("upgrade + exclusive", upgrading(key, share, exclusive), locking(key, exclusive)),
  group("upgrade + share", upgrading(key, share, exclusive), locking(key, share)),
  group("exclusive + cancel", locking(key, exclusive), cancelling(key, exclusive)),
  group("exclusive + try", locking(key, exclusive), tryingLock(key, share)),
  group("twice + exclusive", lockingTwice(key, exclusive), locking(key, exclusive)),
  group("weak + strong", locking(table, weak), locking(table, everything)),
  group("weak twice + strong", lockingTwice(table, weak), locking(table, everything)),
  group("weak, stronger + strong", upgrading(table, weak, 3), locking(table, everything)),
  group("weak, stronger at once + strong", adding(table, weak, 3), locking(table, everything)),
  group("weak, strong + strong", upgrading(table, weak, exclusive), locking(table, exclusive)),
  group("weak + cancelled strong", locking(table, weak), cancelling(table, everything)),
  group("weak + strong that does not wait", locking(table, weak), tryingLock(table, everything)),
  group("strong + strong", locking(table, share), locking(table, everything)),
  group("all + strong", lockingAll([table, weak], [key, share]), locking(table, everything)),
  group("leave + exclusive", leavingLocked([key, exclusive]), locking(key, share)),
  group("leave + strong", leavingLocked([table, weak]), locking(table, everything)),
];

/** Three backends. */
export const lockTrios: readonly LockConfiguration[] = [
  group("three exclusive", ...Array.from({ length: 3 }, () => locking(key, exclusive))),
  group(
    "share + exclusive + share",
    locking(key, share),
    locking(key, exclusive),
    locking(key, share),
  ),
  group(
    "share + cancel + share",
    locking(key, share),
    cancelling(key, exclusive),
    locking(key, share),
  ),
  group(
    "upgrade + exclusive + share",
    upgrading(key, share, 6),
    locking(key, exclusive),
    locking(key, share),
  ),
  group(
    "weak + strong + weak",
    locking(table, weak),
    locking(table, everything),
    locking(table, weak),
  ),
  group(
    "weak + strong + strong",
    locking(table, weak),
    locking(table, share),
    locking(table, everything),
  ),
  group(
    "weak + leave + strong",
    locking(table, weak),
    leavingLocked([table, 2]),
    locking(table, everything),
  ),
];

const simulation: WasmModule = simulationModule();

/** An engine over the simulation build or another of the kind; `watch` watches as well. */
export function lockEngine(
  { backends }: LockConfiguration,
  module: WasmModule = simulation,
  watch?: Watch,
): Engine {
  return new Engine({
    module,
    buffers: 1,
    shape: { locks: RECORDS },
    scripts: [owner, ...backends],
    prepare: (world) => world.instance(0).startAt(1, 0),
    check: brokenLock,
    close: leftOfLocks,
    watch: together(lockWatch(), watch),
  });
}

/** Runs a schedule again from its text. */
export function replayLocks(configuration: LockConfiguration, text: string, tell = false): void {
  const engine = lockEngine(configuration);
  if (tell) {
    engine.trace = (fiber, kind, at) =>
      process.stdout.write(`${"oabc"[fiber]} ${kind} ${at.toString(16)}\n`);
  }
  engine.run(parseSchedule(text));
}
