// One backend of a schedule: its operations, and its calls into wasm that can be stopped and taken
// up again.
//
// A call that is stopped half way returns through the generator that made it as an exception. When
// the backend goes on, the generator is made anew and given the same answers as before, up to that
// call, which then rewinds. So operations are written as they are anywhere else, and nothing in
// them knows that it can be interrupted between two instructions of wasm.

import type { SharedExports } from "../../bindings/abi/shared-exports.ts";
import type { Actor, Deed, Operation, Request, Script } from "./steps.ts";
import { type Exports, WORD_SHIFT, type World } from "./world.ts";

/** Travels through an operation whose call was stopped. */
const STOPPED = Symbol("stopped");

const SETTLING = /^settleCleanup/;

/** How a backend came to a stop. */
export type Pause = "cut" | "asleep" | "tired" | "idle" | "done";

/** The part of the engine that fibers talk to. */
export interface Driver {
  /** Set by a hook that made the running call unwind. */
  unwinding: boolean;
  /** True once the schedule has failed: nothing may touch the region any more. */
  over: boolean;
  /** Steps of the schedule so far. */
  readonly steps: number;
  /** Carries out a request, or as much of it as may be done before the fiber is cut. */
  perform(fiber: Fiber, request: Request): number | typeof PAUSED;
  /** Before a step that TypeScript makes by itself; true if the fiber is to stop there. */
  stopsBefore(fiber: Fiber, deed: Deed<unknown>): boolean;
  /** A call into wasm has come to its end. */
  returned(fiber: Fiber, name: string, result: number): void;
}

/** A request that could not be finished yet. */
export const PAUSED: unique symbol = Symbol("paused");

export class Fiber {
  readonly index: number;
  readonly bit: number;
  /** Slot it acts for; changes when it attaches. */
  slot: number;
  readonly exports: Exports;
  /** Why it does not run at the moment. */
  pause: Pause = "cut";
  /** Address it sleeps on, while asleep or idle. */
  sleepingOn = 0;
  /** Taken up again inside `blocked`: it was asleep, and not merely about to be. */
  slept = false;
  /** Inside a call that rewinds. */
  rewinding = false;
  /** Progress within the request being carried out. */
  stage = 0;
  /** The point before the next step was passed already: the fiber was cut there. */
  passed = false;
  /** The export it is in, or was in last, and its first argument. */
  inside = "";
  argument = 0;
  /** Steps of the schedule when it last began to look whether a cleanup lock may stand. */
  settling = 0;

  readonly driver: Driver;
  readonly #world: World;
  readonly #script: Script;
  readonly #actor: Actor;
  #operation: Operation<unknown> | undefined;
  #request: Request | undefined;
  readonly #answers: unknown[] = [];
  #given = 0;
  #inCall = false;
  #dropped = false;

