// Process memories for tests, in both builds.

import {
  internals,
  type ProcessInternals,
  ProcessMemory,
  type ProcessMemoryOptions,
} from "../../bindings/process/memory.ts";

/** Name and option of each build: every suite runs on both. */
export const builds = [
  ["release", false],
  ["checked", true],
] as const;

/** A copy of all bytes of a memory. */
export function bytesOf(memory: ProcessMemory): Uint8Array {
  return memory.u8.slice();
}

/** Whether a memory is, byte for byte, what it was. */
export function isUnchanged(memory: ProcessMemory, before: Uint8Array): boolean {
  return Buffer.compare(memory.u8, before) === 0;
}

/** A memory and its inside. */
export interface OpenedMemory {
  readonly memory: ProcessMemory;
  readonly inside: ProcessInternals;
}

/** A memory with its two first contexts. */
export function openMemory(checked: boolean, options: ProcessMemoryOptions = {}): OpenedMemory {
  const memory = ProcessMemory.createSync({ ...options, checked });
  return { memory, inside: internals(memory) };
}

/** A memory without any context. */
export function openEmptyMemory(
  checked: boolean,
  options: ProcessMemoryOptions = {},
): OpenedMemory {
  const memory = ProcessMemory.createEmptySync({ ...options, checked });
  return { memory, inside: internals(memory) };
}
