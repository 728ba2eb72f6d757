// Several backends on one thread, one step at a time: the scheduler under the interleaving tests.
//
// What it proves. The protocol of the buffer pool - assembly/buffer, ipc and lmgr as compiled, and
// the operations of TypeScript around them - is right in every order of steps that search.ts tries,
// with a backend that never runs again at any of them, and with the owner that repairs what the
// dead one held scheduled like the rest. Right means: what invariants.ts says holds after every
// step, everybody ends, and nothing is left over. Where pages are written behind a journal it also
// means: a crash now, whatever of storage it loses, brings back the last checkpoint (cuts.ts).
//
// How. The simulation build calls `step` before every atomic access, every plain store that others
// read, and each half of a page's copy; `blocked` and `woken` instead of sleeping and waking. A
// call that is to be stopped there unwinds by Asyncify and is called again later (fiber.ts). One
// that goes on costs only the import, so that switches are dear and steps are not. Storage and the
// bytes of pages are touched by requests (steps.ts), each half of which is a step: a frame that is
// written is first copied to private memory by halves.
//
// The routines of bindings run as they are (parts.ts): what they yield becomes requests, what they
// ask of storage (medium.ts) and of the region's words is a step each. A routine is run anew, with
// the same answers, when one of its calls was stopped; so each run has fresh instances. Mirrored in
// operations.ts are only the few calls around them: those in which a page's bytes are touched.
//
// A *segment* is a number of steps of one backend without interruption. A schedule is its segments
// and prints as one word each: `a17` seventeen steps of backend a, `b` until b stops by itself (it
// sleeps, has nothing to do, or is done), `a3!` three steps after which a is dead, `a0!` a death in
// a's sleep, `o` the owner, who reaps. A text's end leaves it to the rule "go on, else the first".
//
// Sleep is "cannot run until notified"; whether the word still has its value is looked at when it
// begins, as the instruction does. There are no timeouts: when nobody can run and somebody is not
// done, a wake-up was lost. Who looks again without sleeping is *tired*, and runs again after
// somebody else has made a step.
//
// Which points matter. Stopping before a step on a word that nobody else touches, or that nobody
// writes, is as good as stopping before the next step that is not so. The engine learns who reads
// and writes which word, and the searches begin anew when that has grown.
//
// A failure names the configuration and the schedule: `replay(configuration, "a17 b a3! o")`.

import { REGION_REQUESTS_OFFSET } from "../../assembly/common/constants.ts";
import type { HostFunctions } from "../../bindings/abi/load.ts";
import { isInterval } from "./cuts.ts";
import { type Driver, Fiber, PAUSED } from "./fiber.ts";
import { Ledger } from "./ledger.ts";
import { nameOf, ScheduleError, type Segment, scheduleText, TO_THE_END } from "./schedule.ts";
import { goOn, lowestOf, type Policy, type Setting } from "./setting.ts";
import type { Deed, Request } from "./steps.ts";
import { WORD_SHIFT, World } from "./world.ts";

/** Kinds of steps, as assembly/common/atomics.ts numbers them. */
export const STEP_LOAD = 1;
export const STEP_STORE = 2;
export const STEP_CHANGE = 3;
export const STEP_PLAIN_STORE = 4;
export const STEP_COPY = 5;
export const STEP_COPY_FROM = 6;
/** A notify. */
export const STEP_WAKE = 7;

/** More steps than any schedule that ends by itself. */
const MAX_STEPS = 20_000;
/** Bits of the fibers that write a word stand above those of the fibers that read it. */
const WRITERS_SHIFT = 8;
const READERS_MASK = (1 << WRITERS_SHIFT) - 1;

export class Engine implements Driver {
  readonly world: World;
  readonly fibers: readonly Fiber[];
  readonly ledger: Ledger;
  unwinding = false;
  over = false;
  /** Masks of fibers. */
  runnable = 0;
  tired = 0;
  dead = 0;
  asleep = 0;
  /** Segments as they were run. */
  readonly segments: Segment[] = [];
  /** Steps of the schedule, and of all schedules. */
  steps = 0;
  total = 0;
  schedules = 0;
  /** Points passed in segments that were not prescribed: segment, steps in it, others who could. */
  readonly pointSegment: number[] = [];
  readonly pointSteps: number[] = [];
  readonly pointOthers: number[] = [];
  /** Who slept meanwhile, and might have died. */
  readonly pointAsleep: number[] = [];
  /** Masks that were chosen from, by segment. */
  readonly choices: number[] = [];
  /** Somebody was seen to touch a word that was thought to be of no interest. */
  learned = false;
  /** Told of every step, when somebody wants to read a schedule. */
  trace: ((fiber: number, kind: number, at: number) => void) | undefined;

