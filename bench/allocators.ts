/**
 * What an allocator must do before it is timed: chunks do not overlap, are aligned, and come back
 * after they were freed. By addresses alone, so that one gate serves contenders that keep their
 * bytes in a wasm memory, in an ArrayBuffer, or nowhere.
 */

import { RECORD_BYTES } from "./workloads.ts";

const ALIGNMENT = 8;

/** Throws unless `addresses` are distinct, aligned chunks of at least `bytes` bytes each. */
export function checkChunks(addresses: readonly number[], bytes: number = RECORD_BYTES): void {
  const sorted = addresses.toSorted((a, b) => a - b);
  for (const [index, address] of sorted.entries()) {
    if (!(address > 0)) throw new Error(`an allocation returned ${address}`);
    if (address % ALIGNMENT !== 0) throw new Error(`chunk ${address} is not aligned`);
    const next = sorted[index + 1];
    if (next !== undefined && next - address < bytes) {
      throw new Error(`chunks ${address} and ${next} overlap`);
    }
  }
}

/**
 * Allocates twice, giving everything back in between, and throws unless the second time stays
 * within the memory of the first.
 */
export function checkReuse<Address extends number>(
  count: number,
  alloc: () => Address,
  giveBack: (addresses: readonly Address[]) => void,
): void {
  const first = Array.from({ length: count }, alloc);
  checkChunks(first);
  giveBack(first);
  const second = Array.from({ length: count }, alloc);
  checkChunks(second);
  giveBack(second);
  if (Math.max(...second) > Math.max(...first)) throw new Error("freed memory is not used again");
}
