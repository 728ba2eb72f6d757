// What is left in a region when everybody has gone: nothing may be, and everything must be of use.

import {
  PART_FAST_PATH,
  PART_LOCK_PARTITIONS,
  PART_LOCK_RECORDS,
  PART_LOCK_TABLE,
  PART_STRONG,
} from "../../assembly/common/constants.ts";
import {
  FAST_PATH_ENTRY_BYTES,
  LOCK_RECORD_BYTES,
  LOCK_STATE_BYTES,
} from "../../assembly/common/lock-constants.ts";
import type { Backend, BufferId, Relation, SharedMemory } from "../../bindings/index.ts";
import { partOf } from "../../bindings/shared/statistics.ts";
import { USER_LOCKS } from "./stress-locks.ts";
import { FRAMES, type StressRegion } from "./stress-region.ts";

/** Everything that the pool and the locks still hold that they should not, in words. */
export function residue({ shared, backend, relation }: StressRegion): string[] {
  return [
    ...ofPool(shared),
    ...lockedPages(backend, relation),
    ...unevictable(shared, backend, relation),
    ...ghosts(shared),
    ...unusableLocks(backend),
  ];
}

function ofPool(shared: SharedMemory): string[] {
  const found: string[] = [];
  const { views } = shared;
  const rows = views.pgBuffercache().filter(({ relfilenode }) => relfilenode !== null);
  const places = new Set(rows.map((row) => `${row.relfilenode}/${row.relblocknumber}`));
  if (places.size !== rows.length) found.push("a page is in the pool twice");
  if (rows.some(({ pinning_backends }) => pinning_backends !== 0)) found.push("a page is pinned");
  const summary = views.pgBuffercacheSummary();
  if (summary.buffers_used !== rows.length) found.push("the summary counts other buffers");
  const usage = shared.usageCounts().reduce((sum, { buffers }) => sum + buffers, 0);
  if (usage !== FRAMES && usage !== rows.length) found.push(`usage counts of ${usage} buffers`);
  const { maxConnections } = shared.settings;
  const clients = shared.backends().filter(({ slot }) => slot <= maxConnections);
  if (clients.length !== 1) found.push("a backend that is gone has a slot");
  return found;
}

function lockedPages({ buffers }: Backend, relation: Relation): string[] {
  const found: string[] = [];
  for (let block = 0; block < relation.blocksSync(); block += 1) {
    const buffer = buffers.pin(relation.id, block);
    if (!buffers.tryLockForCleanup(buffer)) found.push(`block ${block} is locked`);
    else buffers.unlock(buffer);
    buffers.unpin(buffer);
  }
  return found;
}

function unevictable(shared: SharedMemory, { buffers }: Backend, relation: Relation): string[] {
  const { buffers_skipped } = buffers.evictAllSync();
  const left = shared.views.pgBuffercacheSummary().buffers_used;
  // Every frame takes a page again, all at one time.
  const pins = Array.from({ length: FRAMES }, (_, block) => buffers.pin(relation.id, block));
  const frames = new Set<BufferId>(pins);
  for (const buffer of pins) buffers.unpin(buffer);
  if (buffers_skipped + left === 0 && frames.size === FRAMES) return [];
  return [`${buffers_skipped} buffers cannot be evicted, ${left} are left`];
}

// ── Locks ────────────────────────────────────────────────────────────────────────────────────────

/** Words of the lock table that should be 0 when nobody has or wants anything. */
function ghosts({ handle, settings }: SharedMemory): string[] {
  const { buffer } = handle.memory;
  const wordsOf = (part: number): Int32Array => {
    const { off, size } = partOf(buffer, part);
    return new Int32Array(buffer, off, size / Int32Array.BYTES_PER_ELEMENT);
  };
  const found: string[] = [];
  const records = wordsOf(PART_LOCK_RECORDS);
  for (let at = 0; at < records.length; at += LOCK_RECORD_BYTES / 4) {
    if (records[at] !== 0) found.push(`a lock record is left: ${records[at]?.toString(16)}`);
  }
  if (wordsOf(PART_LOCK_TABLE).some(Boolean)) found.push("a chain of locks is left");
  if (wordsOf(PART_STRONG).some(Boolean)) found.push("a strong flag is left");
  if (wordsOf(PART_LOCK_PARTITIONS).some(Boolean)) found.push("a lock partition is locked");
  const paths = wordsOf(PART_FAST_PATH);
  const stride = paths.length / settings.slots;
  for (let at = 0; at < paths.length; at += FAST_PATH_ENTRY_BYTES / 4) {
    const isEntry = at % stride >= LOCK_STATE_BYTES / 4;
    if (isEntry && (paths[at] !== 0 || paths[at + 1] !== 0)) found.push("a fast path is in use");
  }
  return found;
}

/** Every record of the table is to be had, the fast path is, and each of the user's locks. */
function unusableLocks(backend: Backend): string[] {
  const found: string[] = [];
  const { locks, settings } = backend;
  const share = settings.values.max_locks_per_transaction;
  for (let objid = 0; objid < share * settings.maxConnections; objid += 1) {
    locks.acquireSync({ type: "object", classid: 9, objid }, "AccessExclusiveLock");
  }
  const rows = locks.rows().length;
  if (rows !== share * settings.maxConnections) found.push(`${rows} locks are held`);
  locks.releaseAll();
  for (let relation = 9001; relation <= 9004; relation += 1) {
    locks.lockRelationSync(relation, "RowExclusiveLock");
  }
  if (!locks.rows().every(({ fastpath }) => fastpath)) found.push("the fast path is closed");
  if (locks.rows().length !== 4) found.push("others have locks");
  locks.releaseAll();
  if (locks.rows().length !== 0) found.push("locks are left");
  for (const name of Object.keys(USER_LOCKS)) {
    const lock = backend.lwlock(name);
    if (lock.tryAcquire("exclusive") === undefined) found.push(`lock "${name}" is held`);
    else lock.release();
  }
  return found;
}