  readonly #setting: Setting;
  readonly #accesses: Uint16Array;
  readonly #matters: Uint8Array;
  #live = false;
  #checking = true;
  #changed = false;
  #current: Fiber;
  #segmentSteps = 0;
  #segmentLimit = TO_THE_END;
  #recording = false;
  #deaths = 0;
  #requestsSeen = 0;

  constructor(setting: Setting) {
    this.#setting = setting;
    const { module, buffers, scripts, watch, shape } = setting;
    const host = (slot: number): HostFunctions => this.#host(slot);
    const env = (slot: number): HostFunctions => watch?.imports(slot) ?? {};
    const world = new World(module, buffers, scripts.length, host, env, shape);
    this.world = world;
    for (let slot = 1; slot < scripts.length; slot += 1) world.attach(slot);
    setting.prepare(world);
    world.keep();
    const queued = world.at.queue !== 0;
    const actor = { slots: scripts.length, buffers, queued };
    this.fibers = scripts.map((script, index) => new Fiber(this, world, index, script, actor));
    this.#current = this.fibers[0] as Fiber;
    this.ledger = new Ledger(world, scripts.length);
    const words = world.u32.length;
    this.#accesses = new Uint16Array(words);
    this.#matters = new Uint8Array(words);
  }

  /** Whether a schedule is being run, and wasm's calls are part of it. */
  get isLive(): boolean {
    return this.#live;
  }

  // ── Schedules ──────────────────────────────────────────────────────────────────────────────────

  /**
   * Runs one schedule: the segments prescribed, then as the policy says. Checks begin with segment
   * `checkFrom`, points are recorded from there.
   *
   * @throws {@link ScheduleError} if anything is wrong
   */
  run(prefix: readonly Segment[], policy: Policy = goOn, checkFrom = 0): void {
    this.#reset();
    try {
      this.#runAll(prefix, policy, checkFrom);
      this.#live = false;
      const left = this.#setting.close(this);
      if (left !== undefined) throw new Error(left);
    } catch (cause) {
      this.over = true;
      throw this.#failure(cause);
    } finally {
      this.#live = false;
      this.schedules += 1;
      this.total += this.steps;
    }
  }

  #runAll(prefix: readonly Segment[], policy: Policy, checkFrom: number): void {
    for (let index = 0; ; index += 1) {
      const given = prefix[index];
      if (this.#diesAsleep(given ?? policy.kills?.(this), index)) continue;
      const able = this.runnable & ~this.tired || this.runnable;
      if (able === 0) break;
      const fiber = this.fibers[given?.fiber ?? policy.choose(able, this)] as Fiber;
      if ((this.runnable & fiber.bit) === 0) throw new Error(`${nameOf(fiber.index)} cannot run`);
      this.choices[index] = given === undefined ? able : 0;
      this.#checking = index >= checkFrom;
      this.#recording = this.#checking && (given === undefined || given.steps === TO_THE_END);
      const limit = given?.steps ?? policy.length(fiber.index, this);
      this.#runSegment(fiber, limit);
      const cut = fiber.pause === "cut";
      const dies = cut && (given?.dies ?? policy.dies(fiber.index, this));
      const steps = cut ? this.#segmentSteps : TO_THE_END;
      this.segments[index] = { fiber: fiber.index, steps, dies };
      if (dies) this.#kill(fiber);
    }
    this.#ended();
  }

