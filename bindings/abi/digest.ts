/** FNV-1a, 32 bits: tells bytes that a crash has torn, and no forger's. */

const OFFSET = 0x811c9dc5;
const PRIME = 0x01000193;

/** Digest of some bytes. @param before - digest of what comes before them */
export function digestOf(bytes: Uint8Array, before: number = OFFSET): number {
  let hash = before;
  for (const byte of bytes) hash = Math.imul(hash ^ byte, PRIME) >>> 0;
  return hash;
}