  constructor(
    driver: Driver,
    world: World,
    index: number,
    script: Script,
    actor: Pick<Actor, "slots" | "buffers">,
  ) {
    this.index = index;
    this.bit = 1 << index;
    this.slot = index;
    this.exports = world.instance(index);
    this.driver = driver;
    this.#world = world;
    this.#script = script;
    this.#actor = {
      x: this.#wrapped(),
      word: this.#word(),
      once: (deed) => this.#once(deed),
      memory: world.memory.buffer as SharedArrayBuffer,
      slot: index,
      ...actor,
    };
  }

  /** Before the first step of a schedule. */
  reset(): void {
    this.slot = this.index;
    this.pause = "cut";
    this.sleepingOn = 0;
    this.slept = false;
    this.rewinding = false;
    this.stage = 0;
    this.passed = false;
    this.inside = "";
    this.#operation = undefined;
    this.#request = undefined;
    this.#answers.length = 0;
    this.#given = 0;
    this.#inCall = false;
    this.#dropped = false;
  }

  /** Runs until something stops it; `pause` says what. */
  resume(): void {
    this.pause = "cut";
    try {
      this.#advance();
    } catch (error) {
      if (error !== STOPPED) throw error;
    }
  }

  #advance(): void {
    if (this.#operation === undefined) this.#begin();
    const operation = this.#operation as Operation<unknown>;
    for (;;) {
      if (this.#request !== undefined) {
        const answer = this.#answer(this.#request);
        if (answer === PAUSED) return;
        this.#request = undefined;
        this.stage = 0;
        this.#step(operation, answer);
      }
      if (this.#request === undefined) {
        this.pause = "done";
        return;
      }
    }
  }

  #begin(): void {
    this.#operation = this.#script(this.#actor);
    this.#given = 0;
    this.#dropped = false;
    this.#step(this.#operation, 0);
  }

  /** Gives the operation an answer; its next request is kept. */
  #step(operation: Operation<unknown>, answer: number): void {
    const { done, value } = operation.next(answer);
    this.#request = done ? undefined : value;
  }

  /** The answer to a request: the recorded one, or a new one, which is recorded. */
  #answer(request: Request): number | typeof PAUSED {
    if (this.#given < this.#answers.length) return this.#answers[this.#given++] as number;
    if (request.do === "sleep") return this.#call(this.exports.sleep as Raw, "sleep", [1]);
    const answer = this.driver.perform(this, request);
    if (answer === PAUSED) return PAUSED;
    this.#answers.push(answer);
    this.#given += 1;
    return answer;
  }

  /** Calls an export, or goes on with the call that was stopped. */
  #call(raw: Raw, name: string, given: readonly number[]): number {
    if (this.#given < this.#answers.length) return this.#answers[this.#given++] as number;
    if (this.#dropped || this.driver.over) throw STOPPED;
    const [a = 0, b = 0, c = 0, d = 0, e = 0, f = 0] = given;
    this.inside = name;
    this.argument = a;
    if (!this.#inCall && SETTLING.test(name)) this.settling = this.driver.steps;
    if (this.#inCall) {
      this.#inCall = false;
      this.rewinding = true;
      this.exports.asyncify_start_rewind(this.#world.stack(this.index));
    }
    const result = raw(a, b, c, d, e, f) ?? 0;
    if (this.driver.unwinding) this.#stopped();
    this.inside = "";
    this.driver.returned(this, name, result);
    this.#answers.push(result);
    this.#given += 1;
    return result;
  }

  #stopped(): never {
    this.driver.unwinding = false;
    this.exports.asyncify_stop_unwind();
    this.#inCall = true;
    // A sleep is a request of a generator that waits at its yield; all else is made anew.
    if (this.#request?.do !== "sleep") this.#drop();
    throw STOPPED;
  }

  #drop(): void {
    this.#operation = undefined;
    this.#request = undefined;
    this.#dropped = true;
  }

  /** A step that TypeScript makes by itself: what it gives is kept like the result of a call. */
  #once<Result>(deed: Deed<Result>): Result {
    if (this.#given < this.#answers.length) return this.#answers[this.#given++] as Result;
    if (this.#dropped || this.driver.over) throw STOPPED;
    if (this.driver.stopsBefore(this, deed)) {
      this.#drop();
      throw STOPPED;
    }
    const result = deed.act(this.#world);
    this.#answers.push(result);
    this.#given += 1;
    return result;
  }

  /** Recorded like a call, so that it answers the same when the operation is made anew. */
  #word(): (address: number) => number {
    const { u32 } = this.#world;
    const read: Raw = (address = 0) => u32[address >>> WORD_SHIFT];
    return (address) => this.#call(read, "word", [address]);
  }

  #wrapped(): SharedExports {
    const exports = this.exports as unknown as Record<string, Raw>;
    const wrapped: Record<string, Raw> = {};
    for (const name of Object.keys(exports)) {
      const raw = exports[name];
      if (typeof raw !== "function") continue;
      wrapped[name] = (...given) => this.#call(raw, name, given as number[]);
    }
    return wrapped as unknown as SharedExports;
  }
}

type Raw = (...numbers: (number | undefined)[]) => number | undefined;
