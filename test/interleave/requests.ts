// What must be true of requests to I/O workers, after every step and in the end: whose frames a
// request names, by its phase (assembly/buffer/ioqueue.ts).

import {
  LIFE_ACTIVE,
  LIFE_STATE_MASK,
  OWNER_MASK,
  SLOT_BYTES,
  STATE_IO,
  STATE_VALID,
} from "../../assembly/common/constants.ts";
import {
  IO_REQUESTS,
  REQUEST_DONE,
  REQUEST_HANDING,
  REQUEST_ORPHAN,
  REQUEST_PHASE_MASK,
  REQUEST_READING,
  REQUEST_SUBMITTED,
} from "../../assembly/common/io-constants.ts";
import type { Engine } from "./engine.ts";
import { WORD_SHIFT, type World } from "./world.ts";

/** Requests that a backend of these configurations has at once, at most. */
const AT_ONCE = 4;

/** What is wrong with a request, or undefined. */
export function brokenRequest(engine: Engine): string | undefined {
  const { world } = engine;
  if (world.at.queue === 0) return undefined;
  for (let slot = 0; slot < world.slots; slot += 1) {
    for (let request = 0; request < AT_ONCE; request += 1) {
      const state = world.u32[world.requestWord(slot, request)] ?? 0;
      if (state === 0) continue;
      const wrong = brokenState(state) ?? brokenFrames(engine, slot, request, state);
      if (wrong !== undefined) return `request ${request} of slot ${slot}: ${wrong}`;
    }
  }
  return undefined;
}

/** Whether some request is not free. */
export function requestLeft(world: World): string | undefined {
  for (let slot = 0; slot < world.slots && world.at.queue !== 0; slot += 1) {
    for (let request = 0; request < IO_REQUESTS; request += 1) {
      const state = world.u32[world.requestWord(slot, request)] ?? 0;
      if (state !== 0) return `request ${request} of slot ${slot} is left: ${state.toString(16)}`;
    }
  }
  return undefined;
}

function brokenState(state: number): string | undefined {
  const phase = state & REQUEST_PHASE_MASK;
  const taken = phase === REQUEST_HANDING || phase === REQUEST_READING;
  if (taken !== ((state & OWNER_MASK) !== 0)) return "taken by nobody, or free and somebody's";
  if ((state & REQUEST_ORPHAN) !== 0 && !taken) return "nobody waits for it, and nobody has it";
  return undefined;
}

function brokenFrames(
  engine: Engine,
  slot: number,
  request: number,
  state: number,
): string | undefined {
  const { world } = engine;
  const phase = state & REQUEST_PHASE_MASK;
  const worker = state & OWNER_MASK;
  // Of a dead worker the frames are let go one by one, and of a living one that ends its reads.
  const settled = worker !== 0 && !isActive(world, worker - 1);
  const ends = worker !== 0 && engine.fibers[worker - 1]?.inside === "endRequest";
  for (const buffer of world.requestFrames(slot, request)) {
    const frame = world.state(buffer);
    const reads = (frame & STATE_IO) !== 0;
    const owner = frame & OWNER_MASK;
    const isRequesters = reads && owner === slot + 1;
    const isWorkers = reads && owner === worker;
    if (phase === REQUEST_SUBMITTED) {
      if (!isRequesters) return `buffer ${buffer} is not the requester's`;
    } else if (phase === REQUEST_HANDING && !settled) {
      if (!isRequesters && !isWorkers) return `buffer ${buffer} is handed over by somebody else`;
    } else if (phase === REQUEST_READING && !settled && !ends) {
      if (!isWorkers) return `buffer ${buffer} is not the worker's`;
    } else if (phase === REQUEST_DONE && isActive(world, slot)) {
      if ((frame & STATE_VALID) === 0) return `buffer ${buffer} is not valid, and done`;
    }
  }
  return undefined;
}

function isActive(world: World, slot: number): boolean {
  const life = world.u32[(world.at.slots + slot * SLOT_BYTES) >>> WORD_SHIFT] ?? 0;
  return (life & LIFE_STATE_MASK) === LIFE_ACTIVE;
}
