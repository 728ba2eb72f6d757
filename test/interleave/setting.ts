// What an engine is given: the region and the scripts, who chooses what runs next, who checks, and
// who wants to be told of every access.

import type { HostFunctions } from "../../bindings/abi/load.ts";
import type { WasmModule } from "../../bindings/abi/wasm-types.ts";
import type { Engine } from "./engine.ts";
import { type Segment, TO_THE_END } from "./schedule.ts";
import type { Script } from "./steps.ts";
import type { Shape, World } from "./world.ts";

/** What a schedule does where its text ends. */
export interface Policy {
  /** The next to run, out of a mask that is not empty. */
  choose(mask: number, engine: Engine): number;
  /** How long it runs at most, or TO_THE_END. */
  length(fiber: number, engine: Engine): number;
  /** Whether it dies now that this length is over. */
  dies(fiber: number, engine: Engine): boolean;
  /** Somebody who is to die in his sleep now, as a segment. */
  kills?(engine: Engine): Segment | undefined;
}

/** Goes on with whoever runs; else the first who can. */
export const goOn: Policy = {
  choose: (mask) => lowestOf(mask),
  length: () => TO_THE_END,
  dies: () => false,
};

/** What a run of the engine is about. */
export interface Setting {
  readonly module: WasmModule;
  readonly buffers: number;
  readonly shape?: Shape;
  /** The owner's script, then one a backend. */
  readonly scripts: readonly Script[];
  /** Prepares region and storage, with calls that run through. */
  readonly prepare: (world: World) => void;
  /** What a check finds wrong, if anything. */
  readonly check: (engine: Engine) => string | undefined;
  readonly close: (engine: Engine) => string | undefined;
  /** Told of every access; for the race check. */
  readonly watch?: Watch;
}

/** Who wants to be told of every access. */
export interface Watch {
  /** Imports of the instrumented build, for one slot. */
  readonly imports: (slot: number) => HostFunctions;
  begin(engine: Engine): void;
  atomic(fiber: number, kind: number, at: number): void;
  /** A page's half is read or written by a request. */
  bytes(fiber: number, at: number, write: boolean): void;
  died(fiber: number): void;
}

/** Tells both of everything. */
export function together(one: Watch, other: Watch | undefined): Watch {
  if (other === undefined) return one;
  return {
    imports: (slot) => ({ ...one.imports(slot), ...other.imports(slot) }),
    begin: (engine) => {
      one.begin(engine);
      other.begin(engine);
    },
    atomic: (fiber, kind, at) => {
      one.atomic(fiber, kind, at);
      other.atomic(fiber, kind, at);
    },
    bytes: (fiber, at, write) => {
      one.bytes(fiber, at, write);
      other.bytes(fiber, at, write);
    },
    died: (fiber) => {
      one.died(fiber);
      other.died(fiber);
    },
  };
}

/** The number of the lowest bit of a mask. */
export function lowestOf(mask: number): number {
  return 31 - Math.clz32(mask & -mask);
}
