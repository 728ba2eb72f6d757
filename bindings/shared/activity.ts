/**
 * Who is attached and what they do, as the rows of `pg_stat_activity`. Each backend writes its own
 * row in shared memory, and nobody else does; a reader that meets a row in the middle of a change
 * reads it again. The counter of changes is odd meanwhile.
 *
 *   0 changes · state · backend start · query start · state change    64 user
 * 128 application · 192 query
 *
 * A backend that died in the middle leaves an odd counter: its row is read no more, and whoever has
 * the slot next begins from the counter as it stands.
 *
 * PostgreSQL: src/backend/utils/activity/backend_status.c, pgstat_report_activity
 */

import {
  ACTIVITY_APPLICATION_OFFSET,
  ACTIVITY_BACKEND_START_OFFSET,
  ACTIVITY_BYTES,
  ACTIVITY_CHANGES_OFFSET,
  ACTIVITY_NAME_BYTES,
  ACTIVITY_QUERY_OFFSET,
  ACTIVITY_QUERY_START_OFFSET,
  ACTIVITY_STATE_CHANGE_OFFSET,
  ACTIVITY_STATE_OFFSET,
  ACTIVITY_USER_OFFSET,
} from "../../assembly/common/activity-constants.ts";
import {
  BACKEND_CLIENT,
  LIFE_ACTIVE,
  LIFE_STATE_BITS,
  LIFE_STATE_MASK,
  PART_ACTIVITY,
  PART_SLOTS,
  SLOT_BYTES,
  SLOT_KIND_OFFSET,
  SLOT_WAIT_EVENT_OFFSET,
} from "../../assembly/common/constants.ts";
import type { SharedMemoryHandle } from "./handle.ts";
import { partOf } from "./statistics.ts";
import { type WaitEvent, type WaitEventType, waitEventOf } from "./wait-events.ts";

const WORD_BYTES = Int32Array.BYTES_PER_ELEMENT;
/** A row is read again this often before it is given up: its writer has died, or is slow. */
const MAX_READS = 1000;

const STATES = [
  "idle",
  "active",
  "idle in transaction",
  "idle in transaction (aborted)",
  "disabled",
] as const;
const TYPES = ["client backend", "background writer", "checkpointer", "io worker"] as const;

/** What a client is doing, as it says itself. */
export type ActivityState = (typeof STATES)[number];

/** A row of `pg_stat_activity`, those columns that have a meaning here, in its order. */
export interface ActivityRow {
  /** Node's thread id, or the token of a browser's worker. Backends of one thread share it. */
  readonly pid: number;
  /** `role` of the options; null without. */
  readonly usename: string | null;
  readonly application_name: string;
  readonly backend_start: Date;
  /** When the query began that runs, or ran last; null if there was none. */
  readonly query_start: Date | null;
  readonly state_change: Date | null;
  /** What it sleeps for; null if it does not. */
  readonly wait_event_type: WaitEventType | null;
  readonly wait_event: string | null;
  /** Null for helpers. A client that sleeps in a call of the pool is active whatever it said. */
  readonly state: ActivityState | null;
  /** Text of that query, cut to 831 bytes. */
  readonly query: string;
  readonly backend_type: (typeof TYPES)[number];
  /** Place in the region; no column of PostgreSQL's. */
  readonly slot: number;
}

/** A backend's own row. @internal */
export class Activity {
  readonly #buffer: SharedArrayBuffer;
  readonly #words: Int32Array;
  readonly #at: number;

  constructor(buffer: SharedArrayBuffer, slot: number) {
    this.#buffer = buffer;
    this.#words = new Int32Array(buffer);
    this.#at = rowAt(buffer, slot);
  }

