// What the creator of a region calls, before anybody attaches and at its end; shared.ts exports it
// all.

import { Region } from "./region";
import { Shmem } from "./shmem";

/** Says what the region is to hold: in its header, where the parts' sizes are taken from. */
export function planRegion(
  buffers: u32,
  backends: u32,
  helpers: u32,
  queued: u32,
  locks: u32,
  lwlocks: u32,
  conditions: u32,
  catalog: u32,
): void {
  const region = Region.get();
  region.buffers = buffers;
  region.backends = backends;
  region.helpers = helpers;
  region.queued = queued;
  region.locksPerBackend = locks;
  region.lwlockCount = lwlocks;
  region.conditionCount = conditions;
  region.catalogKilobytes = catalog;
}

export function regionPages(segmentBytes: u32): u32 {
  return Shmem.regionPages(segmentBytes);
}

export function createRegion(bytes: u32, checksums: u32): void {
  Shmem.create(bytes, checksums);
}

/** Says, before anybody attaches, which checkpoint storage is at, and whether it has a journal. */
export function startAt(checkpoint: u32, journalled: u32): void {
  const region = Region.get();
  region.journalled = journalled;
  region.setCommitted(checkpoint);
  region.setInterval(checkpoint);
}

export function addSegment(bytes: u32): u32 {
  return Shmem.addSegment(bytes);
}

export function publishRegion(): void {
  Shmem.publish();
}

export function setStatus(status: u32): void {
  Region.get().setStatus(status);
}
