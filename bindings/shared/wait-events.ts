/**
 * What a backend sleeps for, in PostgreSQL's words: the number that assembly notes in the slot, as
 * the two columns of `pg_stat_activity`. A number is a class and a member of it; new ones get a
 * WAIT_ constant and a line here.
 *
 * PostgreSQL: src/backend/utils/activity/wait_event_names.txt
 */

import {
  WAIT_ACTIVITY,
  WAIT_AIO_COMPLETION,
  WAIT_BGWRITER_HIBERNATE,
  WAIT_BGWRITER_MAIN,
  WAIT_BUFFER_CONTENT,
  WAIT_BUFFER_IO,
  WAIT_BUFFER_MAPPING,
  WAIT_BUFFER_PIN,
  WAIT_CHECKPOINT_DONE,
  WAIT_CHECKPOINT_WRITE_DELAY,
  WAIT_CHECKPOINTER_MAIN,
  WAIT_CLASS_SHIFT,
  WAIT_CONTROL_FILE,
  WAIT_DATA_FILE_READ,
  WAIT_DATA_FILE_WRITE,
  WAIT_EXTENSION,
  WAIT_IO,
  WAIT_IO_WORKER_MAIN,
  WAIT_IPC,
  WAIT_LOCK,
  WAIT_LOCK_MANAGER,
  WAIT_LWLOCK,
  WAIT_SINVAL_WRITE,
  WAIT_TIMEOUT,
  WAIT_USER_CONDITION,
  WAIT_USER_LWLOCK,
  WAIT_WAL_SYNC,
  WAIT_WAL_WRITE,
  WAIT_WAL_WRITE_LOCK,
} from "../../assembly/common/activity-constants.ts";
import { MAX_LWLOCKS } from "../../assembly/common/lock-constants.ts";
import type { WaitNames } from "./named-waits.ts";

/** Classes of wait events that occur here. */
export type WaitEventType =
  | "LWLock"
  | "Lock"
  | "BufferPin"
  | "Activity"
  | "Extension"
  | "IPC"
  | "Timeout"
  | "IO";

/** A wait event in the words of `pg_stat_activity`. */
export interface WaitEvent {
  readonly wait_event_type: WaitEventType;
  readonly wait_event: string;
}

const types: Readonly<Record<number, WaitEventType>> = {
  [WAIT_LWLOCK]: "LWLock",
  [WAIT_LOCK]: "Lock",
  [WAIT_BUFFER_PIN]: "BufferPin",
  [WAIT_ACTIVITY]: "Activity",
  [WAIT_EXTENSION]: "Extension",
  [WAIT_IPC]: "IPC",
  [WAIT_TIMEOUT]: "Timeout",
  [WAIT_IO]: "IO",
};

const names: Readonly<Record<number, string>> = {
  [WAIT_BUFFER_CONTENT]: "BufferContent",
  [WAIT_BUFFER_MAPPING]: "BufferMapping",
  [WAIT_LOCK_MANAGER]: "LockManager",
  [WAIT_CONTROL_FILE]: "ControlFile",
  [WAIT_WAL_WRITE_LOCK]: "WALWrite",
  [WAIT_SINVAL_WRITE]: "SInvalWrite",
  [WAIT_BUFFER_PIN]: "BufferPin",
  [WAIT_IO_WORKER_MAIN]: "IoWorkerMain",
  [WAIT_BGWRITER_MAIN]: "BgwriterMain",
  [WAIT_BGWRITER_HIBERNATE]: "BgwriterHibernate",
  [WAIT_CHECKPOINTER_MAIN]: "CheckpointerMain",
  [WAIT_BUFFER_IO]: "BufferIo",
  [WAIT_CHECKPOINT_DONE]: "CheckpointDone",
  [WAIT_CHECKPOINT_WRITE_DELAY]: "CheckpointWriteDelay",
  [WAIT_DATA_FILE_READ]: "DataFileRead",
  [WAIT_DATA_FILE_WRITE]: "DataFileWrite",
  [WAIT_WAL_WRITE]: "WalWrite",
  [WAIT_WAL_SYNC]: "WalSync",
  [WAIT_AIO_COMPLETION]: "AioIoCompletion",
};

/** Lock tag types in the order of their numbers, as `pg_locks.locktype` has them. @internal */
export const LOCK_TYPES = [
  "relation",
  "extend",
  "frozenid",
  "page",
  "tuple",
  "transactionid",
  "virtualxid",
  "spectoken",
  "object",
  "userlock",
  "advisory",
  "applytransaction",
] as const;

/** The names of all events that occur here, for a comparison with a server's. @internal */
export function allWaitEvents(): WaitEvent[] {
  const locks = LOCK_TYPES.map((_, type) => WAIT_LOCK + type);
  const codes = [...Object.keys(names).map(Number), ...locks];
  return codes.flatMap((code) => waitEventOf(code) ?? []);
}

/**
 * What a slot's word says; undefined for 0, no wait.
 *
 * @param users - names of the user's locks and conditions, which are events of their own
 * @internal
 */
export function waitEventOf(word: number, users?: WaitNames): WaitEvent | undefined {
  const kind = (word >>> WAIT_CLASS_SHIFT) << WAIT_CLASS_SHIFT;
  const wait_event_type = types[kind];
  if (word === 0 || wait_event_type === undefined) return undefined;
  const lockType = kind === WAIT_LOCK ? LOCK_TYPES[word - kind] : undefined;
  const wait_event = names[word] ?? lockType ?? userEvent(word, users) ?? "Extension";
  return { wait_event_type, wait_event };
}

function userEvent(word: number, users: WaitNames | undefined): string | undefined {
  const number = word & (MAX_LWLOCKS - 1);
  const first = word - number;
  if (first === WAIT_USER_LWLOCK) return users?.locks[number];
  return first === WAIT_USER_CONDITION ? users?.conditions[number] : undefined;
}
