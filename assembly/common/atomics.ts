// The one file through which shared words are touched. In release each function is one instruction.
//
// In the simulation build each also hands control to a scheduler before it acts, so that a test can
// run several backends on one thread and try every order of their steps: every atomic access, every
// store that others may read by a plain load, every sleep and every wake goes through here. The
// points build announces the same steps and sleeps in earnest: there a real thread is ended at one.
//
// All wasm atomics are sequentially consistent; the protocols of docs/concurrency.md lean on that.

import { blocked, step, woken } from "./host";

/** What a step is about to do, for the scheduler. */
export const STEP_LOAD: i32 = 1;
export const STEP_STORE: i32 = 2;
export const STEP_CHANGE: i32 = 3;
export const STEP_PLAIN_STORE: i32 = 4;
/** Bytes of a page are about to be copied, one half each. */
export const STEP_COPY: i32 = 5;
/** No step: where the bytes come from that the last STEP_COPY was about. */
export const STEP_COPY_FROM: i32 = 6;

/** Whether every step is announced: to a scheduler, or to whoever ends a thread at one of them. */
const STEPS: i32 = SIMULATION | POINTS;

export class Atomic {
  @inline static load(at: usize): u32 {
    if (STEPS) step(STEP_LOAD, at);
    return atomic.load<u32>(at);
  }

  @inline static store(at: usize, value: u32): void {
    if (STEPS) step(STEP_STORE, at);
    atomic.store<u32>(at, value);
  }

  @inline static load16(at: usize): u32 {
    if (STEPS) step(STEP_LOAD, at);
    return atomic.load<u16>(at);
  }

  @inline static store16(at: usize, value: u32): void {
    if (STEPS) step(STEP_STORE, at);
    atomic.store<u16>(at, <u16>value);
  }

  @inline static load8(at: usize): u32 {
    if (SIMULATION) step(STEP_LOAD, at);
    return atomic.load<u8>(at);
  }

  @inline static store8(at: usize, value: u32): void {
    if (SIMULATION) step(STEP_STORE, at);
    atomic.store<u8>(at, <u8>value);
  }

  /** Stores `next` if the word still equals `seen`; true on success. */
  @inline static swap(at: usize, seen: u32, next: u32): bool {
    if (STEPS) step(STEP_CHANGE, at);
    return atomic.cmpxchg<u32>(at, seen, next) == seen;
  }

  /** As `swap`, on eight bytes. */
  @inline static swap64(at: usize, seen: u64, next: u64): bool {
    if (STEPS) step(STEP_CHANGE, at);
    return atomic.cmpxchg<u64>(at, seen, next) == seen;
  }

  @inline static load64(at: usize): u64 {
    if (STEPS) step(STEP_LOAD, at);
    return atomic.load<u64>(at);
  }

  @inline static store64(at: usize, value: u64): void {
    if (SIMULATION) step(STEP_STORE, at);
    atomic.store<u64>(at, value);
  }

  /** Stores `value`, returns what stood there. */
  @inline static exchange(at: usize, value: u32): u32 {
    if (STEPS) step(STEP_CHANGE, at);
    return atomic.xchg<u32>(at, value);
  }

  @inline static add(at: usize, value: u32): u32 {
    if (STEPS) step(STEP_CHANGE, at);
    return atomic.add<u32>(at, value);
  }

  /** Sets bits; returns what stood there. */
  @inline static or(at: usize, bits: u32): u32 {
    if (STEPS) step(STEP_CHANGE, at);
    return atomic.or<u32>(at, bits);
  }

  @inline static add64(at: usize, value: u64): void {
    if (STEPS) step(STEP_CHANGE, at);
    atomic.add<u64>(at, value);
  }

  /** A plain store to a word that others read by plain loads, and check again afterwards. */
  @inline static storePlain(at: usize, value: u32): void {
    if (STEPS) step(STEP_PLAIN_STORE, at);
    store<u32>(at, value);
  }

  /** Sleeps until notified, unless the word no longer equals `value`; at most `nanoseconds`. */
  @inline static wait(at: usize, value: u32, nanoseconds: i64): void {
    if (SIMULATION) blocked(at, value);
    else atomic.wait<i32>(at, <i32>value, nanoseconds);
  }

  /** Wakes everybody who sleeps on the word. */
  @inline static notifyAll(at: usize): void {
    if (SIMULATION) woken(at);
    else atomic.notify(at, -1);
  }

  /** Wakes one of those who sleep on the word; the scheduler is told by the lowest bit. */
  @inline static notifyOne(at: usize): void {
    if (SIMULATION) woken(at | 1);
    else atomic.notify(at, 1);
  }

  /** Copies one page; in two halves where a scheduler may come between. */
  @inline static copyPage(to: usize, from: usize, bytes: usize): void {
    if (STEPS) {
      step(STEP_COPY, to);
      step(STEP_COPY_FROM, from);
      memory.copy(to, from, bytes / 2);
      step(STEP_COPY, to + bytes / 2);
      step(STEP_COPY_FROM, from + bytes / 2);
      memory.copy(to + bytes / 2, from + bytes / 2, bytes / 2);
    } else {
      memory.copy(to, from, bytes);
    }
  }
}