  /** Who sleeps dies without a step: most threads that are terminated do. */
  #diesAsleep(segment: Segment | undefined, index: number): boolean {
    const fiber = this.fibers[segment?.fiber ?? 0] as Fiber;
    if (segment?.dies !== true || (this.asleep & fiber.bit) === 0) return false;
    [this.segments[index], this.choices[index]] = [segment, 0];
    this.#kill(fiber);
    return true;
  }

  #runSegment(fiber: Fiber, limit: number): void {
    this.#current = fiber;
    this.tired &= ~fiber.bit;
    this.#segmentSteps = 0;
    this.#segmentLimit = limit;
    fiber.resume();
    if (this.over) throw new Error("the schedule has ended");
    if (fiber.pause === "done") this.runnable &= ~fiber.bit;
    if (fiber.pause === "tired") this.tired |= fiber.bit;
  }

  #reset(): void {
    this.world.restore();
    for (const fiber of this.fibers) {
      fiber.reset();
      fiber.exports.enter(fiber.index, fiber.index === 0 ? 0 : 1);
    }
    this.ledger.reset();
    this.unwinding = false;
    this.over = false;
    this.runnable = (1 << this.fibers.length) - 1;
    this.tired = 0;
    this.dead = 0;
    this.asleep = 0;
    this.segments.length = 0;
    this.choices.length = 0;
    this.pointSegment.length = 0;
    this.pointSteps.length = 0;
    this.pointOthers.length = 0;
    this.pointAsleep.length = 0;
    this.steps = 0;
    this.#deaths = 0;
    this.#requestsSeen = this.world.u32[REGION_REQUESTS_OFFSET >>> WORD_SHIFT] ?? 0;
    this.#changed = true;
    this.#setting.watch?.begin(this);
    this.#live = true;
  }

  #ended(): void {
    this.#checkNow();
    const { queue } = this.world.at;
    for (const { index, bit, pause, sleepingOn } of this.fibers) {
      // An I/O worker without work sleeps for as long as there is none.
      const rests = pause === "idle" || (pause === "asleep" && sleepingOn === queue);
      const ended = pause === "done" || rests || (this.dead & bit) !== 0;
      if (!ended) throw new Error(`${nameOf(index)} sleeps for ever: a wake-up was lost`);
    }
  }

  #kill(fiber: Fiber): void {
    this.dead |= fiber.bit;
    this.runnable &= ~fiber.bit;
    this.asleep &= ~fiber.bit;
    this.#deaths |= fiber.bit;
    this.ledger.died(fiber);
    this.#setting.watch?.died(fiber.index);
    const owner = this.fibers[0] as Fiber;
    if (owner.pause === "idle") this.runnable |= owner.bit;
  }

  #failure(cause: unknown): ScheduleError {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const last = { fiber: this.#current.index, steps: this.#segmentSteps, dies: false };
    return new ScheduleError(reason, scheduleText([...this.segments, last]), cause);
  }

  // ── Points ─────────────────────────────────────────────────────────────────────────────────────

  /** Which words are worth stopping at, from all that has been seen; false if nothing is new. */
  relearn(): boolean {
    const grown = this.learned;
    this.learned = false;
    this.#accesses.forEach((seen, word) => {
      this.#matters[word] = isShared(seen) ? 1 : 0;
    });
    return grown;
  }

  /** Before a step; true if the fiber is to stop here. */
  #point(fiber: Fiber, at: number, always: boolean): boolean {
    if (this.#changed && this.#checking) this.#checkNow();
    if (this.#segmentSteps === this.#segmentLimit) return true;
    if (this.#recording && (always || this.#matters[at >>> WORD_SHIFT] !== 0)) {
      this.pointSegment.push(this.segments.length);
      this.pointSteps.push(this.#segmentSteps);
      this.pointOthers.push(this.runnable & ~fiber.bit);
      this.pointAsleep.push(this.asleep);
    }
    return false;
  }

  /** A step is made. */
  #account(fiber: Fiber, kind: number, at: number): void {
    this.#segmentSteps += 1;
    this.steps += 1;
    if (this.steps > MAX_STEPS) throw new Error(`not done after ${MAX_STEPS} steps`);
    const writes = kind !== STEP_LOAD;
    this.#changed ||= writes;
    this.tired &= fiber.bit;
    if (isInterval(at)) this.#intervalTouched(fiber, writes);
    const word = at >>> WORD_SHIFT;
    const seen = this.#accesses[word] ?? 0;
    const now = seen | (writes ? fiber.bit << WRITERS_SHIFT : fiber.bit);
    if (now !== seen) {
      this.#accesses[word] = now;
      if (this.#matters[word] === 0 && isShared(now)) this.learned = true;
    }
    this.trace?.(fiber.index, kind, at);
  }

  /** The number of the interval decides what is a checkpoint's. */
  #intervalTouched(fiber: Fiber, writes: boolean): void {
    if (writes) this.ledger.cuts.cut(fiber.argument);
    else if (fiber.inside === "endChange") this.ledger.cuts.loaded(fiber.index);
  }

  #checkNow(): void {
    this.#changed = false;
    const wrong = this.#setting.check(this);
    if (wrong !== undefined) throw new Error(wrong);
  }

  // ── What wasm calls ────────────────────────────────────────────────────────────────────────────

  #host(slot: number): HostFunctions {
    return {
      step: (kind = 0, at = 0) => this.#step(this.fibers?.[slot], kind, at),
      blocked: (at = 0, value = 0) => this.#blocked(this.fibers?.[slot], at, value),
      woken: (at = 0) => this.#woken(this.fibers?.[slot], at),
    };
  }

  #step(fiber: Fiber | undefined, kind: number, at: number): undefined {
    if (!this.#live || fiber === undefined) return;
    if (kind !== STEP_COPY_FROM && this.#stops(fiber, at, kind === STEP_COPY)) return;
    if (kind !== STEP_COPY_FROM) this.#account(fiber, kind, at);
    this.#setting.watch?.atomic(fiber.index, kind, at);
  }

  /** Unwinds the running call if the schedule says so; not where it was taken up again. */
  #stops(fiber: Fiber, at: number, always: boolean): boolean {
    if (fiber.rewinding) {
      fiber.rewinding = false;
      fiber.exports.asyncify_stop_rewind();
      return false;
    }
    if (!this.#point(fiber, at, always)) return false;
    this.#unwind(fiber);
    return true;
  }

  #unwind(fiber: Fiber): void {
    this.unwinding = true;
    fiber.exports.asyncify_start_unwind(this.world.readyStack(fiber.index));
  }

  #blocked(fiber: Fiber | undefined, at: number, value: number): undefined {
    if (!this.#live || fiber === undefined) throw new Error("a call that must run through sleeps");
    if (this.#stops(fiber, at, true)) return;
    if (fiber.slept) {
      fiber.slept = false;
      return;
    }
    this.#account(fiber, STEP_LOAD, at);
    if (((this.world.u32[at >>> WORD_SHIFT] ?? 0) ^ value) !== 0) return;
    fiber.slept = true;
    this.#rest(fiber, "asleep", at);
    this.#unwind(fiber);
  }

  #woken(fiber: Fiber | undefined, at: number): undefined {
    if (!this.#live || fiber === undefined) return;
    const word = at & ~1;
    // The lowest bit says that one of them is to be woken, and not all.
    if (!this.#stops(fiber, word, true)) this.#wake(fiber, word, at !== word);
  }

  #wake(fiber: Fiber, at: number, one = false): void {
    this.#account(fiber, STEP_WAKE, at);
    for (const other of this.fibers) {
      if (other.sleepingOn !== at || (this.dead & other.bit) !== 0) continue;
      other.sleepingOn = 0;
      this.runnable |= other.bit;
      this.asleep &= ~other.bit;
      if (one) return;
    }
  }

  #rest(fiber: Fiber, pause: "asleep" | "idle", at: number): void {
    Object.assign(fiber, { pause, sleepingOn: at });
    this.runnable &= ~fiber.bit;
    if (pause === "asleep") this.asleep |= fiber.bit;
  }

  // ── What operations ask for ────────────────────────────────────────────────────────────────────

  perform(fiber: Fiber, request: Request): number | typeof PAUSED {
    switch (request.do) {
      case "tired":
        if (fiber.stage++ !== 0) return 0;
        fiber.pause = "tired";
        return PAUSED;
      case "idle":
        return this.#idle(fiber, request.busy);
      case "note":
        this.ledger.note(fiber, request.note);
        return 0;
      case "await":
        return this.#await(fiber, request.at, request.value);
      case "wake":
        if (this.#cutBefore(fiber, request.at)) return PAUSED;
        this.#wake(fiber, request.at);
        return 0;
      case "sleep":
        throw new Error("a sleep is a call");
      case "find":
        return this.world.bufferOf(request.file, request.block);
      case "fetch":
      case "journal":
        return this.#move(fiber, request);
      case "syncJournal":
        if (this.#cutBefore(fiber, 0)) return PAUSED;
        this.#account(fiber, STEP_CHANGE, 0);
        this.world.medium.sync(request.journal);
        return 0;
      default:
        return this.#bytes(fiber, request);
    }
  }

  stopsBefore(fiber: Fiber, { at, writes }: Deed<unknown>): boolean {
    if (this.#cutBefore(fiber, at, at === 0)) return true;
    this.#account(fiber, writes ? STEP_CHANGE : STEP_LOAD, at);
    if (at !== 0) this.#setting.watch?.atomic(fiber.index, writes ? STEP_CHANGE : STEP_LOAD, at);
    return false;
  }

  returned(fiber: Fiber, name: string, result: number): void {
    if (name === "endChange") this.ledger.cuts.endReturned(fiber.index, result);
  }

  /** Before a step of a request; true if the fiber is to stop here, and come back. */
  #cutBefore(fiber: Fiber, at: number, always = true): boolean {
    fiber.passed = !fiber.passed && this.#point(fiber, at, always);
    return fiber.passed;
  }

  /** Atomics.wait or waitAsync: once asleep, only a wake-up ends it. */
  #await(fiber: Fiber, at: number, value: number): number | typeof PAUSED {
    if (fiber.stage !== 0) return 0;
    if (this.#cutBefore(fiber, at)) return PAUSED;
    this.#account(fiber, STEP_LOAD, at);
    if (((this.world.u32[at >>> WORD_SHIFT] ?? 0) ^ value) !== 0) return 0;
    fiber.stage = 1;
    this.#rest(fiber, "asleep", at);
    return PAUSED;
  }

  /** The number of a fiber that died, or 0 if somebody wants to attach; waits for one of them. */
  #idle(fiber: Fiber, busy: boolean): number | typeof PAUSED {
    fiber.sleepingOn = 0;
    if (this.#deaths !== 0) {
      const dead = lowestOf(this.#deaths);
      this.#deaths &= ~(1 << dead);
      return dead;
    }
    const requests = this.world.u32[REGION_REQUESTS_OFFSET >>> WORD_SHIFT] ?? 0;
    if (busy || requests !== this.#requestsSeen) {
      this.#requestsSeen = requests;
      return 0;
    }
    this.#rest(fiber, "idle", REGION_REQUESTS_OFFSET);
    return PAUSED;
  }

  /** Storage, and the bytes of pages: two halves, each a step; a write copies the frame before. */
  #bytes(fiber: Fiber, request: Extract<Request, { buffer: number }>): number | typeof PAUSED {
    const stages = request.do === "write" ? 4 : 2;
    while (fiber.stage < stages) {
      const half = fiber.stage;
      const at = this.ledger.placeOf(request, half) << WORD_SHIFT;
      if (this.#cutBefore(fiber, at)) return PAUSED;
      const writes = request.do === "read" || request.do === "stamp";
      this.#account(fiber, writes || half > 1 ? STEP_COPY : STEP_LOAD, at);
      if (half < 2) this.#setting.watch?.bytes(fiber.index, at, writes);
      const wrong = this.ledger.half(fiber, request, half);
      if (wrong !== undefined) throw new Error(wrong);
      fiber.stage += 1;
    }
    return this.ledger.answer(fiber);
  }

  /** Storage and private memory, or a journal: two halves, each a step. */
  #move(
    fiber: Fiber,
    request: Extract<Request, { do: "fetch" | "journal" }>,
  ): number | typeof PAUSED {
    for (; fiber.stage < 2; fiber.stage += 1) {
      if (this.#cutBefore(fiber, 0)) return PAUSED;
      this.#account(fiber, STEP_CHANGE, 0);
      this.ledger.moved(fiber, request, fiber.stage);
    }
    return request.do === "fetch" ? this.ledger.fetched(fiber) : 0;
  }
}

function isShared(seen: number): boolean {
  const writers = seen >>> WRITERS_SHIFT;
  const all = (seen & READERS_MASK) | writers;
  return writers !== 0 && (all & (all - 1)) !== 0;
}
