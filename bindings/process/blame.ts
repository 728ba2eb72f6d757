/**
 * Whose chunk an error is about: names the context and, if the chunk was sampled, the place where
 * it was allocated. Only a checked build knows either of a chunk that is free or damaged.
 */

import { PANIC_WRITE_AFTER_FREE, PANIC_WRITE_PAST_END } from "../../assembly/common/constants.ts";
import { type ChunkParts, CorruptionError } from "../abi/errors.ts";
import type { ProcessCore } from "./core.ts";

const damages: Readonly<Record<number, string>> = {
  [PANIC_WRITE_PAST_END]: "was written past its end",
  [PANIC_WRITE_AFTER_FREE]: "was written after it had been freed",
};

/** What is known of a pointer that was refused; nothing in a release build. @internal */
export function blamePointer(core: ProcessCore, chunk: number): ChunkParts {
  if (core.sites === undefined || chunk >>> 0 !== chunk) return {};
  const known = ownerOf(core, chunk);
  if (known.context === undefined) return blameInterior(core, chunk);
  const detail = `A chunk at this address in memory context "${known.context}" was freed already.`;
  return { ...known, detail: detail + placeOf(known) };
}

/** What is known of a pointer into the middle of a live chunk. */
function blameInterior(core: ProcessCore, address: number): ChunkParts {
  const chunk = core.exports.enclosingChunk(address) >>> 0;
  if (chunk === 0) return {};
  const known = ownerOf(core, chunk);
  if (known.context === undefined) return {};
  const inside = `${address - chunk} bytes inside a chunk of memory context "${known.context}"`;
  return { ...known, detail: `The address lies ${inside}.${placeOf(known)}` };
}

/** The error for a panic of wasm: of a damaged chunk, with what is known of it. @internal */
export function blamePanic(core: ProcessCore, code: number): CorruptionError {
  const damage = damages[code];
  if (damage === undefined) return new CorruptionError(code);
  const chunk = core.exports.suspect() >>> 0;
  const known = ownerOf(core, chunk);
  const where = known.context === undefined ? "" : ` in memory context "${known.context}"`;
  const detail = `The chunk 0x${chunk.toString(16)}${where} ${damage}.`;
  return new CorruptionError(code, { ...known, pointer: chunk, detail: detail + placeOf(known) });
}

function ownerOf(core: ProcessCore, chunk: number): ChunkParts {
  const sample = core.sites?.sampleOf(chunk);
  const address = core.exports.formerContext(chunk) >>> 0;
  const context = address === 0 ? sample?.handle?.name : core.nameAt(address);
  return {
    ...(context === undefined ? {} : { context }),
    ...(sample === undefined ? {} : { allocationSite: sample.stack }),
  };
}

function placeOf({ allocationSite }: ChunkParts): string {
  return allocationSite === undefined ? "" : `\nIt was allocated\n${allocationSite}`;
}
