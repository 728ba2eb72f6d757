/**
 * Addresses and numbers that must not be mixed up. A plain `number` is none of them; exactly one
 * function makes each, because an address that leaves wasm is negative from 2 GiB up.
 */

declare const kind: unique symbol;

/** A byte address in one wasm memory. */
export type Ptr<Kind extends string> = number & { readonly [kind]: Kind };
/** Address of a memory context's header. */
export type ContextPtr = Ptr<"context">;
/** Address of the first usable byte of a chunk; a multiple of 8. */
export type ChunkPtr = Ptr<"chunk">;
/** A buffer of the pool, 0 to shared_buffers - 1; below 0 a local one, of temporary relations. */
export type BufferId = number & { readonly [kind]: "buffer" };
/** A relation number and its fork in one word: `number << 2 | fork`. */
export type ForkId = number & { readonly [kind]: "fork" };
/** A backend's place in the region; 0 is the region's owner. */
export type SlotId = number & { readonly [kind]: "slot" };

/** The one door for addresses that leave wasm. */
export function ptr<P extends Ptr<string>>(raw: number): P {
  return (raw >>> 0) as P;
}