  /** Begins the row anew, before the backend is active. */
  start(role: string | undefined, application: string): void {
    this.#change((view, bytes) => {
      bytes.fill(0, ACTIVITY_STATE_OFFSET);
      view.setFloat64(ACTIVITY_BACKEND_START_OFFSET, Date.now(), true);
      writeText(bytes, ACTIVITY_USER_OFFSET, ACTIVITY_NAME_BYTES, role ?? "");
      writeText(bytes, ACTIVITY_APPLICATION_OFFSET, ACTIVITY_NAME_BYTES, application);
    });
  }

  /** Says what the backend does now; `query` is that of an active one. */
  report(state: ActivityState, query: string | undefined): void {
    this.#change((view, bytes) => {
      const now = Date.now();
      view.setInt32(ACTIVITY_STATE_OFFSET, STATES.indexOf(state), true);
      view.setFloat64(ACTIVITY_STATE_CHANGE_OFFSET, now, true);
      if (state === "active") view.setFloat64(ACTIVITY_QUERY_START_OFFSET, now, true);
      if (query === undefined) return;
      writeText(bytes, ACTIVITY_QUERY_OFFSET, ACTIVITY_BYTES - ACTIVITY_QUERY_OFFSET, query);
    });
  }

  rename(application: string): void {
    this.#change((_, bytes) => {
      writeText(bytes, ACTIVITY_APPLICATION_OFFSET, ACTIVITY_NAME_BYTES, application);
    });
  }

  #change(work: (view: DataView, bytes: Uint8Array) => void): void {
    const index = (this.#at + ACTIVITY_CHANGES_OFFSET) / WORD_BYTES;
    const before = Atomics.load(this.#words, index) | 1;
    Atomics.store(this.#words, index, before);
    const bytes = new Uint8Array(this.#buffer, this.#at, ACTIVITY_BYTES);
    work(new DataView(this.#buffer, this.#at, ACTIVITY_BYTES), bytes);
    Atomics.store(this.#words, index, before + 1);
  }
}

/** Rows of all active backends of a region. @internal */
export function activityRows({ memory: { buffer }, waits }: SharedMemoryHandle): ActivityRow[] {
  const words = new Int32Array(buffer);
  const slots = partOf(buffer, PART_SLOTS);
  const rows: ActivityRow[] = [];
  for (let slot = 1; slot < slots.size / SLOT_BYTES; slot += 1) {
    const at = slots.off + slot * SLOT_BYTES;
    const life = Atomics.load(words, at / WORD_BYTES) >>> 0;
    if ((life & LIFE_STATE_MASK) !== LIFE_ACTIVE) continue;
    const row = copied(buffer, words, rowAt(buffer, slot));
    if (row === undefined) continue;
    const kind = Atomics.load(words, (at + SLOT_KIND_OFFSET) / WORD_BYTES);
    const wait = Atomics.load(words, (at + SLOT_WAIT_EVENT_OFFSET) / WORD_BYTES) >>> 0;
    const event = waitEventOf(wait, waits);
    rows.push(rowOf({ bytes: row, slot, pid: life >>> LIFE_STATE_BITS, kind, event }));
  }
  return rows;
}

interface RawRow {
  readonly bytes: Uint8Array;
  readonly slot: number;
  readonly pid: number;
  readonly kind: number;
  readonly event: WaitEvent | undefined;
}

function rowOf({ bytes, slot, pid, kind, event }: RawRow): ActivityRow {
  const view = new DataView(bytes.buffer);
  const date = (offset: number): Date | null => {
    const time = view.getFloat64(offset, true);
    return time === 0 ? null : new Date(time);
  };
  const said = STATES[view.getInt32(ACTIVITY_STATE_OFFSET, true)] ?? "idle";
  const state = event !== undefined && said === "idle" ? "active" : said;
  const role = textOf(bytes, ACTIVITY_USER_OFFSET, ACTIVITY_NAME_BYTES);
  return {
    pid,
    usename: role === "" ? null : role,
    application_name: textOf(bytes, ACTIVITY_APPLICATION_OFFSET, ACTIVITY_NAME_BYTES),
    backend_start: date(ACTIVITY_BACKEND_START_OFFSET) ?? new Date(0),
    query_start: date(ACTIVITY_QUERY_START_OFFSET),
    state_change: date(ACTIVITY_STATE_CHANGE_OFFSET),
    wait_event_type: event?.wait_event_type ?? null,
    wait_event: event?.wait_event ?? null,
    state: kind === BACKEND_CLIENT ? state : null,
    query: textOf(bytes, ACTIVITY_QUERY_OFFSET, ACTIVITY_BYTES - ACTIVITY_QUERY_OFFSET),
    backend_type: TYPES[kind] ?? "client backend",
    slot,
  };
}

function rowAt(buffer: SharedArrayBuffer, slot: number): number {
  return partOf(buffer, PART_ACTIVITY).off + slot * ACTIVITY_BYTES;
}

/** A copy of a row that nobody wrote meanwhile; undefined if there is none to be had. */
function copied(buffer: SharedArrayBuffer, words: Int32Array, at: number): Uint8Array | undefined {
  const index = (at + ACTIVITY_CHANGES_OFFSET) / WORD_BYTES;
  for (let read = 0; read < MAX_READS; read += 1) {
    const before = Atomics.load(words, index);
    const bytes = new Uint8Array(buffer, at, ACTIVITY_BYTES).slice();
    if ((before & 1) === 0 && Atomics.load(words, index) === before) return bytes;
  }
  return undefined;
}

/** Writes as much of a text as fits, whole characters, and a 0. */
function writeText(bytes: Uint8Array, at: number, length: number, text: string): void {
  const encoded = new Uint8Array(length - 1);
  const { written } = new TextEncoder().encodeInto(text.replaceAll("\0", " "), encoded);
  bytes.set(encoded.subarray(0, written), at);
  bytes[at + written] = 0;
}

function textOf(bytes: Uint8Array, at: number, length: number): string {
  const text = bytes.subarray(at, at + length);
  const end = text.indexOf(0);
  return new TextDecoder().decode(text.slice(0, end < 0 ? length : end));
}
